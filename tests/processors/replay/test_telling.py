"""What `npp run replay` tells of itself: the proof that runs, and how the last one ended."""

from __future__ import annotations

from core.monitoring import ProofState
from engine.clock import MS_PER_S, SystemClock
from processors.replay.telling import EVERY_S, Telling, verdict
from tests.processors.replay.test_scheduled import FAILURE, Rig, failing, passing, unreachable

EARLIER = ProofState(
    at=5, running=True, began_at=4, done=1, total=9, ended_at=3, verdict="PASSED", events=7
)


def test_what_runs_and_how_it_ended_is_told() -> None:
    rig = Rig(passing)
    rig.proof.run()
    first, last = rig.told[0], rig.told[-1]
    assert (first.running, first.verdict, first.done) == (True, None, 0)
    assert (last.running, last.verdict, last.events) == (False, "PASSED", 41)
    assert last.ended_at is not None
    assert last.difference is None


def test_a_failure_is_told_with_its_difference_after_the_stop() -> None:
    rig = Rig(failing)
    rig.proof.run()
    assert rig.stopped
    assert (rig.told[-1].verdict, rig.told[-1].difference) == ("FAILED", FAILURE.sentence())


def test_a_proof_that_could_not_be_made_leaves_the_last_result_as_it_was() -> None:
    """Also over a restart of the process, which had died under a proof."""
    rig = Rig(unreachable, last=EARLIER)
    rig.proof.run()
    last = rig.told[-1]
    assert (last.running, last.verdict, last.events, last.ended_at) == (False, "PASSED", 7, 3)


def test_progress_is_told_every_two_seconds_and_not_with_every_batch() -> None:
    told: list[ProofState] = []
    clock = Hands()
    telling = Telling(told.append, clock, None)
    telling.began()
    for done in range(100):
        clock.ms += 100
        telling.progress(done, 100)
    assert len(told) == 1 + 10_000 // int(EVERY_S * MS_PER_S)
    assert (told[-1].done, told[-1].total) == (99, 100)


def test_what_is_not_wholly_checkable_did_not_pass() -> None:
    """No keyring: the signatures of the checkpoints were not judged."""
    report = passing()
    report.chain.skip("no keyring")
    report.chain.checked = 0
    assert verdict(report) == "NOT_CHECKABLE"


class Hands(SystemClock):
    """A clock that a test moves."""

    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms
