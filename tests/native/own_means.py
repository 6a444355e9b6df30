"""What the product does with records in ways that the runs over build/native patch for their tests
(tests.native.plugin): `python -m tests.native.own_means` says the same of every tree.
"""

from __future__ import annotations

from typing import Any

from api.payments.views_events import data
from app.cli.output import as_json
from bench.rig.load import PARTIES
from core.header import InputHeader
from core.payment.commands import AssignedFrom, CreatePayment, PolicyVerdict, RailReport
from core.values import Cents, PaymentIntentId, external_ref, payment_intent_id, policy_ref
from evidence.differences import first_difference
from evidence.redecide import with_trace
from gateways.resolve.scripted import _answer

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PAYMENT: PaymentIntentId = payment_intent_id("mobile-app", "own-means")


def report(amount: int) -> RailReport:
    assigned = AssignedFrom(
        topic="npp.rail.reports.v1", partition=1, offset=2, sha256=bytes(32), requested_by="ops_1",
        confirmed_by="ops_2",
    )  # fmt: skip
    return RailReport(
        header=InputHeader(payment_intent_id=PAYMENT), external_ref=external_ref(PAYMENT, 1),
        kind="SETTLED", adapter="default", amount=Cents(amount), assigned_from=assigned,
    )  # fmt: skip


def said() -> list[Any]:
    """Copies with changes, values as JSON, differences."""
    verdict = PolicyVerdict(
        header=InputHeader(payment_intent_id=PAYMENT), policy_ref=policy_ref(PAYMENT, 1),
        verdict="PASSED", phase="CREATE", rules_evaluated=("a-rule",), policy_version="test",
    )  # fmt: skip
    create = CreatePayment(
        header=InputHeader(payment_intent_id=PAYMENT), source="mobile-app", idempotency_key="k",
        amount=Cents(1), currency="AUD", parties=PARTIES, end_to_end_id="e", service="x2p1",
    )  # fmt: skip
    step = {"verdict": "DECLINED", "afterMillis": 5, "failureReason": "LIMIT"}
    return [
        with_trace(create, [("traceparent", TRACE.encode())]).header.traceparent,
        as_json(report(1)),
        data(report(1), personal=False),
        first_difference(report(1), report(2), "report"),
        as_json(_answer(verdict, step).decision),
    ]


if __name__ == "__main__":
    for each in said():
        print(each)
