"""Funds, time, failures and customers by example. Each accepted input is decided twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.payment import commands as c
from core.payment.state import (
    at_rest,
    needs_attention,
)
from tests.core.payment import dsl as d
from tests.core.payment.case import given

ACCEPT_OTHER = d.rail("SETTLED", amount=d.AMOUNT - 5, currency="AUD")
SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")


# -- funds -----------------------------------------------------------------------------------------


def test_a_declined_hold_fails_and_a_hold_confirmed_after_the_end_is_released() -> None:
    """D3, INT-05."""
    case = given(d.create()).when(d.deposits("HOLD", "DECLINED"))
    case.then(
        "FundsHoldDeclined", "PaymentFailed:INSUFFICIENT_FUNDS", "CustomerNotificationRequested"
    )
    case = given(d.create()).when(d.policy("DECLINED"))
    case.then(
        "PolicyChecked",
        "PaymentFailed:FRAUD",
        "FundsRequested:RELEASE",
        "CustomerNotificationRequested",
    )
    case.when(d.held()).then("FundsHeld")
    case.when(d.deposits("RELEASE", "RELEASED")).then("FundsReleased")
    assert at_rest(case.payment)


def test_a_refused_or_unanswered_capture_is_repeated_under_its_reference() -> None:
    """D3: same fundsRef, attention, no change of state."""
    case = given(*d.SETTLED).when(d.deposits("CAPTURE", "FAILED")).then("FundsRequestFailed")
    case.timer().then("FundsRequested:CAPTURE")
    request: Any = case.decision.instructions[0]  # type: ignore[union-attr]
    assert (request.funds_ref, request.repeat) == (f"{d.REF}C01", 1)
    assert needs_attention(case.payment)
    case.timer().then("FundsRequested").is_in("SETTLED", "PAID", "CAPTURE_REQUESTED")
    case.when(d.deposits("CAPTURE", "CAPTURED")).then("FundsCaptured")
    case.when(d.deposits("CAPTURE", "FAILED")).has_no_effect(r.ANSWER_SUPERSEDED)


def test_an_early_release_and_a_reversal_need_their_own_approval() -> None:
    """D3, OP-20."""
    release = c.ReleaseFunds(header=d.head(), operator=d.by(d.SENIOR), attempt=1, reason="hardship")
    case = given(*d.MARKED).when(release).refuses(r.APPROVAL_MISSING)
    case.given(*d.approved("RELEASE_EARLY", 2)).when(release).then("FundsRequested:RELEASE")
    reverse = c.ReverseCapture(
        header=d.head(), operator=d.by(d.SENIOR), attempt=1, reason="posted twice"
    )
    case = given(*d.CAPTURED).when(reverse).refuses(r.APPROVAL_MISSING)
    case.given(*d.approved("REVERSE")).when(reverse).then("FundsRequested:REVERSE")
    case.given(d.deposits("REVERSE", "REVERSED")).is_in("SETTLED", "PAID", "REVERSED")
    assert at_rest(case.payment)


def test_answers_of_deposits_core_that_contradict_are_kept() -> None:
    """First law: never lose track of money."""
    case = given(*d.SENT).when(d.deposits("HOLD", "HELD", amount=1))
    case.then("ReconciliationRequired:FUNDS_CONTRADICTION")
    case = given(*d.SENT).when(d.deposits("HOLD", "DECLINED")).then("ReconciliationRequired")
    case.is_in("SENT", "CONTRADICTED", "HELD")


# -- time ------------------------------------------------------------------------------------------


def test_windows_and_expiry_end_a_payment_only_before_sent() -> None:
    """Ruling 12: CREATED fails (TIMEOUT), AUTHORISED fails or expires; all are certain."""
    ended = ("PaymentFailed:TIMEOUT", "FundsRequested:RELEASE", "CustomerNotificationRequested")
    given(d.create()).timer_until("CREATED_WINDOW").then(*ended)
    given(d.create(expires_at=d.START + 5)).timer().then(*ended)
    hour = d.START + 60 * d.MINUTE
    waits = [d.create(requested_execution_time=hour, expires_at=hour + 1), d.held(), d.policy()]
    late = given(*waits).later(61 * d.MINUTE).timer()
    late.then("PaymentExpired", "FundsRequested:RELEASE").is_in("EXPIRED", "NOT_PAID")
    frozen = given(
        d.create(expires_at=d.START + 5 * d.MINUTE),
        d.held(),
        d.request_approval("CANCEL"),
        d.policy(),
    )
    frozen.timer().then("PaymentExpired", "FundsRequested:RELEASE").is_in("EXPIRED", "NOT_PAID")
    slow = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry())
    slow.timer_until("AUTHORISED_WINDOW").then(*ended)


def test_from_sent_on_deadlines_mark_and_enquire_and_an_acknowledgement_clears() -> None:
    """SM-12, MET-07, ruling 7."""
    case = given(*d.SENT).timer().then("PaymentOverdue:ATTENTION", "RailEnquiryRequested")
    assert case.now == d.START + 5 * d.MINUTE
    case.timer().timer().then("RailEnquiryRequested")
    case.timer().then("PaymentOverdue:ESCALATED").is_in("SENT", "OPEN")
    case.given(d.rail("ACCEPTED"))
    assert case.payment.attempt.overdue is None
    case.timer().then("PaymentOverdue:ATTENTION", "RailEnquiryRequested")


def test_a_deadline_that_no_longer_applies_does_nothing() -> None:
    """D8."""
    case = given(*d.SENT)
    case.when(
        c.TimerDue(header=d.head(), kind="CREATED_WINDOW", deadline=d.START + 1)
    ).has_no_effect(r.TIMER_STALE)


def test_decision_time_never_goes_back() -> None:
    """D8, OP-28: max(poll time, the last decidedAt, the timer's deadline)."""
    case = given(d.create())
    case.now -= 5_000
    case.given(d.held())
    assert case.payment.decided_at == d.START


def test_a_payment_waits_for_its_execution_time_and_is_never_sent_after_its_expiry() -> None:
    """Domain §1, ruling 12: submitBefore ends with the payment's own expiry."""
    case = given(d.create(requested_execution_time=d.START + d.MINUTE, expires_at=d.START + 90_000))
    case.given(d.held(), d.policy()).is_in("AUTHORISED").timer().then("PaymentSentToRail")
    assert case.payment.attempt.submit_before == d.START + 90_000


# -- mark failed, late failure, expiry, notes, customers -------------------------------------------


def test_a_late_failure_is_recorded_and_notified_only_when_certain() -> None:
    """LF-02, ruling 9, INT-09."""
    case = given(*d.ACKNOWLEDGED).when(d.rail("REJECTED", "AB08"))
    case.then(
        "PaymentFailed", "FundsRequested:RELEASE", "CustomerNotificationRequested:late_failure"
    )
    assert case.payment.attempt.late_failure
    uncertain = given(*d.ACKNOWLEDGED, *d.approved("MARK_FAILED", failure_reason="RAIL"))
    uncertain.when(d.mark_failed()).then(
        "PaymentFailed", "FundsReleaseDeferred", "RailEnquiryRequested"
    )


@pytest.mark.parametrize("reason", ["CANCELLED", "EXPIRED", "WHATEVER"])
def test_mark_failed_bypasses_no_rule(reason: str) -> None:
    """OP-19, ruling 10."""
    given(*d.SENT).when(d.mark_failed(reason)).refuses(r.FIELD_INVALID)


def test_the_source_can_expire_a_payment_in_authorised_only() -> None:
    """Ruling 12, OP-08."""
    waits = d.create(requested_execution_time=d.START + d.MINUTE)
    case = given(waits, d.held(), d.policy()).when(d.expire())
    case.then("PaymentExpired", "FundsRequested:RELEASE").is_in("EXPIRED", "NOT_PAID")
    given(d.create()).when(d.expire()).refuses(r.ILLEGAL_TRANSITION)
    given(*d.SENT).when(d.expire()).refuses(r.UPSTREAM_AFTER_SENT)
    given(*d.CAPTURED).when(d.expire()).refuses(r.ILLEGAL_TRANSITION)


def test_notes_are_bounded() -> None:
    """D2: status reports beyond 1,000 notes have no effect."""
    case = given(*d.SENT)
    for number in range(1_000):
        case.given(d.enquiry("STATUS", f"P{number}"))
    case.when(d.enquiry("STATUS", "PX")).has_no_effect(r.NOTES_FULL)
    case.when(SETTLE).is_in("SETTLED")


def test_a_customers_confirmation_joins_the_timeline_once() -> None:
    """OP-17."""
    case = given(*d.FAILED_SAFE)
    reported = c.NotificationResult(
        header=d.head(),
        notification_id="ntf_001",
        kind="failed",
        result="DELIVERED",
        delivered_at=5,
        channel="app",
    )
    case.when(reported).then("CustomerNotified")
    case.when(msgspec.structs.replace(reported, notification_id="ntf_009")).has_no_effect()
