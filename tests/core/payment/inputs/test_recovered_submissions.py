"""After a lost log tail: what was instructed is never called unpaid for certain by itself."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment.state import open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

FOUND = "ReconciliationRequired:SUBMISSION_FOUND"


def found(*commands: Any, reference: str = d.REF) -> Case:
    """A payment as the journal still knows it; the instruction `reference` was found."""
    case = given(*commands)
    case.found = frozenset({reference})
    return case


def test_a_window_that_passes_opens_a_conflict_and_asks_the_rail_instead_of_ending_it() -> None:
    """Ruling 3: the rail may have it, whatever the recovered history says."""
    case = found(d.create(), d.policy()).timer_until("CREATED_WINDOW")
    case.then(FOUND, "RailEnquiryRequested")
    case.asks("ENQUIRE").stands("CREATED", "CONTRADICTED")
    assert case.payment.deadline is None, "no timer ends it in a conflict"
    case.given(d.enquiry("SETTLED")).stands("CREATED", "CONTRADICTED")
    assert open_conflicts(case.payment) == 2


def test_its_own_expiry_ends_nothing_either() -> None:
    case = found(d.create(expires_at=d.START + d.MINUTE), d.policy())
    case.timer_until("EXPIRES_AT")
    case.then(FOUND, "RailEnquiryRequested").stands("CREATED", "CONTRADICTED")


def test_the_same_instruction_is_given_again_when_its_inputs_say_so() -> None:
    """The reference is the same, so the adapter submits nothing twice; nobody is bothered."""
    case = found(d.create(), d.policy()).when(d.held())
    case.stands("SENT", "OPEN").given(d.rail("SETTLED")).stands("SETTLED", "PAID")
    assert not open_conflicts(case.payment)


@pytest.mark.parametrize(
    ("before", "answer", "last"),
    [
        ([d.create()], d.policy("DECLINED"), "PolicyChecked"),
        ([d.create(), d.policy()], d.deposits("HOLD", "DECLINED"), "FundsHoldDeclined"),
    ],
    ids=["policy", "funds"],
)
def test_an_answer_that_is_another_one_now_ends_it_under_an_open_conflict(
    before: list[Any], answer: Any, last: str
) -> None:
    """Ruling 3: the hold was captured long ago, so it is refused now; that is no word of the
    rail.
    """
    case = found(*before).when(answer).then(FOUND, last, "PaymentFailed", "RailEnquiryRequested")
    case.stands("FAILED", "CONTRADICTED")
    assert not case.payment.attempt.certain, "a submission was found (ruling 3)"


def test_a_cancel_and_an_expiry_before_sent_are_refused() -> None:
    future = d.START + 60 * d.MINUTE
    case = given(d.create(requested_execution_time=future), d.held(), d.policy())
    case.given(*d.approved("CANCEL")).found = frozenset({d.REF})
    case.when(d.cancel()).refuses(r.CONFLICT_OPEN)
    case.when(d.expire()).refuses(r.CONFLICT_OPEN)
    case.stands("AUTHORISED", "OPEN")


def test_a_hold_stays_while_the_conflict_is_open_and_a_verdict_lets_it_go() -> None:
    """Ruling 5: the payment waits for a person and says so."""
    case = found(d.create(), d.held()).when(d.policy("DECLINED"))
    case.stands("FAILED", "CONTRADICTED", "RELEASE_DEFERRED")
    case.given(*d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="NOT_PAID"))
    case.when(d.resolve("NOT_PAID")).stands("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_a_verdict_is_not_asked_for_twice() -> None:
    """A person has judged it once: then the window ends the attempt, but never for certain (ruling
    3), and the rail is asked.
    """
    case = found(d.create(), d.policy()).timer_until("CREATED_WINDOW")
    judged = d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="REPORT_WRONG")
    case.given(*judged).when(d.resolve("REPORT_WRONG"))
    case.then("ReconciliationResolved", "RailEnquiryRequested")
    case.timer_until("CREATED_WINDOW").stands("FAILED", "UNCERTAIN")
    case.when(d.enquiry("REJECTED", "AB08")).stands("FAILED", "NOT_PAID")


def test_a_settlement_heard_before_and_judged_opens_no_second_conflict() -> None:
    case = found(d.create(), d.policy(), d.rail("SETTLED"))
    case.given(
        *d.approved("RESOLVE_RECONCILIATION", conflict_id="cnf_001", verdict="SETTLED_AFTER_ALL")
    )
    case.when(d.resolve("SETTLED_AFTER_ALL")).stands("FAILED", "PAID")
    assert not open_conflicts(case.payment)


def test_a_report_for_a_retry_that_was_lost_opens_a_conflict_once_for_each_kind() -> None:
    """Ruling 5: att_002 was made, sent and lost; FAILED must not say NOT_PAID any more."""
    case = found(*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED"), reference=d.REF2)
    case.stands("FAILED", "NOT_PAID")
    case.when(d.rail("ALREADY_SUBMITTED", attempt=2)).then(FOUND)
    case.stands("FAILED", "CONTRADICTED")
    case.when(d.rail("SETTLED", attempt=2)).then(FOUND)
    case.when(d.rail("ALREADY_SUBMITTED", attempt=2)).is_duplicate()
    case.given(*d.approved("RETRY")).when(d.retry()).refuses(r.CONFLICT_OPEN)
    assert open_conflicts(case.payment) == 2


def test_a_report_for_an_attempt_that_nobody_found_stays_unmatched() -> None:
    given(*d.FAILED_SAFE).when(d.rail("SETTLED", attempt=2)).is_unmatched()


def test_without_a_recovery_a_window_ends_the_payment_as_ever() -> None:
    given(d.create(), d.policy()).timer_until("CREATED_WINDOW").stands("FAILED", "NOT_PAID")
