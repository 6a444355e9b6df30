"""The payments processor's counters over a run whose figures were worked out by hand: a counter
that never moves would leave operators without an alert.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from core.payment import commands as c
from core.payment.events import PaymentFailed
from processors.payments.metrics import PaymentsMetrics
from schemas import topology as t
from tests.processors.payments.clean_history import AMOUNT, Outside
from tests.processors.payments.world import World


def figures(registry: CollectorRegistry) -> dict[str, float]:
    """Every counter that is not 0, by metric and labels."""
    return {
        " ".join([sample.name.removesuffix("_total"), *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and sample.name.endswith("_total")
    }


def counted(world: Outside, name: str) -> dict[str, float]:
    """One counter, selected by its labels."""
    found = figures(world.figures)
    return {
        key.removeprefix(name).strip(): value
        for key, value in found.items()
        if key.split(" ")[0] == name
    }


@pytest.fixture
def world() -> Outside:
    return Outside()


def test_only_a_failure_after_the_acknowledgement_counts_as_late(world: Outside) -> None:
    """MET-05, MF-06, ruling 9: `npp_late_failures`."""
    early, late = world.create("early"), world.create("late")
    world.report(early, "REJECTED", code="AM04")
    assert counted(world, "npp_late_failures") == {}
    world.report(late, "ACCEPTED", code="ACSP")
    world.report(late, "REJECTED", code="AM04")
    world.report(late, "REJECTED", code="AM04")  # a repeat
    assert counted(world, "npp_late_failures") == {"": 1}


def test_a_refusal_is_counted_by_code_and_rule(world: Outside) -> None:
    """ERR-06: each one, although it changed nothing; a duplicate does not count."""
    payment = world.create("paid")
    world.create("paid")
    assert counted(world, "npp_rejected_commands") == {}
    world.create("paid", amount=AMOUNT + 1)
    world.create("paid", amount=AMOUNT + 2)
    world.create("nothing", amount=0)
    retry = c.RetryPayment(
        header=world.header(payment),
        operator=world.operator(),
        attempt_id="att_002",
        reason="again",
    )
    world.give(t.OPERATOR_COMMANDS, retry)
    assert counted(world, "npp_rejected_commands") == {
        "INVARIANT_VIOLATION IDEMPOTENCY_KEY_REUSED": 2,
        "INVARIANT_VIOLATION AMOUNT_NOT_POSITIVE": 1,
        "POLICY_REJECTED STATE_PRECONDITION": 1,
    }
    assert counted(world, "npp_inputs")["CreatePayment DUPLICATE"] == 1
    assert counted(world, "npp_inputs")["CreatePayment REJECTED"] == 3


def test_a_conflict_is_counted_by_its_kind_when_it_opens(world: Outside) -> None:
    """Ruling 5: the same contradiction again is the same conflict."""
    after, more = world.create("after"), world.create("more")
    world.report(after, "REJECTED", code="AC01")
    world.report(after, "SETTLED", code="ACSC")
    world.report(after, "SETTLED", code="ACSC")
    world.report(more, "ACCEPTED", code="ACSP")
    world.report(more, "SETTLED", amount=AMOUNT + 1, code="ACSC")
    kinds = [
        event.kind
        for record in world.driver.committed(t.EVENTS)
        if type(event := world.codec.decode(t.EVENTS, record.value)).__name__
        == "ReconciliationRequired"
    ]
    assert len(kinds) == 2
    assert counted(world, "npp_conflicts_opened") == dict.fromkeys(kinds, 1)


def test_a_second_attempt_that_fails_is_counted(world: Outside) -> None:
    """RT-06."""
    payment = world.create("retried")
    world.report(payment, "REJECTED", code="AB08")
    assert counted(world, "npp_retry_failures") == {}
    world.retry(payment)
    world.report(payment, "REJECTED", attempt=2, code="AB08")
    assert counted(world, "npp_retry_failures") == {"": 1}


def test_an_unmapped_rail_code_is_counted(world: Outside) -> None:
    """Domain §6: every unknown code is RAIL, not retry-safe, and counted."""
    world.report(world.create("known"), "REJECTED", code="AC01")
    assert counted(world, "npp_unknown_rail_codes") == {}
    world.report(world.create("unknown"), "REJECTED", code="ZZ99")
    assert counted(world, "npp_unknown_rail_codes") == {"": 1}


def test_quarantined_and_ineffective_inputs_are_counted(world: Outside) -> None:
    """ERR-05; events and inputs by type."""
    payment = world.create("paid")
    world.driver.pipe(t.COMMANDS, b"pi_x", b"\x00rubbish")
    world.report(payment, "ACCEPTED", code="ACSP")
    world.report(payment, "SETTLED", code="ACSC")
    world.report(payment, "ALREADY_SUBMITTED", code="SUBMITTED")  # no cancel was requested
    stray = "pi_aaaaaaaaaaaaaaaaaaaaaaaaaa"
    world.report(stray, "SETTLED", code="ACSC")
    assert counted(world, "npp_quarantined_records") == {"UNDECODABLE": 1, "UNMATCHED": 1}
    inputs = counted(world, "npp_inputs")
    assert inputs["CreatePayment ACCEPTED"] == inputs["RailReport UNMATCHED"] == 1
    assert inputs["RailReport ACCEPTED"] == 2
    events = [
        type(world.codec.decode(t.EVENTS, r.value)).__name__
        for r in world.driver.committed(t.EVENTS)
    ]
    assert counted(world, "npp_events") == {name: events.count(name) for name in set(events)}
    outcomes = [world.codec.decode(t.OUTCOMES, r.value) for r in world.driver.committed(t.OUTCOMES)]
    quiet = [o.rule for o in outcomes if o.result == "NO_EFFECT"]
    assert quiet, "NV: nothing was without effect"
    assert counted(world, "npp_inputs_without_effect") == {r: quiet.count(r) for r in set(quiet)}


def test_a_parked_payment_is_counted_once() -> None:
    """Domain §5: critical; its later inputs are quarantined and counted as such."""
    world = World()
    world.create("parked")
    world.driver.run()
    assert "npp_parked_payments" not in figures(world.registry)
    good = world.rules_of
    world.answer_once()
    broken = msgspec.structs.replace(world.rules, windows=None)
    world.rules_of = lambda number: broken
    world.driver.run()
    world.rules_of = good
    world.settle_all()
    found = figures(world.registry)
    assert found["npp_parked_payments"] == 1
    assert found["npp_quarantined_records PARKED"] >= 2


def test_a_batch_counts_once_and_only_when_committed() -> None:
    """An aborted batch does not count, and a committed one does not count again."""
    registry = CollectorRegistry()
    metrics = PaymentsMetrics(registry)

    def decide() -> None:
        metrics.input("CreatePayment", "REJECTED", "INVARIANT_VIOLATION", "SOME_RULE")
        metrics.input("RailReport", "NO_EFFECT", rule="QUIET_RULE")
        metrics.event(failed())
        metrics.quarantined("PARKED", by_reference=True)
        metrics.parked()

    decide()
    assert figures(registry) == {}
    metrics.abort()
    metrics.commit()
    assert figures(registry) == {}
    decide()
    metrics.commit()
    metrics.commit()
    assert figures(registry) == {
        "npp_inputs CreatePayment REJECTED": 1,
        "npp_inputs RailReport NO_EFFECT": 1,
        "npp_rejected_commands INVARIANT_VIOLATION SOME_RULE": 1,
        "npp_inputs_without_effect QUIET_RULE": 1,
        "npp_events PaymentFailed": 1,
        "npp_quarantined_records PARKED": 1,
        "npp_quarantined_by_reference": 1,
        "npp_attempts_ended failed": 1,
        "npp_late_failures": 1,
        "npp_retry_failures": 1,
        "npp_parked_payments": 1,
    }


def failed() -> Any:
    """A second attempt that failed late, as the metrics see it."""

    class Failed:
        attempt_id, late_failure, code, code_table = "att_002", True, None, None
        header, source = SimpleNamespace(reason="RAIL"), "rail"

    Failed.__name__ = PaymentFailed.__name__
    return Failed()
