"""What an open conflict blocks, and what a verdict does with the money."""

from __future__ import annotations

from typing import Any

from core import refusals as r
from core.payment import commands as c
from core.payment.state import (
    at_rest,
    open_conflicts,
    waiting_for_person,
)
from tests.core.payment import dsl as d
from tests.core.payment.case import given

SETTLE = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")


def judged(verdict: str, number: int = 1, conflict: str = "cnf_001", attempt: int = 1) -> list[Any]:
    return [
        *d.approved("RESOLVE_RECONCILIATION", number, conflict_id=conflict, verdict=verdict),
        d.resolve(verdict, conflict, attempt),
    ]


def test_a_settlement_after_a_release_is_debited_and_never_sent_again() -> None:
    """Ruling 5, domain §3: SETTLED_AFTER_ALL keeps the state, sets moneyOutcome, requests the
    forced debit and bars every retry.
    """
    case = given(*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED"))
    case.when(SETTLE).then("ReconciliationRequired")
    *before, verdict = judged("SETTLED_AFTER_ALL")
    case.given(*before).when(verdict).then("ReconciliationResolved", "FundsRequested:DEBIT_FORCED")
    case.given(d.deposits("DEBIT_FORCED", "DEBITED")).is_in("FAILED", "PAID", "DEBITED")
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
        case.given(*ask).when(verdict).is_in("FAILED", "PAID")
        failed = case.payment.attempts[1]
        assert (failed.reason, failed.certain) == ("CANCELLED", money)
        kinds = [getattr(x, "kind", "") for x in case.decision.instructions]  # type: ignore[union-attr]
        assert ("WITHDRAW" in kinds) == (not work)


def test_while_a_conflict_is_open_nothing_is_sent_and_consistent_reports_still_apply() -> None:
    """Ruling 5."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry(), SETTLE, d.held(2))
    case.when(d.policy(attempt=2)).then("PolicyChecked").is_in("AUTHORISED", "CONTRADICTED")
    assert waiting_for_person(case.payment)
    *ask, verdict = judged("NOT_PAID", 2)
    case.given(*ask).when(verdict).then("ReconciliationResolved", "PaymentSentToRail")
    case.is_in("SENT", "OPEN")


def test_a_not_paid_verdict_makes_non_payment_certain_and_releases_the_hold() -> None:
    """Ruling 5, domain §3."""
    case = given(*d.MARKED, SETTLE).is_in("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    *ask, verdict = judged("NOT_PAID", 2)
    case.given(*ask).when(verdict).then(
        "ReconciliationResolved", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    )
    case.is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_an_open_conflict_stops_the_windows_too() -> None:
    """Ruling 5: no timer expires it; after the verdict an expired window ends the payment."""
    case = given(d.create(), d.rail("ACCEPTED")).is_in("CREATED", "CONTRADICTED")
    assert case.payment.deadline_kind == "FUNDS_REPEAT"
    *ask, verdict = judged("REPORT_WRONG")
    case.later(11 * d.MINUTE).given(*ask).when(verdict)
    case.then("ReconciliationResolved", "RailEnquiryRequested").timer()
    case.then("PaymentFailed:TIMEOUT", "FundsRequested:RELEASE", "CustomerNotificationRequested")


def test_an_open_conflict_defers_the_release() -> None:
    """Ruling 5: even a certain failure releases nothing while the record is contradicted."""
    case = given(*d.SENT, d.rail("ACCEPTED", amount=1, currency="AUD"))
    case.when(d.rail("REJECTED", "AC01")).then("PaymentFailed", "FundsReleaseDeferred")
    *ask, verdict = judged("NOT_PAID")
    case.given(*ask).when(verdict).then(
        "ReconciliationResolved", "FundsRequested:RELEASE", "CustomerNotificationRequested"
    )


def test_a_payment_is_captured_once_and_a_second_settlement_is_debited() -> None:
    """D3, IDM-04, SM-15: attempt 3 was captured, then attempt 2 turns out to have settled."""
    case = given(*d.RETRYABLE, *d.approved("RETRY"), d.retry()).timer_until("AUTHORISED_WINDOW")
    case.is_in("FAILED").given(d.deposits("RELEASE", "NEVER_HELD", attempt=2))
    case.given(*d.approved("RETRY", 2), d.retry(3), d.held(3), d.policy(attempt=3))
    case.given(d.rail("SETTLED", attempt=3), d.deposits("CAPTURE", "CAPTURED", attempt=3))
    case.when(d.rail("SETTLED", attempt=2)).then("ReconciliationRequired:DOUBLE_SETTLEMENT")
    *ask, verdict = judged("SETTLED_AFTER_ALL", 3, attempt=2)
    case.given(*ask).when(verdict).then(
        "ReconciliationResolved"
    )  # a second debit is not requested automatically
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


def test_another_amount_accepted_by_a_person_is_taken_in_full() -> None:
    """Ruling 5, domain §3: if more settled, the hold is captured and the rest debited; if less,
    that amount is captured and the rest released.
    """
    for amount, requested in ((d.AMOUNT - 5, "RELEASE"), (d.AMOUNT + 5, "DEBIT_FORCED")):
        case = given(*d.SENT).when(d.rail("SETTLED", amount=amount, currency="AUD"))
        case.then("ReconciliationRequired:AMOUNT_DIFFERS").is_in("SENT", "CONTRADICTED")
        *ask, verdict = judged("AMOUNT_ACCEPTED")
        case.given(*ask).when(verdict).then(
            "ReconciliationResolved",
            "PaymentAcknowledged",
            "PaymentSettled",
            "FundsRequested:CAPTURE",
        )
        case.when(d.deposits("CAPTURE", "CAPTURED", amount=min(amount, d.AMOUNT)))
        case.then("FundsCaptured", f"FundsRequested:{requested}")


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
    case.then("ReconciliationRequired:SAME_MESSAGE_OTHER_CONTENT").is_in("ACKNOWLEDGED")
    case.when(d.rail("SETTLED", rail_message_id="m2")).is_in("SETTLED")


def test_conflicts_beyond_sixteen_are_counted_and_still_block_and_end() -> None:
    """Ruling 5, domain §2: the state stays bounded, and no report is refused."""
    case = given(*d.SENT)
    for number in range(1, 19):
        case.when(d.rail("SETTLED", amount=number, currency="AUD"))
    assert (len(case.payment.conflicts), open_conflicts(case.payment)) == (16, 18)
    case.when(d.cancel()).refuses(r.CONFLICT_OPEN)
    counted = judged("AMOUNT_ACCEPTED", 1, "cnf_018")
    case.when(counted[0]).refuses(r.VERDICT_NOT_APPLICABLE)  # its content was not recorded
    for number in range(1, 19):
        case.given(*judged("REPORT_WRONG", number, f"cnf_{number:03d}"))
    assert open_conflicts(case.payment) == 0
