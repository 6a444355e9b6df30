"""The proof on a schedule: what it tells, whom it stops, and that it goes on after both."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from engine.clock import SystemClock
from engine.errors import Exit
from engine.loop.watch import Health
from processors.replay import Report
from processors.replay.report import Failure
from processors.replay.scheduled import ScheduledMetrics, ScheduledProof, Shown

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
    """A schedule over made-up reports; ends by itself after the last one."""

    def __init__(self, *reports: Callable[[], Report]) -> None:
        self.registry = CollectorRegistry()
        self.left = list(reports)
        self.published: list[Report] = []
        self.stopped: list[str] = []
        clock = SystemClock()
        self.proof = ScheduledProof(
            prove=self.prove, passed=self.published.append, failed=self.stopped.append,
            every_s=0.01, clock=clock, metrics=ScheduledMetrics(self.registry),
            health=Health(clock),
        )  # fmt: skip

    def prove(self, show: Shown) -> Report:
        assert self.sample("npp_replay_running") == 1
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


def test_a_pass_is_published_and_shown() -> None:
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
def test_a_failure_of_any_strength_shows_as_its_own(strength: str) -> None:
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


def test_a_log_that_cannot_be_read_is_no_verdict_and_is_asked_again() -> None:
    rig = Rig(unreachable, passing)
    rig.proof.run()
    assert (len(rig.published), rig.stopped) == (1, [])
