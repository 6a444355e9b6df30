"""The projector's exported figures of one hour, worked out by hand: a figure that never moves would
silence every alert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.payment import commands as c
from engine.loop.watch import Health
from processors.projector.metrics import ProjectorMetrics
from processors.projector.process import Projector
from readmodel import minutes
from readmodel.day import DAY_MINUTES
from readmodel.minutes import Buckets
from readmodel.model import open_model
from schemas import topology as t
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import carried, log_of, source_of

SLOW_MS, QUICK_MS = 2_000, 100
ROUNDS = 50
SHOWN = ("npp_business_", "npp_payments_overdue", "npp_read_model_")


def answered(world: Outside, payment: str, took_ms: int, attempt: int = 1) -> None:
    """The rail's technical answer, that long after the submission."""
    now_ms = world.driver.clock.now_ms()
    times = {"submitted_at": now_ms - took_ms, "answered_at": now_ms}
    world.report(payment, "RECEIVED", attempt=attempt, code="RCVD", **times)


def settled(world: Outside, payment: str, attempt: int = 1) -> None:
    world.report(payment, "ACCEPTED", attempt=attempt, code="ACSP")
    world.report(payment, "SETTLED", attempt=attempt, code="ACSC")


@pytest.fixture(scope="module")
def world() -> Outside:
    """Fourteen payments: six settle at once and one with its second attempt; one is rejected, one
    late, one contradicted, one cancelled, one expired, and two wait too long for the rail.
    """
    world = Outside()
    world.create("escalated")
    waits(world, 310)
    referred = world.create("attention")
    waits(world, 310)
    for number in range(4):
        payment = world.create(f"paid-{number}")
        answered(world, payment, SLOW_MS)
        settled(world, payment)
    rejected = world.create("rejected")
    answered(world, rejected, SLOW_MS)  # the fifth in a row
    world.report(rejected, "REJECTED", code="AC01")
    retried = world.create("retried")
    world.report(retried, "REJECTED", code="AB08")
    world.retry(retried)
    answered(world, retried, QUICK_MS, attempt=2)
    settled(world, retried, attempt=2)
    late = world.create("late")
    world.report(late, "ACCEPTED", code="ACSP")
    world.report(late, "REJECTED", code="AM04")
    conflict = world.create("conflict")
    world.report(conflict, "REJECTED", code="AC01")
    world.report(conflict, "SETTLED", code="ACSC")
    cancelled = world.create("cancelled")
    world.approved(cancelled, "CANCEL")
    cancel = c.CancelPayment(
        header=world.header(cancelled), operator=world.operator(), reason="the customer asked"
    )
    world.give(t.OPERATOR_COMMANDS, cancel)
    world.report(cancelled, "WITHDRAWN")
    world.report(world.create("expired"), "EXPIRED")
    waits(world, 3)  # submitted after the fast one
    for number in (4, 5):
        payment = world.create(f"paid-{number}")
        answered(world, payment, SLOW_MS)
        settled(world, payment)
    ask = c.RequestApproval(
        header=world.header(referred), operator=world.operator(), action="CANCEL", reason="please"
    )
    world.give(t.OPERATOR_COMMANDS, ask)
    name = world.approvals[-1].approval_id
    refer = c.ApprovalDecision(
        header=world.header(referred),
        approval_id=name,
        verdict="REFERRED",
        decided_by="apv_002",
        rules_evaluated=("two",),
        policy_version="1",
    )
    world.give(t.RESOLVE_DECISIONS, refer)
    world.driver.pipe(t.COMMANDS, b"pi_x", b"\x00rubbish")
    world.settle()
    return world


def waits(world: Outside, seconds: int) -> None:
    world.driver.advance(seconds * 1_000)
    world.settle()


class Shown:
    """A projector over the model of a folder, stepped by hand, and its exported figures."""

    def __init__(self, world: Outside, folder: Path, later_ms: int = 0) -> None:
        clock = HeldClock(world.driver.clock.now_ms() + later_ms)
        model = open_model(f"sqlite:///{folder / 'readmodel'}", clock=clock)
        self._registry = CollectorRegistry()
        self.published: Buckets = {}
        self.projector = Projector(
            source=source_of(log_of(world)), model=model, codec=world.codec, rules_of=carried,
            clock=clock, metrics=ProjectorMetrics(self._registry), health=Health(clock),
            publish_minutes=self._publish,
        )  # fmt: skip
        for _ in range(ROUNDS):
            self.projector._step()
        self.projector._check_and_publish()
        self.projector._close()
        self.projector._release_claim()
        model.close()

    def _publish(self, buckets: Buckets) -> None:
        """What is published to the monitor's topic, as of the last round."""
        self.published = dict(buckets)

    def value(self, name: str) -> float | None:
        """A figure without labels."""
        return self._registry.get_sample_value(name)

    def figures(self) -> dict[str, float]:
        """Every business figure that is not 0, by metric and labels."""
        return {
            " ".join([sample.name, *sample.labels.values()]): round(sample.value, 4)
            for family in self._registry.collect()
            for sample in family.samples
            if sample.value and sample.name.startswith(SHOWN)
            if not sample.name.endswith("_created")
        }


WAITING: dict[str, float] = {
    "npp_payments_overdue SENT ATTENTION": 1,
    "npp_payments_overdue SENT ESCALATED": 1,
    "npp_read_model_queue open_conflicts": 1,
    "npp_read_model_queue attention": 3,  # two overdue, one contradicted
    "npp_read_model_queue waiting_for_person": 2,  # a conflict, an approval
    "npp_read_model_queue approvals_referred": 1,
    "npp_read_model_queue quarantined": 1,
    "npp_read_model_payments SENT": 2,
    "npp_read_model_payments SETTLED": 7,
    "npp_read_model_payments FAILED": 4,
    "npp_read_model_payments EXPIRED": 1,
    "npp_read_model_money_outcomes OPEN": 2,
    "npp_read_model_money_outcomes PAID": 7,
    "npp_read_model_money_outcomes NOT_PAID": 3,
    "npp_read_model_money_outcomes UNCERTAIN": 1,  # expired without a code
    "npp_read_model_money_outcomes CONTRADICTED": 1,
}
HOUR: dict[str, float] = {
    "npp_business_rate success": round(7 / 12, 4),  # of 15 attempts: one cancelled, two in progress
    "npp_business_rate_count success": 12,
    "npp_business_rate retry": round(1 / 14, 4),
    "npp_business_rate_count retry": 14,
    "npp_business_rate cancellation": round(1 / 14, 4),
    "npp_business_rate_count cancellation": 14,
    "npp_business_rate late_failure": round(1 / 8, 4),
    "npp_business_rate_count late_failure": 8,
    "npp_business_last_hour created": 14,
    "npp_business_last_hour first_attempts": 14,
    "npp_business_last_hour retries": 1,
    "npp_business_last_hour acknowledged": 8,
    "npp_business_last_hour settled": 7,
    "npp_business_last_hour cancelled": 1,
    "npp_business_last_hour late_failures": 1,
    "npp_business_last_hour expired": 1,
    "npp_business_failed_last_hour RAIL rail": 1,
    "npp_business_failed_last_hour INSUFFICIENT_FUNDS rail": 1,
    "npp_business_failed_last_hour INVALID_ACCOUNT rail": 2,
    "npp_business_rail_latency_seconds": round((7 * SLOW_MS + QUICK_MS) / 8 / 1_000, 4),
    "npp_business_rail_slow_in_a_row": 2,
}
DAY: dict[str, float] = {
    "npp_business_rate retry_success": 1,
    "npp_business_rate_count retry_success": 1,
    "npp_business_failed_last_day RAIL": 1,
    "npp_business_failed_last_day INSUFFICIENT_FUNDS": 1,
    "npp_business_failed_last_day INVALID_ACCOUNT": 2,
    "npp_business_failed_last_day CANCELLED": 1,
}
SLOW_RUNS: dict[str, float] = {"npp_business_rail_slow_runs_total": 1}


def numbers(figures: dict[str, float]) -> dict[str, float]:
    """Without rates over zero, which are NaN."""
    return {name: value for name, value in figures.items() if value == value}


def test_every_figure_of_an_hour_is_exported(world: Outside, tmp_path: Path) -> None:
    """MET-01 to MET-05, MET-09, domain §11: rates, counts, latencies, overdue payments, and what
    waits for people.
    """
    assert numbers(Shown(world, tmp_path).figures()) == WAITING | HOUR | DAY | SLOW_RUNS


def test_a_restarted_projector_shows_the_same_figures(world: Outside, tmp_path: Path) -> None:
    """From the model, before anything new arrives; a run of slow requests is not counted again."""
    Shown(world, tmp_path)
    assert numbers(Shown(world, tmp_path).figures()) == WAITING | HOUR | DAY


def test_five_minutes_later_the_short_windows_are_empty_and_the_hours_are_not(
    world: Outside, tmp_path: Path
) -> None:
    later = Shown(world, tmp_path, (minutes.SUCCESS_MINUTES + 1) * 60_000).figures()
    short = {"npp_business_rate success", "npp_business_rate_count success",
             "npp_business_rail_latency_seconds"}  # fmt: skip
    assert numbers(later) == {
        name: value
        for name, value in (WAITING | HOUR | DAY | SLOW_RUNS).items()
        if name not in short
    }
    nothing: Any = {name for name, value in later.items() if value != value}
    assert nothing == short - {"npp_business_rate_count success"}


@pytest.mark.parametrize(
    ("later_minutes", "figures"), [(minutes.HOUR_MINUTES + 1, DAY), (DAY_MINUTES + 1, {})]
)
def test_after_its_window_only_what_still_waits_is_left(
    world: Outside, tmp_path: Path, later_minutes: int, figures: dict[str, float]
) -> None:
    later = Shown(world, tmp_path, later_minutes * 60_000).figures()
    left = {name: value for name, value in numbers(later).items() if name not in SLOW_RUNS}
    over = "npp_read_model_queue approvals_referred"  # undecided for an hour
    assert left == {n: v for n, v in (WAITING | figures).items() if n != over}


def test_a_retry_that_fails_lowers_the_retry_success_rate(tmp_path: Path) -> None:
    """DSH-02."""
    world = Outside()
    for number, code in enumerate(("ACSC", "AC01", "CUST")):
        payment = world.create(f"retried-{number}")
        world.report(payment, "REJECTED", code="AB08")
        world.retry(payment)
        if code == "ACSC":
            settled(world, payment, attempt=2)
        else:
            world.report(payment, "REJECTED", attempt=2, code=code)
    shown = Shown(world, tmp_path).figures()
    assert shown["npp_business_rate retry_success"] == round(1 / 3, 4)
    assert shown["npp_business_rate_count retry_success"] == 3
    assert shown["npp_business_failed_last_day CANCELLED"] == 1


def test_a_run_of_slow_requests_continues_across_a_restart(tmp_path: Path) -> None:
    """MET-02: three before it and two after it are one run of five."""
    world = Outside()
    name = "npp_business_rail_slow_runs_total"
    counted = []
    for first, last in ((0, 3), (3, 5), (5, 9)):
        for number in range(first, last):
            waits(world, 3)
            answered(world, world.create(f"slow-{number}"), SLOW_MS)
        counted.append(Shown(world, tmp_path).figures().get(name, 0))
    assert counted == [0, 1, 0]
