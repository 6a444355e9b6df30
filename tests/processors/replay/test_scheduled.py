"""The scheduled proof: what it reports, when it stops processing, and that it continues
afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from core.monitoring import ProofState
from engine.clock import MS_PER_S, Clock, SystemClock
from engine.errors import Exit
from engine.loop.watch import Health
from processors.replay import Report
from processors.replay.report import Failure
from processors.replay.reporter import EVERY_S, ProofReporter, verdict
from processors.replay.scheduled import AGAIN_S, ScheduledMetrics, ScheduledProof, Shown
from tests.clock import HeldClock

FAILURE = Failure("SEQUENCE_GAP", "pi_x", 3, "npp.payment.events.v1", 0, 7, "2 is missing")


def passing() -> Report:
    report = Report(None, None)
    for each in report.strengths():
        each.checked, each.events = 1, 41
    return report


def failing() -> Report:
    report = passing()
    report.chain.fail(FAILURE)
    return report


class Rig:
    """A schedule over prepared reports; ends by itself after the last one."""

    def __init__(
        self,
        *reports: Callable[[], Report],
        clock: Clock | None = None,
        every_s: float = 0.01,
        last: ProofState | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self.left = list(reports)
        self.published: list[Report] = []
        self.stopped: list[str] = []
        self.states: list[ProofState] = []
        self.clock = clock or SystemClock()
        self.health = Health(self.clock)
        self.began: list[float] = []
        self.proof = ScheduledProof(
            prove=self.prove, passed=self.published.append, failed=self.stopped.append,
            every_s=every_s, clock=self.clock, metrics=ScheduledMetrics(self.registry),
            health=self.health, reporter=ProofReporter(self.states.append, self.clock, last),
        )  # fmt: skip

    def prove(self, show: Shown) -> Report:
        assert self.health.ready()  # while it runs
        assert self.sample("npp_replay_running") == 1
        self.began.append(self.clock.monotonic_s())
        show("reading", 3, 9)
        make = self.left.pop(0)
        if not self.left:
            self.proof.stop()
        return make()

    def sample(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None
        return value


def unreachable() -> Report:
    raise Exit("UNREACHABLE", "Kafka does not answer")


def test_a_pass_is_published_and_exported() -> None:
    rig = Rig(passing)
    assert math.isnan(rig.sample("npp_replay_passed", strength="fold"))
    rig.proof.run()
    assert (len(rig.published), rig.stopped) == (1, [])
    assert {rig.sample("npp_replay_passed", strength=s.name) for s in passing().strengths()} == {1}
    assert rig.sample("npp_replay_last_events") == 41
    assert rig.sample("npp_replay_last_end_seconds") > 0
    assert (rig.sample("npp_replay_records_done"), rig.sample("npp_replay_running")) == (3, 0)


def test_a_failure_stops_processing_with_the_first_difference_and_the_next_proof_runs() -> None:
    """MET-11: a failed replay of any strength."""
    rig = Rig(failing, passing)
    rig.proof.run()
    assert rig.stopped == [FAILURE.sentence()]
    assert len(rig.published) == 1


@pytest.mark.parametrize("strength", ["fold", "chain", "redecide", "identity", "money"])
def test_a_failure_is_exported_under_its_strength(strength: str) -> None:
    def report() -> Report:
        made = passing()
        getattr(made, strength).fail(FAILURE)
        return made

    rig = Rig(report)
    rig.proof.run()
    names = {each.name: each for each in passing().strengths()}
    shown = {name: rig.sample("npp_replay_passed", strength=name) for name in names}
    assert shown == {name: float(name != strength) for name in names}
    assert len(rig.stopped) == 1


def test_an_unreadable_log_is_no_verdict_and_is_read_again() -> None:
    rig = Rig(unreachable, passing)
    rig.proof.run()
    assert (len(rig.published), rig.stopped) == (1, [])


class Hours(HeldClock):
    """Each reading of the clock advances it by a second, so that a day passes quickly."""

    def monotonic_s(self) -> float:
        self.advance(1_000)
        return super().monotonic_s()


class Waiting:
    """An event whose waits return at once."""

    def __init__(self) -> None:
        self.set_ = False

    def is_set(self) -> bool:
        return self.set_

    def set(self) -> None:
        self.set_ = True

    def wait(self, _seconds: float) -> bool:
        return self.set_


def in_no_time(*reports: Callable[[], Report], every_s: float) -> Rig:
    rig = Rig(*reports, clock=Hours(0), every_s=every_s)
    rig.proof._stop = Waiting()  # type: ignore[assignment]
    return rig


def test_the_interval_between_proofs_counts_from_start_to_start() -> None:
    """However long a proof takes: otherwise a nightly proof would drift into working hours."""
    rig = in_no_time(passing, passing, passing, every_s=1_000.0)
    prove = rig.proof._prove

    def long(show: Shown) -> Report:
        rig.clock.sleep(600.0)
        return prove(show)

    rig.proof._prove = long
    rig.proof.run()
    gaps = [b - a for a, b in zip(rig.began, rig.began[1:], strict=False)]
    assert [abs(gap - 1_000.0) < 20 for gap in gaps] == [True, True]


def test_after_a_proof_that_could_not_run_the_next_one_follows_within_minutes() -> None:
    """Not a day later, because nothing has been proved by then."""
    rig = in_no_time(unreachable, passing, every_s=86_400.0)
    rig.proof.run()
    assert rig.began[1] - rig.began[0] < 2 * AGAIN_S


def test_while_it_waits_the_process_counts_as_alive() -> None:
    """The watchdog ends a process without a heartbeat for a minute."""
    rig = in_no_time(passing, passing, every_s=86_400.0)
    ages: list[float] = []
    wait = rig.proof._stop.wait

    def looked(seconds: float | None = None) -> bool:
        ages.append(rig.health.age_s())
        return wait(seconds or 0.0)

    rig.proof._stop.wait = looked  # type: ignore[method-assign,assignment]
    rig.proof.run()
    assert len(ages) > 100
    assert max(ages) < 30


EARLIER = ProofState(
    at=5, running=True, began_at=4, done=1, total=9, ended_at=3, verdict="PASSED", events=7
)


def test_the_running_proof_and_its_result_are_reported() -> None:
    rig = Rig(passing)
    rig.proof.run()
    first, last = rig.states[0], rig.states[-1]
    assert (first.running, first.verdict, first.done) == (True, None, 0)
    assert (last.running, last.verdict, last.events) == (False, "PASSED", 41)
    assert last.ended_at is not None
    assert last.difference is None


def test_a_failure_is_reported_with_its_difference_after_the_stop() -> None:
    rig = Rig(failing)
    rig.proof.run()
    assert rig.stopped
    assert (rig.states[-1].verdict, rig.states[-1].difference) == (
        "FAILED",
        FAILURE.sentence(),
    )


def test_a_proof_that_could_not_run_leaves_the_last_result_unchanged() -> None:
    """Also across a restart of a process that died during a proof."""
    rig = Rig(unreachable, last=EARLIER)
    rig.proof.run()
    last = rig.states[-1]
    assert (last.running, last.verdict, last.events, last.ended_at) == (False, "PASSED", 7, 3)


def test_progress_is_reported_every_two_seconds_and_not_with_every_batch() -> None:
    reported: list[ProofState] = []
    clock = Hands()
    reporter = ProofReporter(reported.append, clock, None)
    reporter.began()
    for done in range(100):
        clock.ms += 100
        reporter.progress(done, 100)
    assert len(reported) == 1 + 10_000 // int(EVERY_S * MS_PER_S)
    assert (reported[-1].done, reported[-1].total) == (99, 100)


def test_a_proof_that_is_not_fully_checkable_has_not_passed() -> None:
    """No keyring: the checkpoints' signatures were not checked."""
    report = passing()
    report.chain.skip("no keyring")
    report.chain.checked = 0
    assert verdict(report) == "NOT_CHECKABLE"


class Hands(SystemClock):
    """A clock that the test sets."""

    ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms
