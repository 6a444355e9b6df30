"""Places that do not move: what a worker sees of itself, and the verifier of the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from engine.clock import HeldClock
from engine.errors import Abort, ConsumerLost
from engine.progress import Places
from engine.standing import DEAF_AFTER_S, ELAPSED_S_MAX, LOOK_EVERY_S, Hearing, Standing
from processors.hanging import HANGING_AFTER_S, HangingMetrics, HangingWatch
from processors.hanging import LOOK_EVERY_S as WATCH_EVERY_S

P0, P1 = ("t", 0), ("t", 1)
Name = tuple[str, int]


class Log:
    """Ends as a cluster would tell them."""

    def __init__(self) -> None:
        self.ends = {P0: 0, P1: 0}
        self.marks: dict[Name, int] | None = None
        self.silent = False

    def ask_stable(self, partitions: Sequence[Name]) -> Callable[[], Mapping[Name, int] | None]:
        return lambda: None if self.silent else {name: self.ends[name] for name in partitions}

    def stable(self, partitions: Sequence[Name]) -> Mapping[Name, int]:
        if self.silent:
            raise Abort("_TIMED_OUT", "nobody answers")
        return {name: self.ends[name] for name in partitions}

    def high(self, partitions: Sequence[Name]) -> Mapping[Name, int]:
        return self.marks or self.stable(partitions)


# -- Standing --------------------------------------------------------------------------------------


def test_a_place_stands_between_two_looks_that_saw_it_wait_at_the_same_offset() -> None:
    standing = Standing()
    standing.look({P0: 5, P1: 7}, {P0: 6, P1: 7}, 5.0)
    assert standing.longest() == 0.0  # how long it has waited before is not known
    standing.look({P0: 5, P1: 7}, {P0: 9, P1: 7}, 5.0)
    assert standing.seconds == {P0: 5.0}
    standing.look({P0: 6, P1: 7}, {P0: 9, P1: 8}, 5.0)  # slow, but it moves
    assert standing.longest() == 0.0
    standing.look({P0: 6, P1: 7}, {P0: 6, P1: 8}, 5.0)
    assert standing.seconds == {P1: 5.0}


def test_a_place_that_was_at_its_end_meanwhile_begins_anew() -> None:
    standing = Standing()
    for end in (6, 6, 5, 6):
        standing.look({P0: 5}, {P0: end}, 5.0)
    assert standing.longest() == 0.0


# -- Places ----------------------------------------------------------------------------------------


def test_an_end_moves_a_place_past_markers_but_never_past_what_is_under_way() -> None:
    """Commits reach the log's end, so that any tool sees that nothing is left to read."""
    places = Places()
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


# -- Hearing ---------------------------------------------------------------------------------------


class Ear:
    """A hearing over this log, asked as a worker does."""

    def __init__(self, *names: Name) -> None:
        self.log = Log()
        self.clock = HeldClock(0)
        self.places = Places()
        self.places.assign(names)
        self.hearing = Hearing(self.log, self.clock)  # type: ignore[arg-type]

    def passes(self, seconds: float, *, reading: bool = True) -> float:
        """Step after step for so long; the longest standing at the end. Raises ConsumerLost."""
        for _ in range(round(seconds)):
            self.clock.sleep(1.0)
            stood = self.hearing.check(self.places.done(), self.places.idle, reading=reading)
        return stood

    def deaf_after(self, seconds: float) -> float:
        """The seconds that pass until it is; fails when it is not within `seconds`."""
        began_s = self.clock.monotonic_s()
        with pytest.raises(ConsumerLost, match="do not come"):
            self.passes(seconds)
        return self.clock.monotonic_s() - began_s


def test_a_consumer_that_is_given_nothing_though_records_lie_there_is_deaf() -> None:
    """JOB-03."""
    ear = Ear(P0, P1)
    ear.log.ends = {P0: 5, P1: 8}
    ear.places.read_to({P0: 5, P1: 3})
    assert DEAF_AFTER_S <= ear.deaf_after(60) <= DEAF_AFTER_S + 3 * LOOK_EVERY_S


def test_a_record_that_hangs_shows_as_standing_and_is_no_deafness() -> None:
    ear = Ear(P0)
    ear.log.ends = {P0: 8}
    ear.places.started(P0, 3)
    assert ear.passes(60) >= 60 - 3 * LOOK_EVERY_S


def test_a_pause_that_ends_is_given_time() -> None:
    """STOP or full lanes: what stood meanwhile was meant to, and shows as standing all the same."""
    ear = Ear(P1)
    ear.log.ends[P1] = 8
    ear.places.read_to({P1: 3})
    assert ear.passes(60, reading=False) >= 60 - 3 * LOOK_EVERY_S
    assert ear.deaf_after(60) == DEAF_AFTER_S


def test_a_partition_that_never_said_where_it_is_counts_too() -> None:
    """Even an empty one says where its end is; one that the client does not read does not."""
    assert Ear(P0).deaf_after(60) >= DEAF_AFTER_S


def test_the_same_places_taken_anew_are_given_time_after_a_long_restore() -> None:
    """Else a client that replaced a deaf one would be called deaf at once, again and again."""
    ear = Ear(P0)
    ear.log.ends[P0] = 9
    ear.places.read_to({P0: 3})
    ear.deaf_after(60)
    ear.clock.sleep(120.0)  # the restore: nobody looks
    ear.hearing.begin()
    assert ear.deaf_after(60) >= DEAF_AFTER_S


def test_an_outage_is_no_deafness() -> None:
    """While nobody answers nothing is known; the time until the answer does not count whole."""
    ear = Ear(P0)
    ear.log.ends[P0] = 9
    ear.places.read_to({P0: 3})
    ear.passes(2 * LOOK_EVERY_S)
    ear.log.silent = True
    ear.passes(300)
    ear.log.silent = False
    assert ear.passes(2) <= 2 * LOOK_EVERY_S + ELAPSED_S_MAX


# -- HangingWatch ----------------------------------------------------------------------------------


class Watched:
    """A watch over this log and the registry that it is seen in."""

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


def test_a_transaction_that_nobody_ends_is_seen_for_as_long_as_it_is_open(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A critical line says once where it is, when no process of ours can still have it open."""
    house = Watched()
    house.log.ends = {P0: 3, P1: 18}
    house.log.marks = {P0: 3, P1: 20}
    assert house.passes(31) == 30.0
    assert house.passes(60) == 90.0
    said = caplog.text + capsys.readouterr().out
    assert said.count("transaction_hangs") == 1
    assert "find-hanging" in said
    house.log.ends[P1] = 20
    assert house.passes(6) == 0.0
    assert HANGING_AFTER_S < 90


def test_transactions_that_follow_each_other_do_not_hang() -> None:
    house = Watched()
    for at in range(0, 100, 2):
        house.log.ends[P0], house.log.marks = at, {P0: at + 2, P1: 0}
        assert house.passes(WATCH_EVERY_S) == 0.0


def test_a_cluster_that_does_not_say_keeps_the_last_answer_about_transactions() -> None:
    house = Watched()
    house.log.marks = {P0: 2, P1: 0}
    assert house.passes(21) == 20.0
    house.log.silent = True
    assert house.passes(60) == 20.0
