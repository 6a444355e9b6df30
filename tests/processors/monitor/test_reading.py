"""When a monitor that owns the partitions is taken for one that lost a topic."""

from __future__ import annotations

import pytest

from processors.monitor.reading import Reading
from tests.clock import HeldClock

MINUTES, TICKS = "minutes", "ticks"
UNREAD_S_MAX = 60.0


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(0)


@pytest.fixture
def reading(clock: HeldClock) -> Reading:
    made = Reading((MINUTES, TICKS), clock, UNREAD_S_MAX)
    made.begin()
    made.start_at({MINUTES: 5, TICKS: 0})
    return made


def pass_seconds(reading: Reading, clock: HeldClock, seconds: float, *, end: int) -> None:
    """A tick is read every 5 s, and Kafka says that the minutes end before `end`."""
    until_s = clock.monotonic_s() + seconds
    while clock.monotonic_s() < until_s:
        clock.sleep(5.0)
        tick = int(clock.monotonic_s())
        reading.record(TICKS, tick)
        reading.ends({MINUTES: end, TICKS: tick + 1})


def test_a_topic_read_to_its_end_is_never_overdue(reading: Reading, clock: HeldClock) -> None:
    pass_seconds(reading, clock, 10 * UNREAD_S_MAX, end=5)
    assert reading.unread() is None


def test_records_that_wait_are_overdue_though_the_ticks_are_read(
    reading: Reading, clock: HeldClock
) -> None:
    pass_seconds(reading, clock, UNREAD_S_MAX, end=6)
    assert reading.unread() is None
    pass_seconds(reading, clock, 5, end=6)
    assert reading.unread() == MINUTES


def test_a_record_of_the_topic_starts_the_time_again(reading: Reading, clock: HeldClock) -> None:
    pass_seconds(reading, clock, UNREAD_S_MAX, end=7)
    reading.record(MINUTES, 5)
    pass_seconds(reading, clock, UNREAD_S_MAX, end=7)
    assert reading.unread() is None
    reading.record(MINUTES, 6)
    pass_seconds(reading, clock, 10 * UNREAD_S_MAX, end=7)
    assert reading.unread() is None


def test_a_start_below_what_was_read_changes_nothing(reading: Reading, clock: HeldClock) -> None:
    reading.record(MINUTES, 8)
    reading.start_at({MINUTES: 5})
    pass_seconds(reading, clock, 10 * UNREAD_S_MAX, end=9)
    assert reading.unread() is None


def test_the_tables_may_be_restored_before_the_assignment_is_told(clock: HeldClock) -> None:
    reading = Reading((MINUTES, TICKS), clock, UNREAD_S_MAX)
    reading.start_at({MINUTES: 5, TICKS: 0})
    reading.begin()
    pass_seconds(reading, clock, 10 * UNREAD_S_MAX, end=5)
    assert reading.unread() is None


def test_partitions_that_come_back_are_read_from_where_faust_begins(
    reading: Reading, clock: HeldClock
) -> None:
    """Another worker has read on meanwhile: what this one knew counts no more."""
    reading.record(MINUTES, 50)
    reading.end()
    reading.begin()
    reading.start_at({MINUTES: 7})
    pass_seconds(reading, clock, UNREAD_S_MAX + 5, end=9)
    assert reading.unread() == MINUTES


def test_silence_of_kafka_is_overdue(reading: Reading, clock: HeldClock) -> None:
    clock.sleep(UNREAD_S_MAX + 1)
    reading.record(TICKS, 1)
    assert reading.unread() == MINUTES


def test_a_worker_whose_restore_never_ended_is_overdue(clock: HeldClock) -> None:
    reading = Reading((MINUTES, TICKS), clock, UNREAD_S_MAX)
    reading.begin()
    pass_seconds(reading, clock, UNREAD_S_MAX + 5, end=0)
    assert reading.unread() == MINUTES


def test_a_worker_without_the_partitions_waits_as_long_as_it_must(
    reading: Reading, clock: HeldClock
) -> None:
    reading.end()
    pass_seconds(reading, clock, 10 * UNREAD_S_MAX, end=9)
    assert reading.unread() is None
