"""When a payment needs attention and when that ends; expiring approvals, freezes, retry windows."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.header import OperatorHeader
from core.payment import events as e
from core.payment.commands import RequestApproval
from core.payment.state import Payment, at_rest, needs_attention, waiting_for_person
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

HOUR = 60 * d.MINUTE
RETRIED = [*d.RETRYABLE, *d.approved("RETRY"), d.retry()]
PAST_WINDOW = d.START + 10 * d.MINUTE
SUBMIT_MS = d.MINUTE


def overdue(payment: Payment) -> str | None:
    return payment.attempt.overdue


def wants(case: Case) -> tuple[bool, bool]:
    """(needs attention, waits for a person)"""
    return needs_attention(case.payment), waiting_for_person(case.payment)


# -- attention ends when its reason does -----------------------------------------------------------

RESENT = [*d.SENT, d.rail("REJECTED", "AM05")]
MARK = [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()]
LATE = [*d.RETRYABLE, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL")]
REASONS: dict[str, tuple[list[Any], list[Any]]] = {
    # inputs that cause attention, and inputs that end it
    "a rejected resend, then settled": (
        RESENT, [d.rail("ACCEPTED"), d.rail("SETTLED"), d.deposits("CAPTURE", "CAPTURED")],
    ),
    "a rejected resend, then rejected": (
        RESENT, [d.rail("REJECTED", "AC01"), d.deposits("RELEASE", "RELEASED")],
    ),
    "a rejected resend, then judged": (
        [*RESENT, *MARK],
        [d.rail("ACCEPTED"), *d.judged("NOT_PAID", 2), d.deposits("RELEASE", "RELEASED")],
    ),
    "a silent capture": (
        [*d.SETTLED, d.deposits("CAPTURE", "FAILED")], [d.deposits("CAPTURE", "CAPTURED")],
    ),
    "a refused capture": (
        [*d.SETTLED, d.deposits("CAPTURE", "REFUSED")],
        [d.repeat_funds("CAPTURE"), d.deposits("CAPTURE", "CAPTURED", number=2)],
    ),
    "a forced debit": (LATE, [d.deposits("DEBIT_FORCED", "DEBITED")]),
    "a conflict": (
        [*d.CAPTURED, d.rail("REJECTED", "AC01")], d.judged("REPORT_WRONG"),
    ),
    "a conflict while an enquiry is open": (
        [*d.SENT, *MARK, d.rail("SETTLED")],
        [*d.judged("NOT_PAID", 2), d.deposits("RELEASE", "RELEASED")],
    ),
    "a referred approval": (
        [*d.CAPTURED, d.request_approval("REVERSE"), d.resolve_decides("REFERRED")],
        [d.person_decides("REJECTED")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REASONS)
def test_attention_begins_with_its_reason_and_ends_with_it(why: str) -> None:
    """Once the reason is gone the payment needs no attention and is at rest."""
    before, after = REASONS[why]
    case = given(*before)
    assert needs_attention(case.payment)
    case.given(*after)
    assert wants(case) == (False, False)
    assert at_rest(case.payment)


def test_a_rejected_resend_of_a_live_attempt_is_attention_only_while_its_fate_is_open() -> None:
    """Ruling 11: enquired about once; a repeat is a duplicate."""
    case = given(*d.SENT).when(d.rail("REJECTED", "AM05"))
    case.then("RailStatusReported", "RailEnquiryRequested").is_in("SENT", "OPEN")
    case.when(d.rail("REJECTED", "DUPL")).then("RailStatusReported")
    assert wants(case) == (True, False)
    case.given(d.rail("SETTLED"))
    assert not needs_attention(case.payment)


def test_overdue_is_attention_until_the_rail_reports() -> None:
    """OP-22, ruling 7: marks at five and ten minutes; an acknowledgement restarts them."""
    case = given(*d.SENT)
    assert not needs_attention(case.payment)
    case.timer_until("OVERDUE")
    assert (overdue(case.payment), wants(case)) == ("ATTENTION", (True, False))
    case.timer_until("OVERDUE")
    assert overdue(case.payment) == "ESCALATED"
    case.given(d.rail("ACCEPTED"))
    assert (overdue(case.payment), wants(case)) == (None, (False, False))


def test_repeated_answers_with_another_amount_are_one_conflict() -> None:
    """Each enquiry's REJECTED with another amount used to open another conflict."""
    case = given(*d.MARKED)
    answer = d.enquiry("REJECTED", "AB08", amount=d.AMOUNT + 5, currency="AUD")
    case.when(answer).then("ReconciliationRequired:AMOUNT_DIFFERS")
    for _ in range(3):
        case.when(answer).is_duplicate()
    assert case.payment.conflicts_made == 1


# -- approvals that nobody decides -----------------------------------------------------------------


@pytest.mark.parametrize("referred", [True, False], ids=["REFERRED", "REQUESTED"])
def test_an_undecided_request_expires_by_its_own_timer(referred: bool) -> None:
    """Otherwise a payment at rest would wait for a person forever."""
    case = given(*d.CAPTURED, d.request_approval("REVERSE"))
    if referred:
        case.given(d.resolve_decides("REFERRED"))
    assert case.payment.deadline_kind == "APPROVAL"
    assert not at_rest(case.payment)
    case.timer().then("OperatorActionRejected")
    assert case.now == d.START + HOUR
    made = case.event(e.OperatorActionRejected)
    assert (made.header.actor.kind, made.rules_evaluated) == ("system", ("approval expired",))
    assert case.payment.approvals[0].status == "EXPIRED"
    assert (wants(case), at_rest(case.payment)) == ((False, False), True)


def test_a_decision_on_an_expired_request_is_refused_as_expired() -> None:
    """Domain §4: whether or not the expiry timer has been read."""
    case = given(*d.CAPTURED, d.request_approval("REVERSE"), d.resolve_decides("REFERRED")).later(
        HOUR
    )
    case.when(d.person_decides()).refuses(r.APPROVAL_EXPIRED)
    case.timer()
    case.when(d.person_decides()).refuses(r.APPROVAL_EXPIRED)
    case.when(d.resolve_decides("REFERRED")).has_no_effect(r.APPROVAL_CLOSED)
    case.when(d.reverse()).refuses(r.APPROVAL_EXPIRED)
    case.given(*d.approved("REVERSE", 2)).when(d.reverse()).then("FundsRequested:REVERSE")


def test_a_decided_request_leaves_no_timer_behind() -> None:
    """Approved, rejected or used: no timer remains."""
    for verdict in ("APPROVED", "REJECTED"):
        case = given(*d.CAPTURED, d.request_approval("REVERSE"), d.resolve_decides(verdict))
        assert (case.payment.deadline, at_rest(case.payment)) == (None, True)


def test_two_requests_expire_each_at_its_own_time() -> None:
    """Domain §4."""
    case = given(*d.CAPTURED, d.request_approval("REVERSE")).later(d.MINUTE)
    person = OperatorHeader(
        operator_id="sen_002", roles=("senior_operator",), token_id="token", not_after=2**60
    )
    other = RequestApproval(header=d.head(), operator=person, action="REVERSE", reason="too")
    case.given(other).timer().then("OperatorActionRejected")
    assert [a.status for a in case.payment.approvals] == ["EXPIRED", "REQUESTED"]
    case.timer().then("OperatorActionRejected")
    assert (case.now, at_rest(case.payment)) == (d.START + HOUR + d.MINUTE, True)


# -- a request names the current attempt or none ---------------------------------------------------


@pytest.mark.parametrize(
    ("before", "action", "extra"),
    [
        ([*RETRIED, d.held(2)], "CANCEL", {}),
        ([*RETRIED, d.held(2), d.policy(attempt=2)], "MARK_FAILED", {"failure_reason": "RAIL"}),
        ([*RETRIED, d.held(2), d.policy(attempt=2)], "EXPIRE", {}),
        ([*RETRIED, *d.approved("CANCEL", 2), d.cancel()], "RETRY_UNCERTAIN", {}),
    ],
    ids=["CANCEL", "MARK_FAILED", "EXPIRE", "RETRY_UNCERTAIN"],
)
def test_a_request_that_names_an_old_attempt_is_refused(
    before: list[Any], action: str, extra: dict[str, Any]
) -> None:
    """Ruling 8: its approval could never be used."""
    case = (
        given(*before)
        .when(d.request_approval(action, attempt=1, **extra))
        .refuses(r.ATTEMPT_NOT_CURRENT)
    )
    assert "att_002" in case.sentence
    assert "att_001" in case.sentence
    case.when(d.request_approval(action, attempt=2, **extra)).then("OperatorActionRequested")
    other = given(*before).when(d.request_approval(action, **extra)).then("OperatorActionRequested")
    assert other.event(e.OperatorActionRequested).header.attempt == 2


def test_a_cancel_request_of_an_old_attempt_freezes_nothing() -> None:
    """The retry is still sent; a request for the current attempt freezes it."""
    case = given(*RETRIED, d.held(2)).when(d.request_approval("CANCEL", attempt=1))
    case.when(d.policy(attempt=2)).is_in("SENT")
    right = given(*RETRIED, d.held(2)).when(d.request_approval("CANCEL", attempt=2))
    assert right.event(e.OperatorActionRequested).frozen_until == d.START + 15 * d.MINUTE
    right.when(d.policy(attempt=2)).is_in("AUTHORISED")


# -- a freeze and the window -----------------------------------------------------------------------


def test_an_undecided_cancel_of_a_retry_does_not_fail_it() -> None:
    """The freeze and the AUTHORISED window both last 15 minutes; the payment is sent after the
    freeze.
    """
    case = (
        given(*RETRIED)
        .later(1_000)
        .given(d.request_approval("CANCEL"), d.policy(attempt=2), d.held(2))
    )
    frozen_until = d.START + 1_000 + 15 * d.MINUTE
    case.timer_until("SEND").then("PaymentSentToRail").is_in("SENT")
    assert case.now == frozen_until
    assert case.payment.attempt.submit_before == frozen_until + SUBMIT_MS


def test_an_approved_but_unused_cancel_does_not_fail_it_either() -> None:
    """Ruling 8: the freeze ends with the approval."""
    case = given(*RETRIED, d.request_approval("CANCEL"), d.policy(attempt=2), d.held(2)).later(
        10 * d.MINUTE
    )
    case.given(d.resolve_decides(approval="apr_002")).timer_until("SEND").is_in("SENT")
    assert case.now == d.START + 15 * d.MINUTE


def test_a_frozen_payment_that_is_not_ready_has_time_to_submit_after_the_freeze() -> None:
    """Ruling 8: the window ends at the earliest submit_ms after the freeze."""
    case = given(*RETRIED).later(10 * d.MINUTE).given(d.request_approval("CANCEL"))
    frozen_until = d.START + 25 * d.MINUTE
    case.timer_until("AUTHORISED_WINDOW").is_in("FAILED", "NOT_PAID")
    assert case.now == frozen_until + SUBMIT_MS


def test_an_attempt_is_frozen_once() -> None:
    """Domain §4: for at most 15 minutes, once per attempt, whoever requests it again."""
    case = given(*d.SENT[:2], d.request_approval("CANCEL"), d.resolve_decides("REJECTED")).later(
        d.MINUTE
    )
    case.when(d.request_approval("CANCEL")).then("OperatorActionRequested")
    assert case.event(e.OperatorActionRequested).frozen_until is None
    case.when(d.held()).is_in("SENT")


def test_a_freeze_in_created_extends_its_window_too() -> None:
    """Ruling 8: no window runs out while frozen."""
    case = given(d.create(), d.policy()).later(9 * d.MINUTE).given(d.request_approval("CANCEL"))
    case.timers_until(lambda: case.now >= PAST_WINDOW + d.MINUTE)
    case.is_in("CREATED").when(d.held()).is_in("AUTHORISED")
    case.timer_until("SEND").is_in("SENT")
    assert case.now == d.START + 24 * d.MINUTE
