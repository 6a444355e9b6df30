"""Lanes: order per key, threads that do not wait, and what a rebalance forgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from engine.clock import HeldClock, SystemClock
from engine.lanes import Lanes
from engine.ports import InputRecord

WAIT_S = 10.0


def record(key: bytes, offset: int) -> InputRecord:
    return InputRecord("topic", 0, offset, 0, key, b"value", [], 0)


@contextmanager
def lanes(
    work: Callable[[InputRecord, int], float | None], clock: HeldClock, threads: int
) -> Iterator[Lanes]:
    made = Lanes(work, clock, threads=threads)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(1_000)


def test_each_key_keeps_its_order_whatever_number_of_threads(clock: HeldClock) -> None:
    done: dict[bytes, list[int]] = {}

    def work(each: InputRecord, _: int) -> float | None:
        done.setdefault(each.key or b"", []).append(each.offset)
        return None

    with lanes(work, clock, 8) as made:
        for offset in range(2_000):
            made.put(record(b"key-%d" % (offset % 7), offset), 1)
        assert made.wait_idle(WAIT_S)
    assert sorted(offset for offsets in done.values() for offset in offsets) == list(range(2_000))
    assert all(offsets == sorted(offsets) for offsets in done.values())


def test_a_record_that_comes_again_later_holds_its_key_and_no_thread(clock: HeldClock) -> None:
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
            made.put(record(key, offset), 1)
        _until(lambda: len(done) == 2)
        assert done == [(b"quick", 2), (b"quick", 3)]
        made.release_due()
        assert not made.wait_idle(0.05), "its time has not come"
        clock.advance(5_000)
        made.release_due()
        assert made.wait_idle(WAIT_S)
    assert done[2:] == [(b"slow", 0), (b"slow", 1)]


def test_what_is_dropped_never_comes_again_even_if_it_was_under_way(clock: HeldClock) -> None:
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
        made.put(record(b"key", 0), 1)
        made.put(record(b"key", 1), 1)
        assert begun.wait(WAIT_S)
        made.drop_waiting()
        made.put(record(b"key", 0), 2)
        go_on.set()
        assert made.wait_idle(WAIT_S)
        assert made.count() == 0
    assert seen == [(0, 1), (0, 2)]


def _until(holds: Callable[[], bool]) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not holds():
        assert clock.monotonic_s() < deadline_s
        clock.sleep(0.01)
