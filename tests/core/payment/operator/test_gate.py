"""What an approval is bound to, and how often it can freeze a send (domain §4)."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment.operator.gate import RequiredApproval, find
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

DIFFERS = d.rail("SETTLED", amount=d.AMOUNT - 50, currency="AUD")
AGAIN = d.rail("SETTLED", amount=d.AMOUNT - 100, currency="AUD")
RESOLVE = "RESOLVE_RECONCILIATION"


def requested(verdict: str, conflict: str = "cnf_001", **changes: Any) -> list[Any]:
    return d.approved(RESOLVE, conflict_id=conflict, verdict=verdict, **changes)


@pytest.mark.parametrize(
    ("given_for", "tried"),
    [
        ("NOT_PAID", "SETTLED_AFTER_ALL"),
        ("SETTLED_AFTER_ALL", "NOT_PAID"),
        ("REPORT_WRONG", "NOT_PAID"),
        ("REPORT_WRONG", "SETTLED_AFTER_ALL"),
    ],
)
def test_an_approval_of_one_verdict_does_not_allow_another(given_for: str, tried: str) -> None:
    """Domain §4: bound to conflict *and verdict*: one takes the money, the other releases it."""
    case = given(*d.MARKED, d.rail("SETTLED"), *requested_at(2, given_for))
    case.when(d.resolve(tried)).refuses(r.APPROVAL_OTHER_PARAMETERS)
    assert "verdict" in case.sentence
    case.when(d.resolve(given_for)).is_in("FAILED")


def test_an_approval_for_one_conflict_does_not_allow_another() -> None:
    """Domain §4: bound to the conflict: the same verdict on another one is a different action."""
    case = given(*d.SENT, DIFFERS, AGAIN, *requested("REPORT_WRONG"))
    case.when(d.resolve("REPORT_WRONG", "cnf_002")).refuses(r.APPROVAL_OTHER_PARAMETERS)
    case.when(d.resolve("REPORT_WRONG", "cnf_001")).then(
        "ReconciliationResolved", "RailEnquiryRequested"
    )


def test_an_approval_names_the_amount_that_came_back() -> None:
    """Ruling 5: RETURNED states an amount, which is bound to its approval."""
    conflict = d.rail("RETURNED", "AC04", rail_message_id="m1")  # without an amount
    case = given(*d.CAPTURED, conflict, *requested("RETURNED", amount=5_000))
    for amount in (5_001, 4_999, d.AMOUNT):
        case.when(d.resolve("RETURNED", amount=amount)).refuses(r.APPROVAL_OTHER_PARAMETERS)
    case.when(d.resolve("RETURNED", amount=5_000)).instructs("CREDIT")
    (credit,) = case.instructions
    assert credit.amount == 5_000


def test_an_approval_to_reverse_is_for_the_amount_captured_at_that_time() -> None:
    """Domain §4: bound to the amount: what has come back since is not given back again."""
    returned = d.rail("RETURNED", "AC04", amount=2_000, currency="AUD", rail_message_id="m1")
    case = given(*d.CAPTURED, *d.approved("REVERSE", attempt=1), returned)
    case.given(d.deposits("CREDIT", "CREDITED", amount=2_000))
    case.when(d.reverse()).refuses(r.APPROVAL_OTHER_PARAMETERS)


def test_an_approval_to_mark_failed_is_for_one_reason() -> None:
    """Domain §4: bound to the failure reason, which decides whether a retry is safe."""
    case = given(*d.SENT, *d.approved("MARK_FAILED", failure_reason="FRAUD"))
    case.when(d.mark_failed("RAIL")).refuses(r.APPROVAL_OTHER_PARAMETERS)
    case.when(d.mark_failed("FRAUD")).is_in("FAILED", "UNCERTAIN")


@pytest.mark.parametrize(
    "other",
    [
        {"amount": d.AMOUNT + 1},
        {"amount": 0},
        {"verdict": "REPORT_WRONG"},
        {"verdict": None},
        {"conflict_id": "cnf_002"},
        {"conflict_id": None},
        {"failure_reason": "RAIL"},
    ],
)
def test_each_parameter_of_an_approval_is_bound(other: dict[str, Any]) -> None:
    """Domain §4: one parameter that differs from the approved one is enough to refuse
    the action.
    """
    case = given(*d.MARKED, d.rail("SETTLED"), *requested_at(2, "NOT_PAID"))
    wanted: dict[str, Any] = {
        "action": RESOLVE, "attempt": 1, "amount": d.AMOUNT,
        "conflict_id": "cnf_001", "verdict": "NOT_PAID",
    }  # fmt: skip
    state, operator = case.payment, d.by(d.SENIOR)
    assert find(state, operator, RequiredApproval(**wanted), case.now) == state.approvals[-1]
    answer = find(state, operator, RequiredApproval(**(wanted | other)), case.now)
    assert getattr(answer, "rule", None) == r.APPROVAL_OTHER_PARAMETERS.name


def requested_at(number: int, verdict: str) -> list[Any]:
    return d.approved(RESOLVE, number, conflict_id="cnf_001", verdict=verdict)


# -- a cancel requested before SENT ----------------------------------------------------------------


def frozen() -> Case:
    case = given(d.create(requested_execution_time=d.START + 2 * d.MINUTE), d.policy(), d.held())
    return case.given(d.request_approval("CANCEL"))


def test_a_send_is_frozen_once_for_each_attempt() -> None:
    """Domain §4: at most 15 minutes, once per attempt; further requests do not extend it."""
    case = frozen()
    until = case.payment.attempt.frozen_until
    assert until is not None
    case.later(d.MINUTE).given(d.resolve_decides("REJECTED"))
    assert case.payment.attempt.frozen_until == case.now, "it is over with the rejection"
    case.given(d.request_approval("CANCEL"))
    assert case.payment.attempt.frozen_until == case.now, "the second request freezes nothing"
    case.timer_until("SEND").is_in("SENT")
    assert case.now == d.START + 2 * d.MINUTE


def test_a_second_request_does_not_move_the_freeze() -> None:
    """Domain §4: once per attempt, also while the first request is open."""
    case = frozen()
    until = case.payment.attempt.frozen_until
    case.later(10 * d.MINUTE).given(d.request_approval("CANCEL", d.OPS))
    assert case.payment.attempt.frozen_until == until == d.START + 15 * d.MINUTE
    case.timer_until("SEND").is_in("SENT")
    assert case.now == until


def test_a_retry_has_its_own_freeze() -> None:
    """Domain §4: once per *attempt*."""
    case = given(d.create(requested_execution_time=d.START + 2 * d.MINUTE), d.policy(), d.held())
    case.given(d.request_approval("CANCEL"), d.resolve_decides("REJECTED")).timer_until("SEND")
    case.given(d.rail("REJECTED", "AB08"), d.deposits("RELEASE", "RELEASED"))
    case.given(*d.approved("RETRY", 2), d.retry(), d.request_approval("CANCEL"))
    assert case.payment.attempt.frozen_until == case.now + 15 * d.MINUTE


def test_only_a_cancel_before_sent_freezes() -> None:
    """Domain §4: a request after SENT freezes nothing."""
    case = given(*d.SENT, d.request_approval("CANCEL"))
    assert case.payment.attempt.frozen_until is None
