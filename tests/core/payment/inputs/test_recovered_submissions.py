"""After a lost log tail, no instructed payment is automatically called certainly unpaid."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment.state import open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

FOUND = "ReconciliationRequired:SUBMISSION_FOUND"


def found(*commands: Any, reference: str = d.REF) -> Case:
    """A payment as the journal still knows it; recovery found the instruction `reference`."""
    case = given(*commands)
    case.found = frozenset({reference})
    return case


def test_an_expired_window_opens_a_conflict_and_enquires_instead_of_ending_it() -> None:
    """Ruling 3: the rail may have it, whatever the recovered history says."""
    case = found(d.create(), d.policy()).timer_until("CREATED_WINDOW")
    case.then(FOUND, "RailEnquiryRequested")
    case.instructs("ENQUIRE").is_in("CREATED", "CONTRADICTED")
    assert case.payment.deadline is None, "no timer ends it in a conflict"
    case.given(d.enquiry("SETTLED")).is_in("CREATED", "CONTRADICTED")
    assert open_conflicts(case.payment) == 2


def test_its_own_expiry_ends_nothing_either() -> None:
    case = found(d.create(expires_at=d.START + d.MINUTE), d.policy())
    case.timer_until("EXPIRES_AT")
    case.then(FOUND, "RailEnquiryRequested").is_in("CREATED", "CONTRADICTED")


def test_the_same_instruction_is_given_again_when_its_inputs_say_so() -> None:
    """The reference is the same, so the adapter submits nothing twice; no person is involved."""
    case = found(d.create(), d.policy()).when(d.held())
    case.is_in("SENT", "OPEN").given(d.rail("SETTLED")).is_in("SETTLED", "PAID")
    assert not open_conflicts(case.payment)


@pytest.mark.parametrize(
    ("before", "answer", "last"),
    [
        ([d.create()], d.policy("DECLINED"), "PolicyChecked"),
        ([d.create(), d.policy()], d.deposits("HOLD", "DECLINED"), "FundsHoldDeclined"),
    ],
    ids=["policy", "funds"],
)
def test_a_different_answer_now_ends_it_under_an_open_conflict(
    before: list[Any], answer: Any, last: str
) -> None:
    """Ruling 3: the hold was captured long ago, so it is refused now; that says nothing about the
    rail.
    """
    case = found(*before).when(answer).then(FOUND, last, "PaymentFailed", "RailEnquiryRequested")
    case.is_in("FAILED", "CONTRADICTED")
    assert not case.payment.attempt.certain, "a submission was found (ruling 3)"


def test_a_cancel_and_an_expiry_before_sent_are_refused() -> None:
    future = d.START + 60 * d.MINUTE
    case = given(d.create(requested_execution_time=future), d.held(), d.policy())
    case.given(*d.approved("CANCEL")).found = frozenset({d.REF})
    case.when(d.cancel()).refuses(r.CONFLICT_OPEN)
    case.when(d.expire()).refuses(r.CONFLICT_OPEN)
    case.is_in("AUTHORISED", "OPEN")


def test_a_hold_stays_while_the_conflict_is_open_and_a_verdict_releases_it() -> None:
    """Ruling 5: the payment waits for a person and says so."""
    case = found(d.create(), d.held()).when(d.policy("DECLINED"))
    case.is_in("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    case.given(*d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="NOT_PAID"))
    case.when(d.resolve("NOT_PAID")).is_in("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_a_verdict_is_not_requested_twice() -> None:
    """After one verdict the window ends the attempt, but never with certainty (ruling 3), and the
    rail is asked.
    """
    case = found(d.create(), d.policy()).timer_until("CREATED_WINDOW")
    judged = d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="REPORT_WRONG")
    case.given(*judged).when(d.resolve("REPORT_WRONG"))
    case.then("ReconciliationResolved", "RailEnquiryRequested")
    case.timer_until("CREATED_WINDOW").is_in("FAILED", "UNCERTAIN")
    case.when(d.enquiry("REJECTED", "AB08")).is_in("FAILED", "NOT_PAID")


def test_a_settlement_reported_before_and_judged_opens_no_second_conflict() -> None:
    case = found(d.create(), d.policy(), d.rail("SETTLED"))
    case.given(
        *d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="SETTLED_AFTER_ALL")
    )
    case.when(d.resolve("SETTLED_AFTER_ALL")).is_in("FAILED", "PAID")
    assert not open_conflicts(case.payment)


def test_a_report_for_a_retry_that_was_lost_opens_a_conflict_once_for_each_kind() -> None:
    """Ruling 5: att_002 was created, sent and lost; FAILED must no longer say NOT_PAID."""
    case = found(*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED"), reference=d.REF2)
    case.is_in("FAILED", "NOT_PAID")
    case.when(d.rail("ALREADY_SUBMITTED", attempt=2)).then(FOUND)
    case.is_in("FAILED", "CONTRADICTED")
    case.when(d.rail("SETTLED", attempt=2)).then(FOUND)
    case.when(d.rail("ALREADY_SUBMITTED", attempt=2)).is_duplicate()
    case.given(*d.approved("RETRY")).when(d.retry()).refuses(r.CONFLICT_OPEN)
    assert open_conflicts(case.payment) == 2


def test_a_report_for_an_attempt_that_recovery_did_not_find_stays_unmatched() -> None:
    given(*d.FAILED_SAFE).when(d.rail("SETTLED", attempt=2)).is_unmatched()


def test_without_a_recovery_a_window_ends_the_payment_as_usual() -> None:
    given(d.create(), d.policy()).timer_until("CREATED_WINDOW").is_in("FAILED", "NOT_PAID")
