"""The engine's batches, timers and restarts on the broker-free driver, with a counting toy
application.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from tests.engine.driver import Crashed, Driver
from tests.engine.toy import (
    ADD,
    ANSWERS,
    JOURNAL,
    QUARANTINE,
    STATE,
    TIMERS,
    Count,
    Toy,
    ToyControl,
)

POINTS = (
    "after_poll",
    "after_decide",
    "after_send_offsets",
    "after_produce",
    "before_commit",
    "commit_sent",
    "after_commit",
)


def script(driver: Driver) -> None:
    """Records of five keys, some with deadlines, one at rest."""
    start_ms = driver.clock.now_ms()
    for at, key in itertools.product(range(6), ("a", "b", "c", "d", "e")):
        driver.pipe(ADD, key.encode(), b"add")
        if at == 2:
            driver.pipe(ADD, key.encode(), b"at:%d" % (start_ms + 1000))
    driver.pipe(ANSWERS, b"a", b"add")
    driver.pipe(ADD, b"e", b"rest")


def journal(driver: Driver) -> list[tuple[int, bytes | None]]:
    return [(r.partition, r.value) for r in driver.committed(JOURNAL)]


def finish(driver: Driver) -> None:
    """Run to rest, let the deadlines pass, run to rest again. Restart after each crash with the
    clock unchanged.
    """
    for advance_ms in (0, 2000):
        driver.clock.advance(advance_ms)
        while True:
            try:
                driver.run()
                break
            except Crashed:
                driver.restart()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_crash_at_any_step_gives_the_same_journal(point: str, nth: int, disk: str) -> None:
    """EV-07: whatever step the process dies at, the journal equals the one without a crash."""
    expected = Driver(Toy, batch_count=7)
    script(expected)
    finish(expected)

    driver = Driver(Toy, batch_count=7)
    script(driver)
    driver.crash_at(point, nth)
    with pytest.raises(Crashed):
        driver.run()
    if disk == "lost":
        driver.lose_disk()
    driver.restart()
    finish(driver)

    assert journal(expected) == journal(driver)
    assert [expected.state(k) for k in "abcde"] == [driver.state(k) for k in "abcde"]


def test_random_batch_sizes_and_crashes_never_change_what_is_counted() -> None:
    """Every input is counted exactly once and in order, whatever the batches and crashes."""
    for seed in range(20):
        driver = Driver(Toy, batch_count=9, seed=seed)
        script(driver)
        for turn in range(5):
            driver.crash_at(POINTS[(seed + turn) % len(POINTS)], 1 + turn % 3)
            try:
                driver.run()
            except Crashed:
                driver.restart()
        finish(driver)
        lines = [msgspec.json.decode(v) for _, v in journal(driver) if v]
        causes = [line["cause"] for line in lines]
        assert len(causes) == len(set(causes)), f"seed {seed}"
        for key in "abcde":
            mine = [line["n"] for line in lines if line["key"] == key]
            assert mine == list(range(1, len(mine) + 1)), f"seed {seed}"


def test_a_timer_acts_only_once_its_record_is_read_back() -> None:
    """A due deadline becomes one record on the timers topic, and only reading that changes the
    state.
    """
    driver = Driver(Toy)
    driver.pipe(ADD, b"k", b"at:%d" % (driver.clock.now_ms() + 500))
    driver.run()
    assert driver.committed(TIMERS) == []
    driver.clock.advance(500)
    driver.step()
    assert [r.value for r in driver.committed(TIMERS)] == [b"due:1767225600500"]
    assert driver.state("k") == Count("k", 1, 1767225600500)
    driver.run()
    assert driver.state("k") == Count("k", 2, None)


def test_a_waiting_answer_is_decided_before_the_timeout() -> None:
    """Domain §8: with an answer in its topic at the deadline the timer is never written, however
    small the batches.
    """
    driver = Driver(Toy, batch_count=1)
    driver.pipe(ADD, b"k", b"at:%d" % (driver.clock.now_ms() + 500))
    driver.run()
    for _ in range(5):
        driver.pipe(ANSWERS, b"k", b"add")
    driver.advance(10_000)
    assert driver.committed(TIMERS) == []
    assert driver.state("k") == Count("k", 6, None)


def test_a_timer_without_effect_comes_again_only_after_a_minute() -> None:
    """A timer record is not written twice within a minute for the same deadline."""
    driver = Driver(Toy)
    start_ms = driver.clock.now_ms()
    driver.pipe(ADD, b"k", b"at:%d" % (start_ms + 500))
    driver.run()
    driver.clock.advance(500)
    driver.step()
    # the toy sets the same deadline again: armed already, not due again at once
    driver.pipe(ANSWERS, b"k", b"at:%d" % (start_ms + 500))
    for _ in range(5):
        driver.step()
        driver.clock.advance(1000)
    assert len(driver.committed(TIMERS)) == 1


def test_a_timer_read_back_without_effect_is_written_again_after_a_minute() -> None:
    """A current deadline is not forgotten; it comes once a minute, not at once."""
    driver = Driver(Toy)
    driver.pipe(ADD, b"k", b"at:%d" % (driver.clock.now_ms() + 999))
    driver.run()
    for advance_ms, made in ((1000, 1), (59_000, 1), (2000, 2), (60_000, 3)):
        driver.advance(advance_ms)
        assert len(driver.committed(TIMERS)) == made


def test_within_a_batch_a_partitions_answers_are_decided_before_its_commands() -> None:
    """Domain §4: topics in the topology's order, each in offset order, whatever order
    they came in.
    """
    driver = Driver(Toy)
    for value in (b"add", b"add"):
        driver.pipe(ADD, b"k", value)
    for value in (b"add", b"add"):
        driver.pipe(ANSWERS, b"k", value)
    driver.step()
    causes = [msgspec.json.decode(v)["cause"] for _, v in journal(driver) if v]
    assert [(c.split("/")[0], c.split("/")[2]) for c in causes] == [
        (ANSWERS, "0"),
        (ANSWERS, "1"),
        (ADD, "0"),
        (ADD, "1"),
    ]


def test_a_defect_rolls_back_the_record_and_parks_it() -> None:
    """Domain §5: when decide raises, the record's results are dropped and on_defect is called
    instead.
    """
    driver = Driver(Toy)
    driver.pipe(ADD, b"k", b"add")
    driver.pipe(ADD, b"k", b"boom")
    driver.pipe(ADD, b"k", b"add")
    driver.run()
    assert driver.state("k") == Count("k", 2)
    assert len(driver.committed(STATE)) == 2
    assert [dict(r.headers)["reason"] for r in driver.committed(QUARANTINE)] == [b"RuntimeError"]


def test_an_unavailable_dependency_blocks_its_partition_in_order_and_commits_the_rest() -> None:
    """Domain §5: while a dependency is unavailable nothing of that partition passes the record;
    other partitions continue.
    """
    Toy.down = True
    try:
        driver = Driver(Toy)
        driver.pipe(ADD, b"a", b"add", partition=None)
        other = next(
            k for k in (b"b", b"c", b"d", b"e", b"f") if driver.pipe(ADD, k, b"add").partition != 0
        )
        blocked = next(
            k for k in (b"g", b"h", b"i", b"j", b"k", b"l") if _partition(k) != _partition(other)
        )
        driver.pipe(ADD, blocked, b"wait")
        driver.pipe(ADD, blocked, b"add")
        driver.pipe(ADD, other, b"add")
        driver.run()
        assert driver.state(blocked.decode()) is None
        assert driver.state(other.decode()) == Count(other.decode(), 2)
        Toy.down = False
        driver.advance(1000)
        assert driver.state(blocked.decode()) == Count(blocked.decode(), 2)
        assert b"never to be seen" not in [v for _, v in journal(driver)]
    finally:
        Toy.down = False


def test_a_stop_on_the_control_topic_blocks_everything_until_it_is_lifted() -> None:
    """While stopped nothing is decided; afterwards nothing is lost."""
    driver = Driver(Toy, ToyControl())
    driver.pipe_control(b"stop")
    driver.pipe(ADD, b"k", b"add")
    assert driver.run() == 0
    driver.pipe_control(b"go")
    assert driver.run() == 1


def _partition(key: bytes) -> int:
    from engine.partitioner import partition_of

    return partition_of(key, 2)
