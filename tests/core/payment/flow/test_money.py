"""Conflicts, funds, time, customers and parking by example. Each accepted input is asked twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.payment import commands as c
from core.payment.decide import suspend
from core.payment.evolve import evolve
from core.payment.state import (
    CorruptHistory,
    at_rest,
    is_parked,
    needs_attention,
    open_conflicts,
    overdue,
    pack,
    unpack,
    waiting_for_person,
)
from tests.core.payment import dsl as d
from tests.core.payment.dsl import given

ACCEPT_OTHER = d.rail("SETTLED", amount=d.AMOUNT - 5, currency="AUD")
SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")


# -- conflicts -------------------------------------------------------------------------------------


def judged(verdict: str, number: int = 1, conflict: str = "cnf_001", attempt: int = 1) -> list[Any]:
    return [
        *d.approved("RESOLVE_RECONCILIATION", number, conflict_id=conflict, verdict=verdict),
        d.resolve(verdict, conflict, attempt),
    ]


def test_a_settlement_after_a_release_is_debited_and_never_sent_again() -> None:
    """Ruling 5, domain §3: SETTLED_AFTER_ALL keeps the state, sets the money, forces the debit,
    bars the retry.
    """
    case = given(*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED"))
    case.when(SETTLE).then("ReconciliationRequired")
    *before, verdict = judged("SETTLED_AFTER_ALL")
    case.given(*before).when(verdict).then("ReconciliationResolved", "FundsRequested:DEBIT_FORCED")
    case.given(d.deposits("DEBIT_FORCED", "DEBITED")).stands("FAILED", "PAID", "DEBITED")
    case.given(*d.approved("RETRY", 2)).when(d.retry()).refuses(r.ALREADY_PAID)


def test_a_verdict_ends_an_unsent_later_attempt_and_withdraws_a_sent_one() -> None:
    """Ruling 5, OP-30."""
    unsent = [*d.RETRYABLE, *d.approved("RETRY"), d.retry(), d.held(2)]
    for before, work, money in (
        (unsent, "FundsRequested", True),
        ([*unsent, d.policy(attempt=2)], "", False),
    ):
        case = given(*before, SETTLE)
        *ask, verdict = judged("SETTLED_AFTER_ALL", 2)
        case.given(*ask).when(verdict).stands("FAILED", "PAID")
        failed = case.payment.attempts[1]
        assert (failed.reason, failed.certain) == ("CANCELLED", money)
        kinds = [getattr(x, "kind", "") for x in case.decision.instructions]  # type: ignore[union-attr]
        assert ("WITHDRAW" in kinds) == (not work)


def test_while_a_conflict_is_open_nothing_is_sent_and_consistent_reports_still_apply() -> None:
    """Ruling 5."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry(), SETTLE, d.held(2))
    case.when(d.policy(attempt=2)).then("PolicyChecked").stands("AUTHORISED", "CONTRADICTED")
    assert waiting_for_person(case.payment)
    *ask, verdict = judged("NOT_PAID", 2)
    case.given(*ask).when(verdict).then("ReconciliationResolved", "PaymentSentToRail")
    case.stands("SENT", "OPEN")


def test_a_verdict_of_not_paid_makes_the_attempt_certain_and_lets_the_hold_go() -> None:
    """Ruling 5, domain §3."""
    case = given(*d.MARKED, SETTLE).stands("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    *ask, verdict = judged("NOT_PAID", 2)
    case.given(*ask).when(verdict).then(
        "ReconciliationResolved", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    )
    case.stands("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_an_open_conflict_stops_the_windows_too() -> None:
    """Ruling 5: no expiry by timers; once resolved, a window that has passed ends the payment."""
    case = given(d.create(), d.rail("ACCEPTED")).stands("CREATED", "CONTRADICTED")
    assert case.payment.deadline_kind == "FUNDS_REPEAT"
    *ask, verdict = judged("REPORT_WRONG")
    case.later(11 * d.MINUTE).given(*ask).when(verdict)
    case.then("ReconciliationResolved", "RailEnquiryRequested").timer()
    case.then("PaymentFailed:TIMEOUT", "FundsRequested:RELEASE", "CustomerNotificationRequested")


def test_an_open_conflict_holds_the_release_back() -> None:
    """Ruling 5: not even a certain failure lets money go while the record is contradicted."""
    case = given(*d.SENT, d.rail("ACCEPTED", amount=1, currency="AUD"))
    case.when(d.rail("REJECTED", "AC01")).then("PaymentFailed", "FundsReleaseDeferred")
    *ask, verdict = judged("NOT_PAID")
    case.given(*ask).when(verdict).then(
        "ReconciliationResolved", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    )


def test_a_payment_is_captured_once_and_a_second_settlement_is_debited() -> None:
    """D3, IDM-04, SM-15: attempt 3 was captured, and attempt 2 turns out to have settled."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry()).timer_until("AUTHORISED_WINDOW")
    case.stands("FAILED").given(d.deposits("RELEASE", "NEVER_HELD", attempt=2))
    case.given(*d.approved("RETRY", 2), d.retry(3), d.held(3), d.policy(attempt=3))
    case.given(d.rail("SETTLED", attempt=3), d.deposits("CAPTURE", "CAPTURED", attempt=3))
    case.when(d.rail("SETTLED", attempt=2)).then("ReconciliationRequired:DOUBLE_SETTLEMENT")
    *ask, verdict = judged("SETTLED_AFTER_ALL", 3, attempt=2)
    case.given(*ask).when(verdict).then("ReconciliationResolved")  # a second debit: not by itself
    debit = c.DebitFunds(
        header=d.head(), operator=d.by(d.SENIOR), attempt=2, reason="the customer asked for both"
    )
    case.when(debit).refuses(r.APPROVAL_MISSING)
    case.when(d.held(2)).then("FundsHeld", "FundsRequested:RELEASE")  # never captured twice
    case.when(debit).refuses(r.FUNDS_PRECONDITION)
    case.given(d.deposits("RELEASE", "RELEASED", attempt=2, number=2))
    assert waiting_for_person(case.payment)
    case.given(*d.approved("DEBIT_AGAIN", 4, attempt=2))
    case.when(debit).then("FundsRequested:DEBIT_FORCED")
    case.when(d.deposits("DEBIT_FORCED", "DEBITED", attempt=2)).then("FundsDebitForced")
    assert at_rest(case.payment)


def test_another_amount_is_accepted_by_a_person_and_taken_in_full() -> None:
    """Ruling 5, domain §3: captured what is held, the rest debited; less is captured and the rest
    released.
    """
    for amount, asked in ((d.AMOUNT - 5, "RELEASE"), (d.AMOUNT + 5, "DEBIT_FORCED")):
        case = given(*d.SENT).when(d.rail("SETTLED", amount=amount, currency="AUD"))
        case.then("ReconciliationRequired:AMOUNT_DIFFERS").stands("SENT", "CONTRADICTED")
        *ask, verdict = judged("AMOUNT_ACCEPTED")
        case.given(*ask).when(verdict).then(
            "ReconciliationResolved",
            "PaymentAcknowledged",
            "PaymentSettled",
            "FundsRequested:CAPTURE",
        )
        case.when(d.deposits("CAPTURE", "CAPTURED", amount=min(amount, d.AMOUNT)))
        case.then("FundsCaptured", f"FundsRequested:{asked}")


def test_a_verdict_that_does_not_fit_is_refused() -> None:
    """Ruling 5."""
    case = given(*d.FAILED_SAFE, SETTLE)
    ask, _, verdict = judged("AMOUNT_ACCEPTED")
    case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(verdict).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(d.resolve("NOT_PAID", "cnf_009")).refuses(r.CONFLICT_NOT_OPEN)


def test_one_message_id_with_two_contents_is_a_conflict() -> None:
    """Ruling 5, OP-24."""
    case = given(*d.SENT, d.rail("ACCEPTED", rail_message_id="m1"))
    case.when(d.rail("SETTLED", rail_message_id="m1"))
    case.then("ReconciliationRequired:SAME_MESSAGE_OTHER_CONTENT").stands("ACKNOWLEDGED")
    case.when(d.rail("SETTLED", rail_message_id="m2")).stands("SETTLED")


def test_conflicts_beyond_sixteen_are_counted_and_still_block_and_end() -> None:
    """Ruling 5, domain §2: bounded in the state, never refused."""
    case = given(*d.SENT)
    for number in range(1, 19):
        case.when(d.rail("SETTLED", amount=number, currency="AUD"))
    assert (len(case.payment.conflicts), open_conflicts(case.payment)) == (16, 18)
    case.when(d.cancel()).refuses(r.CONFLICT_OPEN)
    counted = judged("AMOUNT_ACCEPTED", 1, "cnf_018")
    case.when(counted[0]).refuses(r.VERDICT_NOT_APPLICABLE)  # what it said is not known
    for number in range(1, 19):
        case.given(*judged("REPORT_WRONG", number, f"cnf_{number:03d}"))
    assert open_conflicts(case.payment) == 0


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


def test_a_refused_or_silent_capture_is_repeated_under_its_reference() -> None:
    """D3: same fundsRef, attention, no state moved."""
    case = given(*d.SETTLED).when(d.deposits("CAPTURE", "FAILED")).then("FundsRequestFailed")
    case.timer().then("FundsRequested:CAPTURE")
    request: Any = case.decision.instructions[0]  # type: ignore[union-attr]
    assert (request.funds_ref, request.repeat) == (f"{d.REF}C01", 1)
    assert needs_attention(case.payment)
    case.timer().then("FundsRequested").stands("SETTLED", "PAID", "CAPTURE_REQUESTED")
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
    case.given(d.deposits("REVERSE", "REVERSED")).stands("SETTLED", "PAID", "REVERSED")
    assert at_rest(case.payment)


def test_answers_of_deposits_core_that_contradict_are_kept() -> None:
    """First law: never lose track of money."""
    case = given(*d.SENT).when(d.deposits("HOLD", "HELD", amount=1))
    case.then("ReconciliationRequired:FUNDS_CONTRADICTION")
    case = given(*d.SENT).when(d.deposits("HOLD", "DECLINED")).then("ReconciliationRequired")
    case.stands("SENT", "CONTRADICTED", "HELD")


# -- time ------------------------------------------------------------------------------------------


def test_windows_and_expiry_end_a_payment_only_before_sent() -> None:
    """Ruling 12: CREATED fails by TIMEOUT; AUTHORISED fails, or expires at its expiresAt; all
    certain.
    """
    ended = ("PaymentFailed:TIMEOUT", "FundsRequested:RELEASE", "CustomerNotificationRequested")
    given(d.create()).timer_until("CREATED_WINDOW").then(*ended)
    given(d.create(expires_at=d.START + 5)).timer().then(*ended)
    hour = d.START + 60 * d.MINUTE
    waits = [d.create(requested_execution_time=hour, expires_at=hour + 1), d.held(), d.policy()]
    late = given(*waits).later(61 * d.MINUTE).timer()
    late.then("PaymentExpired", "FundsRequested:RELEASE").stands("EXPIRED", "NOT_PAID")
    frozen = given(
        d.create(expires_at=d.START + 5 * d.MINUTE), d.held(), d.ask("CANCEL"), d.policy()
    )
    frozen.timer().then("PaymentExpired", "FundsRequested:RELEASE").stands("EXPIRED", "NOT_PAID")
    slow = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry())
    slow.timer_until("AUTHORISED_WINDOW").then(*ended)


def test_from_sent_on_time_marks_and_enquires_and_an_acknowledgement_clears() -> None:
    """SM-12, MET-07, ruling 7."""
    case = given(*d.SENT).timer().then("PaymentOverdue:ATTENTION", "RailEnquiryRequested")
    assert case.now == d.START + 5 * d.MINUTE
    case.timer().timer().then("RailEnquiryRequested")
    case.timer().then("PaymentOverdue:ESCALATED").stands("SENT", "OPEN")
    case.given(d.rail("ACCEPTED"))
    assert overdue(case.payment) is None
    case.timer().then("PaymentOverdue:ATTENTION", "RailEnquiryRequested")


def test_a_deadline_that_no_longer_stands_does_nothing() -> None:
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
    case.given(d.held(), d.policy()).stands("AUTHORISED").timer().then("PaymentSentToRail")
    assert case.payment.attempt.submit_before == d.START + 90_000


# -- mark failed, late failure, expiry, notes, customers, parking ----------------------------------


def test_a_late_failure_is_marked_and_told_only_when_certain() -> None:
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
def test_mark_failed_is_no_back_door(reason: str) -> None:
    """OP-19, ruling 10."""
    given(*d.SENT).when(d.mark_failed(reason)).refuses(r.FIELD_INVALID)


def test_the_source_gives_up_in_authorised_only() -> None:
    """Ruling 12, OP-08."""
    waits = d.create(requested_execution_time=d.START + d.MINUTE)
    case = given(waits, d.held(), d.policy()).when(d.expire())
    case.then("PaymentExpired", "FundsRequested:RELEASE").stands("EXPIRED", "NOT_PAID")
    given(d.create()).when(d.expire()).refuses(r.ILLEGAL_TRANSITION)
    given(*d.SENT).when(d.expire()).refuses(r.UPSTREAM_AFTER_SENT)
    given(*d.CAPTURED).when(d.expire()).refuses(r.ILLEGAL_TRANSITION)


def test_notes_are_bounded() -> None:
    """D2: past 1,000 notes status reports have no effect."""
    case = given(*d.SENT)
    for number in range(1_000):
        case.given(d.enquiry("STATUS", f"P{number}"))
    case.when(d.enquiry("STATUS", "PX")).has_no_effect(r.NOTES_FULL)
    case.when(SETTLE).stands("SETTLED")


def test_a_customers_confirmation_joins_the_timeline_once() -> None:
    """OP-17."""
    case = given(*d.FAILED_SAFE)
    told = c.NotificationResult(
        header=d.head(),
        notification_id="ntf_001",
        kind="failed",
        result="DELIVERED",
        delivered_at=5,
        channel="app",
    )
    case.when(told).then("CustomerNotified")
    case.when(msgspec.structs.replace(told, notification_id="ntf_009")).has_no_effect()


def test_a_parked_payment_is_taken_up_by_two_persons_and_goes_on() -> None:
    """D5: parked, its inputs are not decided; after the fix what was outstanding follows."""
    case = given(d.create(), d.held())
    accepted = suspend(case.payment, case.context(d.policy()), "KeyError in decide")
    case.state = accepted.state
    assert is_parked(case.payment)
    assert case.payment.deadline is None
    assert [type(x).__name__ for x in accepted.events] == ["ProcessingSuspended"]
    case.when(d.policy()).has_no_effect(r.PARKED)
    alone = c.ResumeProcessing(
        header=d.head(), operator=d.by(d.ADMIN), requested_by=d.ADMIN, reason="mended"
    )
    case.when(alone).refuses(r.SELF_APPROVAL)
    case.when(
        c.ResumeProcessing(
            header=d.head(), operator=d.by(d.ADMIN), requested_by="adm_002", reason="mended"
        )
    )
    case.then("ProcessingResumed").when(d.policy()).stands("SENT")


def test_a_history_that_cannot_be_is_corrupt() -> None:
    """OP-14: a gap, a repetition, a foreign event or time going back is never guessed away."""
    history = given(*d.CAPTURED).history
    state = None
    for event in history[:5]:
        state = evolve(state, event)
    following = history[5]
    for wrong in (
        history[4],
        history[6],
        altered(following, payment_intent_id="pi_" + "a" * 26),
        altered(following, decided_at=d.START - 1),
        altered(following, rule_set=0),
        altered(following, state_after="SETTLED"),
        altered(following, attempt=2),
    ):
        with pytest.raises(CorruptHistory):
            evolve(state, wrong)
    with pytest.raises(CorruptHistory):
        evolve(None, following)
    assert evolve(state, following).sequence == 6


def altered(event: Any, **header: Any) -> Any:
    return msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, **header))


def test_packed_bytes_that_are_no_state_are_said_to_be_so() -> None:
    """A corrupt store is a ValueError, never half a payment."""
    packed = pack(given(*d.CAPTURED).payment)
    for wrong in (b"", packed[:-3], b"\xc1", packed[1:]):
        with pytest.raises(ValueError):
            unpack(wrong)
