"""Lanes: order per lane, rank before arrival, waiting without a thread, and what is dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engine.clock import SystemClock
from engine.ports import InputRecord
from engine.worker.lanes import Lane, Lanes, lane_of_key
from tests.clock import HeldClock

WAIT_S = 10.0


def record(key: bytes, offset: int) -> InputRecord:
    return InputRecord("topic", 0, offset, 0, key, b"value", [], 0)


def put(made: Lanes, each: InputRecord, generation: int = 1, rank: int = 0) -> None:
    made.put(each, generation, Lane(lane_of_key(each).name, rank))


@contextmanager
def lanes(
    work: Callable[[InputRecord, int], float | None],
    clock: HeldClock,
    threads: int,
    room: tuple[int, ...] = (),
) -> Iterator[Lanes]:
    made = Lanes(work, clock, threads=threads, room=room)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(1_000)


def test_each_key_keeps_its_order_with_any_number_of_threads(clock: HeldClock) -> None:
    done: dict[bytes, list[int]] = {}

    def work(each: InputRecord, _: int) -> float | None:
        done.setdefault(each.key or b"", []).append(each.offset)
        return None

    with lanes(work, clock, 8) as made:
        for offset in range(2_000):
            put(made, record(b"key-%d" % (offset % 7), offset), 1)
        assert made.wait_idle(WAIT_S)
    assert sorted(offset for offsets in done.values() for offset in offsets) == list(range(2_000))
    assert all(offsets == sorted(offsets) for offsets in done.values())


def test_a_record_to_be_retried_later_blocks_its_key_and_no_thread(clock: HeldClock) -> None:
    done: list[tuple[bytes | None, int]] = []
    tried = threading.Event()

    def work(each: InputRecord, _: int) -> float | None:
        if each.key == b"slow" and not tried.is_set():
            tried.set()
            return 5.0
        done.append((each.key, each.offset))
        return None

    with lanes(work, clock, 1) as made:
        for offset, key in enumerate([b"slow", b"slow", b"quick", b"quick"]):
            put(made, record(key, offset), 1)
        _until(lambda: len(done) == 2)
        assert done == [(b"quick", 2), (b"quick", 3)]
        made.release_due()
        assert not made.wait_idle(0.05), "its time has not come"
        clock.advance(5_000)
        made.release_due()
        assert made.wait_idle(WAIT_S)
    assert done[2:] == [(b"slow", 0), (b"slow", 1)]


def test_dropped_records_never_come_again_even_if_in_progress(clock: HeldClock) -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []

    def work(each: InputRecord, generation: int) -> float | None:
        seen.append((each.offset, generation))
        if generation == 1:
            begun.set()
            assert go_on.wait(WAIT_S)
            return 0.0
        return None

    with lanes(work, clock, 2) as made:
        put(made, record(b"key", 0), 1)
        put(made, record(b"key", 1), 1)
        assert begun.wait(WAIT_S)
        made.drop_waiting()
        put(made, record(b"key", 0), 2)
        go_on.set()
        assert made.wait_idle(WAIT_S)
        assert made.count() == 0
    assert seen == [(0, 1), (0, 2)]


class Held:
    """Work that blocks until released by name; records what started and the concurrency."""

    def __init__(self) -> None:
        self.begun: list[tuple[bytes, int]] = []
        self.at_once: dict[bytes, int] = {}
        self.most_at_once = 0
        self.go_on: dict[bytes, threading.Event] = {}
        self._lock = threading.Lock()

    def __call__(self, each: InputRecord, _: int) -> float | None:
        name = each.key or b""
        with self._lock:
            self.begun.append((name, each.offset))
            self.at_once[name] = self.at_once.get(name, 0) + 1
            self.most_at_once = max(self.most_at_once, self.at_once[name])
            gate = self.go_on.get(name)
        assert gate is None or gate.wait(WAIT_S)
        with self._lock:
            self.at_once[name] -= 1
        return None


def test_a_lower_rank_goes_before_everything_that_waits(clock: HeldClock) -> None:
    """Ruling 8: within a name and among names, whatever is ready at a lower rank goes first."""
    held = Held()
    held.go_on[b"busy"] = threading.Event()
    with lanes(held, clock, 1, room=(1, 1, 1)) as made:
        put(made, record(b"busy", 0))
        _until(lambda: held.begun == [(b"busy", 0)])
        for offset, (name, rank) in enumerate(
            [(b"a", 2), (b"a", 2), (b"b", 2), (b"b", 1), (b"a", 0)], start=1
        ):
            put(made, record(name, offset), rank=rank)
        held.go_on[b"busy"].set()
        assert made.wait_idle(WAIT_S)
    assert [offset for _, offset in held.begun[1:]] == [5, 4, 1, 3, 2]


def test_lanes_of_one_name_never_run_together(clock: HeldClock) -> None:
    """Ruling 8: SUBMIT and WITHDRAW of one reference never run at once, in either order."""
    held = Held()
    with lanes(held, clock, 8, room=(8, 8, 8)) as made:
        for offset in range(3_000):
            put(made, record(b"key-%d" % (offset % 5), offset), rank=offset % 3)
        assert made.wait_idle(WAIT_S)
    assert held.most_at_once == 1
    assert len(held.begun) == 3_000


def test_a_sleeping_record_blocks_its_own_lane_only(clock: HeldClock) -> None:
    """Ruling 8: a waiting attempt delays neither its withdrawal nor an enquiry."""
    slept: list[int] = []
    done: list[int] = []

    def work(each: InputRecord, _: int) -> float | None:
        if each.offset == 0 and not slept:
            slept.append(0)
            return 5.0
        done.append(each.offset)
        return None

    with lanes(work, clock, 2, room=(2, 2)) as made:
        put(made, record(b"key", 0), rank=1)
        _until(lambda: slept == [0])
        put(made, record(b"key", 1), rank=1)
        put(made, record(b"key", 2), rank=0)
        _until(lambda: done == [2])
        clock.advance(5_000)
        made.release_due()
        assert made.wait_idle(WAIT_S)
    assert done == [2, 0, 1]


def test_slow_calls_of_a_high_rank_leave_threads_for_the_lower_ones(clock: HeldClock) -> None:
    """Enquiries to a rail that hangs do not take the threads of a recall."""
    held = Held()
    names = [b"slow-%d" % n for n in range(6)]
    held.go_on = {name: threading.Event() for name in names}
    with lanes(held, clock, 4, room=(4, 3, 2)) as made:
        for offset, name in enumerate(names):
            put(made, record(name, offset), rank=2)
        _until(lambda: len(held.begun) == 2)
        put(made, record(b"quick", 6), rank=1)
        put(made, record(b"quick", 7), rank=0)
        _until(lambda: len(held.begun) == 4)
        assert sorted(offset for _, offset in held.begun) == [0, 1, 6, 7]
        for gate in held.go_on.values():
            gate.set()
        assert made.wait_idle(WAIT_S)
    assert len(held.begun) == 8


def test_capacity_that_grows_with_the_rank_is_refused(clock: HeldClock) -> None:
    """A high rank with more capacity than a low one would take the low one's threads."""
    for room in ((1, 2), (1, 0)):
        with pytest.raises(ValueError, match="room falls"):
            Lanes(lambda _, __: None, clock, threads=2, room=room)


def test_lanes_dropped_while_their_name_is_in_progress_come_again(clock: HeldClock) -> None:
    """A rebalance forgets what waits behind a name; records put afterwards are processed."""
    held = Held()
    held.go_on[b"key"] = threading.Event()
    with lanes(held, clock, 2, room=(2, 2)) as made:
        put(made, record(b"key", 0), rank=1)
        _until(lambda: held.begun == [(b"key", 0)])
        put(made, record(b"key", 1), rank=0)
        put(made, record(b"key", 2), rank=1)
        made.drop_waiting()
        put(made, record(b"key", 3), generation=2, rank=0)
        put(made, record(b"key", 4), generation=2, rank=1)
        held.go_on[b"key"].set()
        assert made.wait_idle(WAIT_S)
    assert [offset for _, offset in held.begun] == [0, 3, 4]


def _until(holds: Callable[[], bool]) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not holds():
        assert clock.monotonic_s() < deadline_s
        clock.sleep(0.01)


def test_a_thread_starts_only_for_a_record_that_waits_for_one(clock: HeldClock) -> None:
    """Issue: an adapter with little work has few threads, and with much work no more than its
    bound.
    """
    go_on = threading.Event()

    def work(each: InputRecord, _: int) -> float | None:
        assert not (each.key or b"").startswith(b"slow") or go_on.wait(WAIT_S)
        return None

    with lanes(work, clock, 4) as made:
        assert made._threads == []
        for offset in range(20):
            put(made, record(b"key-%d" % offset, offset))
            assert made.wait_idle(WAIT_S)
            _until(lambda: made._idling == len(made._threads))
        assert len(made._threads) == 1
        for offset, expected in enumerate((1, 2, 3, 4, 4, 4)):
            put(made, record(b"slow-%d" % offset, offset))
            assert len(made._threads) == expected
        go_on.set()
        assert made.wait_idle(WAIT_S)


def test_lanes_that_become_ready_together_get_a_thread_each(clock: HeldClock) -> None:
    """Those that slept, and those that waited behind another of their name."""
    together = threading.Barrier(3)
    first = threading.Event()

    def work(each: InputRecord, _: int) -> float | None:
        if not first.is_set():
            if each.offset == 2:
                first.set()
            return 1.0
        together.wait(WAIT_S)
        return None

    with lanes(work, clock, 3) as made:
        for offset in range(3):
            put(made, record(b"key-%d" % offset, offset))
            _until(lambda expected=offset + 1: len(made._asleep) == expected)  # type: ignore[misc]
        clock.advance(1_000)
        made.release_due()
        assert made.wait_idle(WAIT_S)
