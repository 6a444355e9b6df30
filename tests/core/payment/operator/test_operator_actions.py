"""Retry, cancel and approvals by example: what operators may do, and what no approval allows. Each
accepted input is decided twice.
"""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.header import InputHeader, OperatorHeader
from core.payment import commands as c
from core.payment.instructions import ApprovalRequest
from core.payment.state import (
    current_external_ref,
    needs_attention,
)
from tests.core.payment import dsl as d
from tests.core.payment.case import given

ACCEPT_OTHER = d.rail("SETTLED", amount=d.AMOUNT - 5, currency="AUD")
SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")


# -- retry and certainty ---------------------------------------------------------------------------


def test_a_safe_and_certain_failure_is_retried_once() -> None:
    """RT-03, RT-04, RT-07, RT-08: checked and held again, then sent under its own reference."""
    case = given(*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED"), *d.approved("RETRY"))
    case.when(d.retry()).then(
        "PaymentAttemptCreated:att_002", "CustomerNotificationRequested", "FundsRequested:HOLD"
    ).instructs("PolicyCheckRequest", "retry_started", "HOLD")
    case.given(d.held(2)).when(d.policy(attempt=2)).then("PolicyChecked:RETRY", "PaymentSentToRail")
    case.given(d.rail("SETTLED", attempt=2)).is_in("SETTLED", "PAID", "CAPTURE_REQUESTED")
    assert current_external_ref(case.payment) == d.REF2


RETRIES: list[tuple[str, list[Any], Any, r.Rule]] = [
    (
        "unsafe reason",
        [*d.SENT, d.rail("REJECTED", "AC01"), d.deposits("RELEASE", "RELEASED")],
        d.retry(),
        r.RETRY_UNSAFE,
    ),
    ("unknown code", [*d.SENT, d.rail("REJECTED", "ZZ99")], d.retry(), r.RETRY_UNSAFE),
    ("uncertain", d.MARKED, d.retry(), r.RETRY_UNCERTAIN),
    ("third first", d.RETRYABLE, d.retry(3), r.ATTEMPT_OUT_OF_ORDER),
    ("first again", d.RETRYABLE, d.retry(1), r.DUPLICATE_ATTEMPT),
    ("cancelled", d.CANCELLED, d.retry(), r.RETRY_UNSAFE),
]


@pytest.mark.parametrize(
    ("_name", "before", "command", "rule"), RETRIES, ids=[x[0] for x in RETRIES]
)
def test_no_approval_overrides_an_invariant(
    _name: str, before: list[Any], command: Any, rule: r.Rule
) -> None:
    """RT-02, OP-04, SM-16."""
    number = 1 + sum(isinstance(x, c.RequestApproval) for x in before)
    given(*before, *d.approved("RETRY", number)).when(command).refuses(rule)


def test_a_payment_that_was_never_authorised_is_not_retried() -> None:
    """OP-06: FAILED(TIMEOUT) in CREATED is retry-safe by its reason, but a retry would
    skip checks.
    """
    case = given(d.create()).timer_until("CREATED_WINDOW").is_in("FAILED", "NOT_PAID")
    case.given(d.deposits("RELEASE", "NEVER_HELD"))
    case.given(*d.approved("RETRY")).when(d.retry()).refuses(r.RETRY_UNSAFE)


def test_the_worse_of_an_operators_and_the_rails_reason_bars_the_retry() -> None:
    """Ruling 2: the operator said RAIL; the rail says that the account does not exist."""
    case = given(*d.MARKED).when(d.rail("REJECTED", "AC04"))
    case.then("NonPaymentConfirmed", "FundsRequested:RELEASE", "CustomerNotificationRequested")
    case.given(d.deposits("RELEASE", "RELEASED"), *d.approved("RETRY", 2)).when(d.retry()).refuses(
        r.RETRY_UNSAFE
    )


def test_only_a_person_approves_an_uncertain_retry_and_its_hold_is_transferred() -> None:
    """Rulings 2 and 3: Resolve's own approval is referred to a person; the request states the risk
    of a duplicate payment.
    """
    case = given(*d.MARKED).when(d.request_approval("RETRY_UNCERTAIN"))
    request = case.decision.instructions[0]  # type: ignore[union-attr]
    assert isinstance(request, ApprovalRequest)
    assert "TWICE" in request.reason
    case.when(d.resolve_decides(approval="apr_002")).then("OperatorActionReferred")
    case.when(d.retry()).refuses(r.APPROVAL_PENDING)
    case.given(d.person_decides(approval="apr_002")).when(d.retry())
    case.then("PaymentAttemptCreated", "FundsHoldTransferred").instructs("PolicyCheckRequest")
    assert [a.funds for a in case.payment.attempts] == ["TRANSFERRED", "HELD"]
    case.is_in("AUTHORISED", "UNCERTAIN")


def test_an_unknown_code_is_enquired_about_until_the_rail_says_rejected() -> None:
    """Ruling 3, domain §6: the same code in answer to an enquiry makes it certain."""
    case = given(*d.SENT).when(d.rail("REJECTED", "ZZ99"))
    case.then("PaymentFailed", "FundsReleaseDeferred", "RailEnquiryRequested").instructs("ENQUIRE")
    case.is_in("FAILED", "UNCERTAIN", "RELEASE_DEFERRED")
    case.timer().then("RailEnquiryRequested")
    case.when(d.enquiry("REJECTED", "ZZ99")).then(
        "NonPaymentConfirmed", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    ).is_in("FAILED", "NOT_PAID")


def test_unknown_to_the_rail_is_certain_only_after_submit_before_with_a_stopped_adapter() -> None:
    """Ruling 3."""
    case = given(*d.MARKED)
    case.when(d.never_submitted()).then("RailStatusReported")
    case.later(61_000).when(d.enquiry("STATUS", "UNKNOWN")).is_duplicate()
    early = d.enquiry("STATUS", "UNKNOWN", adapter_stopped=True, answered_at=d.START)
    case.when(early).is_duplicate()
    case.when(d.never_submitted()).then(
        "NonPaymentConfirmed", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    )


def test_a_rejection_of_our_own_resend_changes_nothing_and_is_enquired_about() -> None:
    """Ruling 11, OP-31."""
    case = given(*d.SENT).when(d.rail("REJECTED", "AM05"))
    case.then("RailStatusReported", "RailEnquiryRequested").is_in("SENT", "OPEN")
    assert needs_attention(case.payment)
    case.when(SETTLE).is_in("SETTLED", "PAID")


# -- cancel, withdraw, recall, freeze --------------------------------------------------------------


def test_a_cancel_in_sent_withdraws_and_then_recalls() -> None:
    """CN-02, CN-06, ruling 8."""
    case = given(*d.SENT, *d.approved("CANCEL")).when(d.cancel(customer_id="cust_9"))
    case.then("PaymentFailed:CANCELLED", "FundsReleaseDeferred").instructs("WITHDRAW")
    case.when(d.rail("ALREADY_SUBMITTED")).then("RecallRequested").instructs("RECALL")
    case.when(d.rail("RECALL_ACCEPTED")).then(
        "RecallAnswered",
        "NonPaymentConfirmed",
        "FundsRequested:RELEASE",
        "CustomerNotificationRequested:cancelled",
    )


def test_a_withdrawn_cancel_is_certain_and_a_settlement_after_it_is_a_conflict() -> None:
    """CN-04, CN-06."""
    case = given(*d.CANCELLED, d.rail("WITHDRAWN")).is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")
    case.when(SETTLE).then("ReconciliationRequired:SETTLED_AFTER_FAILED")
    case.is_in("FAILED", "CONTRADICTED")


def test_a_cancel_request_before_sent_freezes_the_send_until_the_answer() -> None:
    """D4: once per attempt; a rejection ends the freeze in the same decision."""
    case = (
        given(d.create(), d.held())
        .when(d.request_approval("CANCEL", d.OPS))
        .then("OperatorActionRequested")
    )
    case.when(d.policy()).then("PolicyChecked", "PaymentAuthorised", "PaymentAttemptCreated")
    case.when(d.resolve_decides("REJECTED")).then("OperatorActionRejected", "PaymentSentToRail")


def test_a_freeze_ends_by_itself_after_fifteen_minutes_at_most() -> None:
    """D4."""
    case = given(d.create(), d.held(), d.request_approval("CANCEL"), d.policy())
    assert case.payment.attempt.frozen_until == d.START + 15 * d.MINUTE
    case.given(d.resolve_decides("REFERRED")).is_in("AUTHORISED")
    late = given(d.create(requested_execution_time=d.START + d.MINUTE), d.held(), d.policy())
    late.given(d.request_approval("CANCEL")).timer().then("PaymentSentToRail")
    assert late.now == d.START + 15 * d.MINUTE
    late.is_in("SENT")


def test_a_cancel_request_after_the_send_has_the_phase_sent() -> None:
    """D4: if the send was decided first, the request says so; an earlier approval does
    not count.
    """
    given(*d.SENT).when(d.request_approval("CANCEL")).then("OperatorActionRequested:SENT")
    case = given(d.create(), d.held(), d.policy("PASSED"))
    case.given(d.request_approval("CANCEL")).is_in("SENT")


def test_the_same_cancel_is_a_duplicate_and_for_another_customer_it_is_not() -> None:
    """D2: operator, free text and command id are not parameters."""
    case = given(*d.CANCELLED)
    again = c.CancelPayment(
        header=InputHeader(payment_intent_id=d.ID, command_id="x"),
        operator=d.by(d.OPS, not_after=1),
        reason="other words",
    )
    case.when(again).is_duplicate(10, 11)
    case.when(d.cancel(customer_id="cust_2")).refuses(r.STATE_PRECONDITION)


# -- approvals -------------------------------------------------------------------------------------


def approvals() -> list[tuple[str, list[Any], Any, r.Rule]]:
    ask = d.request_approval("MARK_FAILED", failure_reason="RAIL")
    given_by = [ask, d.resolve_decides()]
    other = OperatorHeader(
        operator_id="sen_002", roles=("senior_operator",), token_id="t", not_after=2**60
    )
    named = c.MarkPaymentFailed(
        header=d.head(), operator=d.by(d.SENIOR, "apr_009"), reason="RAIL", details="error"
    )
    return [
        ("missing", [], d.mark_failed(), r.APPROVAL_MISSING),
        ("unknown", given_by, named, r.APPROVAL_NOT_FOUND),
        ("pending", [ask], d.mark_failed(), r.APPROVAL_PENDING),
        ("rejected", [ask, d.resolve_decides("REJECTED")], d.mark_failed(), r.APPROVAL_REFUSED),
        ("parameters", given_by, d.mark_failed("TIMEOUT"), r.APPROVAL_OTHER_PARAMETERS),
        ("phase", [*given_by, d.rail("ACCEPTED")], d.mark_failed(), r.APPROVAL_OTHER_PHASE),
        (
            "operator",
            given_by,
            c.MarkPaymentFailed(header=d.head(), operator=other, reason="RAIL", details="error"),
            r.APPROVAL_OTHER_OPERATOR,
        ),
        (
            "action",
            given_by,
            c.CancelPayment(header=d.head(), operator=d.by(d.SENIOR, "apr_001"), reason="why"),
            r.APPROVAL_OTHER_ACTION,
        ),
    ]


@pytest.mark.parametrize(
    ("_name", "before", "command", "rule"), approvals(), ids=[x[0] for x in approvals()]
)
def test_an_approval_that_does_not_match_is_refused_by_name(
    _name: str, before: list[Any], command: Any, rule: r.Rule
) -> None:
    """AP-04, ERR-03."""
    given(*d.SENT, *before).when(command).refuses(rule)


def test_an_approval_works_once_and_expires_by_decision_time() -> None:
    """AP-04, OP-28."""
    case = given(*d.SENT, *d.approved("MARK_FAILED", failure_reason="RAIL"))
    case.later(15 * d.MINUTE).when(d.mark_failed()).refuses(r.APPROVAL_EXPIRED)
    used = given(*d.MARKED, d.rail("NOT_SUBMITTED"), d.deposits("RELEASE", "RELEASED"))
    used.given(*d.approved("RETRY", 2), d.retry(), d.held(2), d.policy(attempt=2))
    used.when(d.mark_failed()).refuses(r.APPROVAL_USED)


def test_requester_and_approver_differ_and_a_person_decides_only_what_was_referred() -> None:
    """AP-05, domain §4: ids are compared in normal form."""
    case = given(*d.SENT, d.request_approval("CANCEL"))
    case.when(d.person_decides()).refuses(r.NOT_REFERRED)
    case.when(d.resolve_decides(who=" SEN_001 ")).has_no_effect(r.APPROVER_IS_REQUESTER)
    case.given(d.resolve_decides("REFERRED"))
    case.when(d.person_decides(who="ＳＥＮ_001")).refuses(r.SELF_APPROVAL)
    case.when(d.person_decides("REJECTED")).then("OperatorActionRejected")
    case.when(d.person_decides("APPROVED")).refuses(r.APPROVAL_DECIDED)


def test_the_same_open_request_is_a_duplicate_and_seventeen_are_too_many() -> None:
    """D2: bounded; LIMIT_REACHED is never an event."""
    case = given(*d.SENT)
    for number in range(16):
        person = OperatorHeader(
            operator_id=f"op_{number}", roles=("operator",), token_id="t", not_after=2**60
        )
        case.when(
            c.RequestApproval(header=d.head(), operator=person, action="CANCEL", reason="why")
        )
    case.when(d.request_approval("CANCEL")).refuses(r.LIMIT_REACHED)
    case.later(60 * d.MINUTE).when(d.request_approval("CANCEL")).then("OperatorActionRequested")


def test_the_twenty_first_attempt_is_refused() -> None:
    """D2."""
    case = given(*d.RETRYABLE)
    for number in range(2, 21):
        case.given(*d.approved("RETRY", number - 1), d.retry(number))
        case.given(d.held(number), d.policy(attempt=number))
        case.given(d.rail("REJECTED", "AB08", attempt=number))
        case.given(d.deposits("RELEASE", "RELEASED", attempt=number))
    case.given(*d.approved("RETRY", 20)).when(d.retry(21)).refuses(r.LIMIT_REACHED)
