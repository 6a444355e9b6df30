"""A repeated contradiction: the same conflict, or a new one (ruling 5)."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.state import at_rest
from tests.core.payment import dsl as d
from tests.core.payment.case import given
from tests.core.payment.conflicts import LESS, judge, settled

SAME, OTHER, ENQUIRY, NO_ID = "same id", "other id", "enquiry", "no id"
DUPLICATE, CONFLICT = "duplicate", "conflict"
AGAIN: dict[str, tuple[list[Any], dict[str, Any], str | None, dict[str, str]]] = {
    # before, the report, the verdict, the result when the report is repeated
    "settled late, open": (
        d.MARKED, {"kind": "SETTLED"}, None,
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "settled late, SETTLED_AFTER_ALL": (
        d.MARKED, {"kind": "SETTLED"}, "SETTLED_AFTER_ALL",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "settled late, NOT_PAID": (
        d.MARKED, {"kind": "SETTLED"}, "NOT_PAID",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "settled late, REPORT_WRONG": (
        d.MARKED, {"kind": "SETTLED"}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "another amount, open": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, None,
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "another amount, AMOUNT_ACCEPTED": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, "AMOUNT_ACCEPTED",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "another amount, REPORT_WRONG": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "denied after settled, NOT_PAID": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "NOT_PAID",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "denied after settled, SETTLED_AFTER_ALL": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "SETTLED_AFTER_ALL",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "denied after settled, REPORT_WRONG": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
}  # fmt: skip
AGAIN_CELLS = [(name, how) for name, (*_, row) in AGAIN.items() for how in row]


@pytest.mark.parametrize(("name", "how"), AGAIN_CELLS, ids=[f"{n}-{h}" for n, h in AGAIN_CELLS])
def test_the_same_contradiction_repeated(name: str, how: str) -> None:
    """Ruling 5: the same conflict while it is open or its verdict agrees; after a verdict that
    denies it, only the same message id is a duplicate.
    """
    before, fields, verdict, row = AGAIN[name]
    fields = {"currency": "AUD"} | fields if "amount" in fields else fields
    case = given(*before, d.rail(**fields, rail_message_id="m1"))
    conflict = case.payment.conflicts[-1]
    if verdict is not None:
        judge(case, conflict, verdict)
    name_of = {SAME: "m1", OTHER: "m2", ENQUIRY: "m1", NO_ID: None}[how]
    case.when(d.rail(**fields, rail_message_id=name_of, via_enquiry=how == ENQUIRY))
    if row[how] == DUPLICATE:
        case.is_duplicate()
    else:
        new = case.event(e.ReconciliationRequired)
        assert (new.conflict_id, new.rail_message_id) == ("cnf_002", name_of)
        case.is_in(case.payment.state, "CONTRADICTED")


@pytest.mark.parametrize("verdict", ["NOT_PAID", "REPORT_WRONG"])
def test_a_report_without_an_id_is_new_after_a_verdict_that_denies_it(verdict: str) -> None:
    """Ruling 5: only the same message id is a duplicate, and two missing ids are not the same."""
    case = given(*d.MARKED, settled())
    judge(case, case.payment.conflicts[-1], verdict)
    case.when(settled()).then("ReconciliationRequired:SETTLED_AFTER_FAILED")


def test_a_settlement_of_an_amount_that_a_later_verdict_replaced_is_new() -> None:
    """Ruling 5: the verdict that accepted it no longer agrees: another amount is the settlement
    now.
    """
    case = given(*d.SENT, settled(LESS, rail_message_id="m1"), *d.judged("AMOUNT_ACCEPTED"))
    case.given(settled(LESS - 5, rail_message_id="m2"))
    case.given(*d.judged("AMOUNT_ACCEPTED", 2, conflict="cnf_002"))
    case.when(settled(LESS, rail_message_id="m1")).is_duplicate()
    case.when(settled(LESS - 5, rail_message_id="m3")).is_duplicate()
    case.when(settled(LESS, rail_message_id="m4")).then("ReconciliationRequired:AMOUNT_DIFFERS")
    case.is_in("SETTLED", "CONTRADICTED")


DENIED = d.rail("REJECTED", "AB08", rail_message_id="m2")
PAID_THEN_NOT = [
    settled(rail_message_id="m1"), *d.judged("SETTLED_AFTER_ALL", 2),
    DENIED, *d.judged("NOT_PAID", 3, conflict="cnf_002"),
]  # fmt: skip
NOT_PAID_THEN_PAID = [
    *d.CAPTURED, DENIED, *d.judged("NOT_PAID"),
    d.enquiry("SETTLED"), *d.judged("SETTLED_AFTER_ALL", 2, conflict="cnf_002"),
]  # fmt: skip


def test_an_overruled_verdict_no_longer_counts() -> None:
    """Ruling 5: the last verdict on the attempt counts. A report that it denies, under another id,
    is a new conflict, although an earlier verdict agreed with it.
    """
    case = given(*d.MARKED, *PAID_THEN_NOT).is_in("FAILED", "NOT_PAID")
    case.when(settled(rail_message_id="m3"))
    case.then("ReconciliationRequired:SETTLED_AFTER_FAILED").is_in("FAILED", "CONTRADICTED")
    paid = given(*NOT_PAID_THEN_PAID).is_in("SETTLED", "PAID")
    paid.when(d.rail("REJECTED", "AB08", rail_message_id="m3"))
    paid.then("ReconciliationRequired:REJECTED_AFTER_SETTLED").is_in("SETTLED", "CONTRADICTED")


def test_after_not_paid_an_enquiry_that_says_settled_bars_the_plain_retry() -> None:
    """Mark-failed; SETTLED, conflict; NOT_PAID; an enquiry says SETTLED."""
    case = given(*d.MARKED, settled(rail_message_id="m1"), *d.judged("NOT_PAID", 2))
    case.given(d.deposits("RELEASE", "RELEASED")).when(d.enquiry("SETTLED"))
    case.then("ReconciliationRequired:SETTLED_AFTER_FAILED")
    case.given(*d.approved("RETRY", 3)).when(d.retry()).refuses(r.CONFLICT_OPEN)
    judge(case, case.payment.conflicts[-1], "SETTLED_AFTER_ALL")
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    case.when(d.retry()).refuses(r.ALREADY_PAID)
    assert at_rest(case.payment)


def test_the_same_answer_of_deposits_core_to_a_repeated_request_is_a_new_conflict() -> None:
    """Ruling 5, domain §3: after REPORT_WRONG the request is repeated. The same contradicting
    answer is a new conflict until a person accepts it; then the payment comes to rest.
    """
    less = d.deposits("CAPTURE", "CAPTURED", amount=LESS)
    case = given(*d.SETTLED, less).when(less).is_duplicate()
    case.given(*d.judged("REPORT_WRONG"))
    case.timers_until(lambda: case.payment.attempt.funds_requests[-1].repeat > 0)
    case.when(less).then("ReconciliationRequired:FUNDS_CONTRADICTION")
    case.when(less).is_duplicate()
    case.given(*d.judged("AMOUNT_ACCEPTED", 2, conflict="cnf_002"))
    case.when(less).is_duplicate()


def test_a_redelivered_answer_to_a_closed_request_is_a_duplicate() -> None:
    """Ruling 5: the request is not repeated, so the answer is the one that was judged."""
    refused = d.deposits("CAPTURE", "REFUSED", code="ACCOUNT_BLOCKED")
    case = given(*d.CAPTURED, refused, *d.judged("REPORT_WRONG"))
    case.when(refused).is_duplicate()
