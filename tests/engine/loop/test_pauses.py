"""What the loop fetches and when: reasons to pause are independent, and none of them hides a
partition that is not fetched.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.clients.partition_errors import TRY_EVERY_S
from engine.clients.stall_detection import LOOK_EVERY_S, NOT_FETCHING_S, TURN_S_MAX
from engine.errors import ConsumerLost
from engine.loop.assignment_setup import LOG_TAIL_LOST, Blocked
from engine.loop.watch import Phase
from engine.partitioner import partition_of
from tests.engine.loop.rig import FETCHED, STEP_MS, Rig
from tests.engine.toy import ADD, ANSWERS, TIMERS, Toy

BACKLOG = 2_000
KEYS = {partition_of(b"key-%d" % n, 2): b"key-%d" % n for n in range(20)}
STEP_S = STEP_MS / 1000
LATE_S = 3 * LOOK_EVERY_S


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    monkeypatch.setattr(Toy, "down", False)
    return Rig(monkeypatch, tmp_path)


def backlog(rig: Rig, *partitions: int) -> None:
    for number in partitions:
        rig.log.append((ADD, number), KEYS[number], *[b"x"] * BACKLOG)


def test_unfetched_answers_are_detected_behind_paused_commands(rig: Rig) -> None:
    """Commands waited for answers, and the client did not fetch the answers; while anything was
    paused, nothing was checked.
    """
    rig.consumer.stalled.add((ANSWERS, 0))
    rig.log.append((ANSWERS, 0), KEYS[0], b"x")
    backlog(rig, 0, 1)
    with pytest.raises(ConsumerLost, match=r"toy\.answers 0 has records that did not arrive"):
        rig.seconds(NOT_FETCHING_S + LATE_S)
    assert {(ADD, 0), (ADD, 1)} <= rig.consumer.paused
    assert rig.left((ADD, 0)) > 0


@pytest.mark.slow
def test_paused_commands_do_not_count_as_unfetched(rig: Rig) -> None:
    """Fairness is intended: under a constant load of answers, commands wait for their share."""
    backlog(rig, 0, 1)
    for _ in range(200):
        rig.log.append((ANSWERS, 0), KEYS[0], *[b"x"] * 2 * FETCHED)
        rig.steps(10)
    assert rig.left((ADD, 0)) == 0


@pytest.mark.slow
def test_in_an_endless_backlog_a_partition_gets_its_turn(rig: Rig) -> None:
    rig.consumer.stalled.add((TIMERS, 1))
    rig.log.append((TIMERS, 1), KEYS[1], b"x")

    def work_off() -> None:
        for _ in range(round((TURN_S_MAX + LATE_S) / STEP_S)):
            for number in (0, 1):
                rig.log.append((ANSWERS, number), KEYS[number], *[b"x"] * FETCHED)
            rig.steps(1)

    began_s = rig.clock.monotonic_s()
    with pytest.raises(ConsumerLost, match=r"toy\.timers 1"):
        work_off()
    assert rig.clock.monotonic_s() - began_s >= TURN_S_MAX


def test_a_pause_for_answers_ends_while_another_partition_waits_for_the_registry(
    rig: Rig,
) -> None:
    """The answers were read, but the commands of all partitions stayed paused while one record of
    one partition could not be decoded.
    """
    backlog(rig, 0, 1)
    rig.log.append((ANSWERS, 0), KEYS[0], *[b"x"] * 3 * FETCHED)
    rig.log.append((ANSWERS, 1), KEYS[1], b"wait")
    rig.app.__class__.down = True
    rig.seconds(30)
    assert rig.left((ADD, 0)) == 0
    assert rig.left((ADD, 1)) == BACKLOG - rig.loop._positions[ADD, 1] > 0
    assert {number for _, number in rig.consumer.paused} == {1}
    rig.app.__class__.down = False
    rig.seconds(30)
    assert [rig.left(name) for name in rig.names] == [0] * len(rig.names)
    assert rig.consumer.paused == set()


def test_a_batch_that_cannot_be_unpacked_blocks_only_its_partition(rig: Rig) -> None:
    """The client is not replaced, commands do not wait for unreadable answers, and the batch is
    retried from time to time.
    """
    rig.consumer.broken.add((ANSWERS, 0))
    rig.log.append((ANSWERS, 0), KEYS[0], b"x")
    rig.log.append((ANSWERS, 1), KEYS[1], *[b"x"] * 10)
    backlog(rig, 0, 1)
    rig.seconds(300)
    assert [name for name in rig.names if rig.left(name)] == [(ANSWERS, 0)]
    assert rig.consumer.paused <= {(ANSWERS, 0)}
    assert 10 <= rig.consumer.tries <= 300 / TRY_EVERY_S + 1
    assert rig.health.partition_errors.first().startswith("toy: toy.answers partition 0 at offset")
    rig.consumer.broken.clear()
    rig.seconds(TRY_EVERY_S + 1)
    assert rig.left((ANSWERS, 0)) == 0
    assert rig.health.partition_errors.first() == ""


def test_an_end_reported_during_a_stop_is_known_after_it(rig: Rig) -> None:
    """Only a transaction's marker follows, and the client reports the end once."""
    rig.log.append((ANSWERS, 0), KEYS[0], b"x")
    rig.steps(2)
    rig.control.apply(0, b"stop", 0)
    rig.log.mark((ANSWERS, 0))
    rig.consumer.pause = lambda names: None  # type: ignore[method-assign] # it was on its way
    rig.steps(2)
    assert rig.health.phase is Phase.STOPPED
    assert rig.left((ANSWERS, 0)) == 0


def test_a_stop_pauses_everything_and_its_end_resumes_what_has_no_other_reason(
    rig: Rig,
) -> None:
    """Domain §10: input waits in its topics; a partition that waits for the registry
    keeps waiting.
    """
    rig.app.__class__.down = True
    rig.log.append((ADD, 1), KEYS[1], b"wait")
    rig.steps(3)
    rig.control.apply(0, b"stop", 0)
    rig.steps(3)
    assert rig.consumer.paused == set(rig.names)
    rig.log.append((ADD, 0), KEYS[0], b"x")
    rig.seconds(30)
    assert rig.left((ADD, 0)) == 1
    rig.control.apply(1, b"go", 0)
    rig.steps(3)
    assert {number for _, number in rig.consumer.paused} == {1}
    assert rig.left((ADD, 0)) == 0


def test_records_that_arrive_during_a_stop_are_read_after_it(rig: Rig) -> None:
    rig.control.apply(0, b"stop", 0)
    rig.consumer.pause = lambda names: None  # type: ignore[method-assign] # they were on their way
    rig.log.append((ADD, 0), KEYS[0], b"x")
    rig.steps(3)
    assert rig.app.committed == 0
    rig.control.apply(1, b"go", 0)
    rig.steps(3)
    assert rig.app.committed == 1


def test_a_lost_log_tail_shows_as_halted_for_as_long_as_it_lasts(rig: Rig) -> None:
    """The next check used to report it as blocked, as if waiting would help."""
    rig.consumer.give_back(rig.names)
    shown = []
    for blocked in (
        Blocked(f"{LOG_TAIL_LOST}: partition 0: gone", Phase.HALTED),
        Blocked("no rule set is in force"),
        None,
    ):
        rig.setup.blocked = blocked
        rig.steps(3)
        shown.append((rig.health.phase, rig.health.reason))
    assert shown == [
        (Phase.HALTED, f"{LOG_TAIL_LOST}: partition 0: gone"),
        (Phase.BLOCKED, "no rule set is in force"),
        (Phase.RUNNING, ""),
    ]
