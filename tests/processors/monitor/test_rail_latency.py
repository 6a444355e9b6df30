"""Rail latency from the log to the incident: from the payments processor's own events through the
projector's minutes, and equal wherever it is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from readmodel import minutes
from readmodel.minutes import SLOW_MS, Latency
from readmodel.model import open_model
from tests.clock import HeldClock
from tests.processors.monitor.test_monitor import World as MonitorWorld
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.test_figures_shown import Shown, waits

SLOW, QUICK = SLOW_MS + 1_000, 100
SILENCE = {"code": "NO_ANSWER", "technical_result": "TIMEOUT"}


class Rail:
    """Submissions and their technical answers, with their times."""

    def __init__(self) -> None:
        self.world = Outside()
        self.sent: list[Latency] = []

    def rejects(self, name: str, took_ms: int, code: str = "AC04") -> None:
        """A submission that the rail rejects in its answer."""
        self._answers(self.world.create(name), "REJECTED", took_ms, code=code)

    def is_silent(self, payment: str, times: int) -> None:
        for _ in range(times):
            self._answers(payment, "STATUS", SLOW, **SILENCE)

    def _answers(self, payment: str, kind: str, took_ms: int, **changes: Any) -> None:
        waits(self.world, 5)
        now = self.world.driver.clock.now_ms()
        self.sent.append(Latency(now - took_ms, took_ms))
        times = {"submitted_at": now - took_ms, "answered_at": now}
        self.world.report(payment, kind, **times, **changes)


class Everywhere:
    """The figures of incidents, Prometheus and the read model as of the same offset."""

    def __init__(self, rail: Rail, folder: Path) -> None:
        shown = Shown(rail.world, folder)
        self.prometheus = shown.figures()
        now = rail.world.driver.clock.now_ms()
        model = open_model(f"sqlite:///{folder / 'readmodel'}", clock=HeldClock(now))
        minute = minutes.minute_of(now)
        stored = model.reader().minutes(minute - minutes.HOUR_MINUTES, minute + 1)
        self.stored = minutes.last_latencies(minutes.unpack(row.figures) for row in stored)
        model.close()
        monitor = MonitorWorld(1 + max(partition for partition, _ in shown.published))
        for (partition, at), figures in shown.published.items():
            if figures.offset >= 0:
                monitor.minute(figures, at, partition)
        monitor.tick(now)
        self.incidents = [(each.rule, each.part) for each in monitor.published]
        self.slow = int(self.prometheus.get("npp_business_rail_slow_in_a_row", 0))


@pytest.fixture
def rail() -> Rail:
    return Rail()


def test_five_slow_immediate_rejections_open_an_incident(rail: Rail, tmp_path: Path) -> None:
    """MET-02: a rail that rejects slowly is a slow rail. Four do not open one."""
    for number in range(4):
        rail.rejects(f"slow-{number}", SLOW)
    (tmp_path / "four").mkdir()
    assert Everywhere(rail, tmp_path / "four").incidents == []
    rail.rejects("slow-4", SLOW)
    (tmp_path / "five").mkdir()
    five = Everywhere(rail, tmp_path / "five")
    assert five.incidents == [("latency", 5)]
    assert (five.slow, five.stored) == (5, rail.sent)
    assert five.prometheus["npp_business_rail_slow_runs_total"] == 1


def test_each_unanswered_try_of_a_payment_counts_although_it_settles(
    rail: Rail, tmp_path: Path
) -> None:
    """MET-02: two unanswered tries of one payment are two requests; an enquiry's answer is none."""
    for number in range(3):
        rail.rejects(f"slow-{number}", SLOW)
    payment = rail.world.create("silent")
    rail.is_silent(payment, times=2)
    now = rail.world.driver.clock.now_ms()
    rail.world.report(
        payment, "SETTLED", via_enquiry=True, submitted_at=now, answered_at=now + QUICK
    )
    seen = Everywhere(rail, tmp_path)
    assert seen.incidents == [("latency", 5)]
    assert (seen.slow, seen.stored) == (5, rail.sent)


def test_a_fast_rejection_ends_the_run(rail: Rail, tmp_path: Path) -> None:
    """MET-02: five with a fast one between do not count."""
    payment = rail.world.create("silent")
    rail.is_silent(payment, times=4)
    rail.rejects("quick", QUICK)
    rail.is_silent(payment, times=4)
    seen = Everywhere(rail, tmp_path)
    assert seen.incidents == []
    assert (seen.slow, seen.stored) == (4, rail.sent[-5:])


def test_the_rails_own_cust_is_a_failure_and_no_cancellation(rail: Rail, tmp_path: Path) -> None:
    """MET-04: the cancellation rate counts only what a person cancelled."""
    for number in range(3):
        rail.rejects(f"cust-{number}", QUICK, code="CUST")
    shown = Shown(rail.world, tmp_path).figures()
    assert shown["npp_business_failed_last_hour CANCELLED rail"] == 3
    assert "npp_business_last_hour cancelled" not in shown
    assert "npp_business_rate cancellation" not in shown
