"""Partitions that make no progress: a worker's own, and the journal's as the verifier sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from engine.clients.stall_detection import (
    ELAPSED_S_MAX,
    LOOK_EVERY_S,
    NOT_FETCHING_S,
    TURN_S_MAX,
    StallDetector,
    StalledPartitions,
)
from engine.errors import Abort, ConsumerLost
from engine.ports import TopicPartition
from engine.worker.progress import PartitionProgress
from processors.verifier.hanging_transactions import HANGING_AFTER_S, HangingMetrics, HangingWatch
from processors.verifier.hanging_transactions import LOOK_EVERY_S as WATCH_EVERY_S
from tests.clock import HeldClock

P0, P1 = ("t", 0), ("t", 1)


class Log:
    """Log ends as a cluster reports them."""

    def __init__(self) -> None:
        self.ends = {P0: 0, P1: 0}
        self.marks: dict[TopicPartition, int] | None = None
        self.silent = False

    def ask_stable(
        self, partitions: Sequence[TopicPartition]
    ) -> Callable[[], Mapping[TopicPartition, int] | None]:
        return lambda: None if self.silent else {name: self.ends[name] for name in partitions}

    def stable(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self.silent:
            raise Abort("_TIMED_OUT", "no broker answers")
        return {name: self.ends[name] for name in partitions}

    def high(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self.marks or self.stable(partitions)


# -- StalledPartitions -----------------------------------------------------------------------------


def test_a_partition_is_stalled_from_the_second_check_that_finds_it_at_the_same_offset() -> None:
    stalled = StalledPartitions()
    stalled.look({P0: 5, P1: 7}, {P0: 6, P1: 7}, 5.0)
    assert stalled.longest() == 0.0  # how long it waited before is not known
    stalled.look({P0: 5, P1: 7}, {P0: 9, P1: 7}, 5.0)
    assert stalled.seconds == {P0: 5.0}
    stalled.look({P0: 6, P1: 7}, {P0: 9, P1: 8}, 5.0)  # slow, but it makes progress
    assert stalled.longest() == 0.0
    stalled.look({P0: 6, P1: 7}, {P0: 6, P1: 8}, 5.0)
    assert stalled.seconds == {P1: 5.0}


def test_a_partition_that_reached_its_end_meanwhile_starts_again() -> None:
    stalled = StalledPartitions()
    for end in (6, 6, 5, 6):
        stalled.look({P0: 5}, {P0: end}, 5.0)
    assert stalled.longest() == 0.0


def test_the_lag_counts_the_unread_records_of_assigned_partitions() -> None:
    """DEP-06: by partition. A partition that is not yet known or no longer assigned has none."""
    stalled = StalledPartitions()
    stalled.look({P0: 5, P1: -1}, {P0: 9, P1: 3}, 1.0)
    assert stalled.records == {P0: 4}
    stalled.look({P0: 9, P1: 4}, {P0: 9, P1: 3}, 1.0)
    assert stalled.records == {P0: 0, P1: 0}
    stalled.look({P1: 4}, {P1: 6}, 1.0)
    assert stalled.records == {P1: 2}


# -- PartitionProgress -----------------------------------------------------------------------------


def test_an_end_moves_the_position_past_markers_but_never_past_records_in_progress() -> None:
    """Commits reach the log's end, so that any tool shows a lag of zero."""
    places = PartitionProgress()
    places.assign([P0, P1])
    assert places.started(P0, 3)
    assert places.started(P0, 4)
    places.read_to({P0: 6, P1: 2, ("t", 9): 5})
    assert places.done() == {P0: 3, P1: 2}
    assert places.idle() == {P1}
    places.finished(P0, 4)
    assert places.uncommitted() == {P0: 3, P1: 2}
    places.finished(P0, 3)
    assert places.uncommitted() == {P0: 6, P1: 2}
    places.committed({P0: 6, P1: 2})
    assert places.uncommitted() == {}
    places.assign([P1])
    assert not places.started(P0, 7)
    assert places.done() == {P1: -1}


# -- StallDetector ---------------------------------------------------------------------------------


class Reading:
    """A detector over this log, called as a worker calls it."""

    def __init__(self, *names: TopicPartition) -> None:
        self.log = Log()
        self.clock = HeldClock(0)
        self.places = PartitionProgress()
        self.places.assign(names)
        self.stalls = StallDetector(self.log, self.clock)  # type: ignore[arg-type]
        self.explained: set[TopicPartition] = set()

    def passes(self, seconds: float, *, backlog: bool = False) -> float:
        """Take steps for that long; return the longest stall. Raises ConsumerLost."""
        for _ in range(round(seconds)):
            self.clock.sleep(1.0)
            if backlog:
                self.stalls.backlog()
            stalled = self.stalls.check(self.places.done(), self.places.idle, self.explained)
        return stalled

    def stalled_after(self, seconds: float, *, backlog: bool = False) -> float:
        """The seconds until a partition is stalled; fails if none is within `seconds`."""
        began_s = self.clock.monotonic_s()
        with pytest.raises(ConsumerLost, match="did not arrive") as lost:
            self.passes(seconds, backlog=backlog)
        self.said = str(lost.value)
        return self.clock.monotonic_s() - began_s


def test_a_consumer_that_receives_nothing_although_records_exist_is_lost() -> None:
    """JOB-03."""
    reading = Reading(P0, P1)
    reading.log.ends = {P0: 5, P1: 8}
    reading.places.read_to({P0: 5, P1: 3})
    waited_s = reading.stalled_after(60)
    assert NOT_FETCHING_S <= waited_s <= NOT_FETCHING_S + 3 * LOOK_EVERY_S
    assert "t 1 " in reading.said


def test_a_hanging_record_shows_as_stalled_time_but_not_as_a_stall() -> None:
    reading = Reading(P0)
    reading.log.ends = {P0: 8}
    reading.places.started(P0, 3)
    assert reading.passes(60) >= 60 - 3 * LOOK_EVERY_S


@pytest.mark.parametrize("seconds", [11, 12, 13])
def test_a_slow_record_that_has_just_ended_is_no_stall(seconds: int) -> None:
    """Until the next check the partition seemed not to have moved while the rail did not answer,
    with nothing in progress; its consumer was replaced under load only.
    """
    reading = Reading(P0)
    reading.log.ends = {P0: 20}
    for offset in range(3, 20):
        reading.places.started(P0, offset)
        reading.passes(seconds)
        reading.places.finished(P0, offset)
        reading.passes(1)


def test_time_counts_from_the_end_of_a_pause() -> None:
    """STOP and full lanes pause on purpose; afterwards a partition gets its full time again."""
    reading = Reading(P1)
    reading.log.ends[P1] = 8
    reading.places.read_to({P1: 3})
    reading.stalls.pause([P1])
    assert reading.passes(60) >= 60 - 3 * LOOK_EVERY_S
    reading.stalls.resume([P1])
    assert reading.stalled_after(60) == NOT_FETCHING_S


def test_a_partition_is_checked_whatever_else_is_paused() -> None:
    """Commands that waited for reports used to hide that the reports were not fetched."""
    reading = Reading(P0, P1)
    reading.log.ends = {P0: 9, P1: 8}
    reading.places.read_to({P0: 3, P1: 3})
    reading.stalls.pause([P0])
    assert reading.stalled_after(60) <= NOT_FETCHING_S + 3 * LOOK_EVERY_S
    assert "t 1 " in reading.said


def test_a_partition_that_the_client_cannot_read_does_not_replace_the_client() -> None:
    """Another client could not read it either; the other partitions are still checked."""
    reading = Reading(P0, P1)
    reading.log.ends = {P0: 9, P1: 3}
    reading.places.read_to({P0: 3, P1: 3})
    reading.explained = {P0}
    assert reading.passes(300) >= 300 - 3 * LOOK_EVERY_S
    reading.log.ends[P1] = 4
    assert reading.stalled_after(60) <= NOT_FETCHING_S + 3 * LOOK_EVERY_S
    assert "t 1 " in reading.said


def test_in_a_backlog_a_partition_waits_for_its_turn_but_not_for_ever() -> None:
    """Meanwhile the client's only queue is full of other partitions' records."""
    reading = Reading(P0)
    reading.log.ends[P0] = 9
    reading.places.read_to({P0: 3})
    reading.passes(TURN_S_MAX - 5, backlog=True)
    waited_s = TURN_S_MAX - 5 + reading.stalled_after(60, backlog=True)
    assert TURN_S_MAX <= waited_s <= TURN_S_MAX + 3 * LOOK_EVERY_S


def test_a_partition_without_any_position_counts_too() -> None:
    """Even an empty partition reports its end; one that the client does not fetch does not."""
    assert Reading(P0).stalled_after(60) >= NOT_FETCHING_S


def test_before_the_first_record_a_partition_is_at_the_committed_offset() -> None:
    """On a busy machine an empty partition may take a while to report its end."""
    reading = Reading(P0, P1)
    reading.log.ends = {P0: 5, P1: 0}
    reading.places.begin({P0: 5, P1: 0, ("t", 9): 1})
    assert reading.passes(60) == 0.0
    assert reading.places.uncommitted() == {}
    reading.places.started(P0, 5)
    reading.places.finished(P0, 5)
    assert reading.places.uncommitted() == {P0: 6}


def test_time_counts_again_after_a_long_restore_of_the_same_partitions() -> None:
    """Otherwise the client that replaced a stalled one would be replaced at once, repeatedly."""
    reading = Reading(P0)
    reading.log.ends[P0] = 9
    reading.places.read_to({P0: 3})
    reading.stalled_after(60)
    reading.clock.sleep(120.0)  # the restore: no checks
    reading.stalls.begin()
    assert reading.stalled_after(60) >= NOT_FETCHING_S


def test_an_outage_is_no_stall() -> None:
    """While no broker answers nothing is known, and that time does not count in full."""
    reading = Reading(P0)
    reading.log.ends[P0] = 9
    reading.places.read_to({P0: 3})
    reading.passes(2 * LOOK_EVERY_S)
    reading.log.silent = True
    reading.passes(300)
    reading.log.silent = False
    assert reading.passes(2) <= 2 * LOOK_EVERY_S + ELAPSED_S_MAX


# -- HangingWatch ----------------------------------------------------------------------------------


class Watched:
    """A watch over this log, and its metrics registry."""

    def __init__(self) -> None:
        self.log = Log()
        self.clock = HeldClock(0)
        self.registry = CollectorRegistry()
        metrics = HangingMetrics(self.registry)
        self.watch = HangingWatch(self.log, [P0, P1], self.clock, metrics)

    def passes(self, seconds: float) -> float | None:
        for _ in range(round(seconds)):
            self.watch.look_if_due()
            self.clock.sleep(1.0)
        return self.registry.get_sample_value("npp_journal_open_transaction_seconds")


def test_an_open_transaction_shows_until_it_ends(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A critical line names its partition and offset once, when no process of ours can
    still have it open.
    """
    harness = Watched()
    harness.log.ends = {P0: 3, P1: 18}
    harness.log.marks = {P0: 3, P1: 20}
    assert harness.passes(31) == 30.0
    assert harness.passes(60) == 90.0
    output = caplog.text + capsys.readouterr().out
    assert output.count("transaction_hangs") == 1
    assert "find-hanging" in output
    harness.log.ends[P1] = 20
    assert harness.passes(6) == 0.0
    assert HANGING_AFTER_S < 90


def test_transactions_that_follow_each_other_do_not_hang() -> None:
    harness = Watched()
    for at in range(0, 100, 2):
        harness.log.ends[P0], harness.log.marks = at, {P0: at + 2, P1: 0}
        assert harness.passes(WATCH_EVERY_S) == 0.0


def test_without_an_answer_of_the_cluster_the_last_one_about_transactions_is_kept() -> None:
    harness = Watched()
    harness.log.marks = {P0: 2, P1: 0}
    assert harness.passes(21) == 20.0
    harness.log.silent = True
    assert harness.passes(60) == 20.0


def test_a_reader_without_partitions_has_no_lag() -> None:
    """Otherwise two processes would show the same partition after a rebalance."""
    reading = Reading(P0)
    reading.places.begin({P0: 1})
    reading.log.ends[P0] = 4
    reading.passes(4)  # no request is open
    assert reading.stalls.records == {P0: 3}
    reading.places.assign([])
    reading.passes(2)
    assert reading.stalls.records == {}
