"""Settlements that come after a retry, a release or another settlement. `tests.core.payment.books`
are checked after every input.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.state import at_rest, waiting_for_person
from tests.core.payment import dsl as d
from tests.core.payment.books import Books, Watched, watched
from tests.core.payment.case import given

SETTLE_1 = d.rail("SETTLED", amount=d.AMOUNT, currency="AUD", rail_message_id="s1")
SETTLE_2 = d.rail("SETTLED", attempt=2, amount=d.AMOUNT, currency="AUD", rail_message_id="s2")
RETRIED = [*d.RETRYABLE, *d.approved("RETRY"), d.retry()]
HELD_AGAIN = [*RETRIED, d.held(2)]
SENT_AGAIN = [*HELD_AGAIN, d.policy(attempt=2)]
UNCERTAIN = [*d.MARKED, *d.approved("RETRY_UNCERTAIN", 2), d.retry()]  # its hold is transferred
UNCERTAIN_SENT = [*UNCERTAIN, d.policy(attempt=2)]
DEBITED = d.deposits("DEBIT_FORCED", "DEBITED")
CAPTURED = d.deposits("CAPTURE", "CAPTURED")


def paid_late(*before: Any) -> Watched:
    """The rail settles att_001 late, and an operator confirms it; the verdict is the decision."""
    case = watched(*before, SETTLE_1)
    assert case.payment.conflicts[-1].kind == "SETTLED_AFTER_FAILED"
    number = case.payment.approvals_made + 1
    *requested, verdict = d.judged("SETTLED_AFTER_ALL", number)
    case.given(*requested).when(verdict)
    return case


def rests(case: Watched, taken: int = d.AMOUNT, settled: int = d.AMOUNT) -> None:
    """Nothing is held, the customer bears what was settled, and no person is awaited."""
    assert case.books.totals() == (0, taken, settled)
    assert at_rest(case.payment)
    assert case.payment.deadline is None


# -- AT-16x: rejected, retried, and the first attempt settles --------------------------------------


def test_the_hold_of_an_unsent_retry_pays_the_late_settlement() -> None:
    """AT-16x: transferred and captured; the customer is not debited in addition."""
    case = paid_late(*HELD_AGAIN)
    case.then(
        "ReconciliationResolved",
        "PaymentFailed:CANCELLED",
        "FundsHoldTransferred:hold-2",
        "FundsRequested:CAPTURE",
    )
    request = case.event(e.FundsRequested)
    assert (request.funds_ref, request.amount) == (f"{d.REF}C01", d.AMOUNT)
    case.when(CAPTURED).then("FundsCaptured").is_in("FAILED", "PAID", "TRANSFERRED")
    rests(case)


@pytest.mark.parametrize("answer", ["NEVER_HELD", "RELEASED"])
def test_an_unanswered_hold_of_the_retry_is_ended_before_the_debit(answer: str) -> None:
    """AT-16x: an unanswered hold counts as held, so nothing is debited beside it."""
    case = paid_late(*RETRIED)
    case.then("ReconciliationResolved", "PaymentFailed:CANCELLED", "FundsRequested:RELEASE")
    case.when(d.deposits("RELEASE", answer, attempt=2))
    assert case.events[-1].operation == "DEBIT_FORCED"
    case.given(DEBITED)
    rests(case)


def test_an_unanswered_hold_that_comes_late_is_released_and_the_customer_debited() -> None:
    """AT-16x: HELD while its release is open."""
    case = paid_late(*RETRIED).when(d.held(2)).then("FundsHeld")
    case.when(d.deposits("RELEASE", "RELEASED", attempt=2))
    case.then("FundsReleased", "FundsRequested:DEBIT_FORCED").given(DEBITED)
    rests(case)


ENDS_OF_ATTEMPT_2: dict[str, list[Any]] = {
    "withdrawn": [d.rail("WITHDRAWN", attempt=2)],
    "recall accepted": [
        d.rail("ALREADY_SUBMITTED", "SUBMITTED", attempt=2), d.rail("RECALL_ACCEPTED", attempt=2),
    ],
    "rejected": [
        d.rail("ALREADY_SUBMITTED", "SUBMITTED", attempt=2), d.rail("REJECTED", "AC01", attempt=2),
    ],
    "not submitted": [d.rail("NOT_SUBMITTED", attempt=2)],
}  # fmt: skip


@pytest.mark.parametrize("debited_first", [True, False])
@pytest.mark.parametrize("how", ENDS_OF_ATTEMPT_2)
@pytest.mark.parametrize("before", [SENT_AGAIN, UNCERTAIN_SENT], ids=["AT-16x", "AT-16y"])
def test_a_sent_retry_keeps_its_hold_until_it_is_resolved_and_then_releases_it(
    before: list[Any], how: str, debited_first: bool
) -> None:
    """AT-16x and AT-16y: withdrawn; debited for the first; the second's hold is released."""
    case = paid_late(*before)
    case.then(
        "ReconciliationResolved",
        "PaymentFailed:CANCELLED",
        "FundsRequested:DEBIT_FORCED",
        "FundsReleaseDeferred",
    ).instructs("WITHDRAW", "DEBIT_FORCED")
    *first, last = ENDS_OF_ATTEMPT_2[how]
    if debited_first:
        case.given(DEBITED, *first).when(last)
        assert case.event(e.FundsRequested).operation == "RELEASE"
    else:
        case.given(*first, last)
        assert case.payment.attempts[1].funds == "RELEASE_DEFERRED"
        case.when(DEBITED).then("FundsDebitForced", "FundsRequested:RELEASE")
    assert not at_rest(case.payment)
    case.when(d.deposits("RELEASE", "RELEASED", attempt=2)).then("FundsReleased")
    case.is_in("FAILED", "PAID")
    rests(case)


# -- AT-16y: marked failed, retried as RETRY_UNCERTAIN, and the first attempt settles --------------


def test_the_hold_transferred_to_an_uncertain_retry_goes_back_to_the_attempt_that_paid() -> None:
    """AT-16y: the retry is unsent, so its hold pays; there is no forced debit."""
    case = paid_late(*UNCERTAIN)
    case.then(
        "ReconciliationResolved",
        "PaymentFailed:CANCELLED",
        "FundsHoldTransferred:hold-1",
        "FundsRequested:CAPTURE",
    )
    case.given(CAPTURED)
    rests(case)


def test_later_certainty_for_the_uncertain_retry_leaves_nothing_held() -> None:
    """AT-16y as reported: an enquiry after submitBefore answers "unknown": certain."""
    case = paid_late(*UNCERTAIN_SENT)
    case.given(DEBITED).later(2 * d.MINUTE)
    unknown = d.enquiry("STATUS", "UNKNOWN", adapter_stopped=True, attempt=2)
    case.when(unknown)
    assert [type(x).__name__ for x in case.events][:2] == ["NonPaymentConfirmed", "FundsRequested"]
    case.given(d.deposits("RELEASE", "RELEASED", attempt=2))
    rests(case)


@pytest.mark.parametrize("before", [SENT_AGAIN, UNCERTAIN_SENT], ids=["AT-16x", "AT-16y"])
def test_an_acknowledged_retry_keeps_its_hold_too(before: list[Any]) -> None:
    """Its recall is refused and it settles: a second settlement."""
    case = paid_late(*before, d.rail("ACCEPTED", attempt=2))
    case.given(DEBITED, d.rail("ALREADY_SUBMITTED", "SUBMITTED", attempt=2))
    case.given(d.rail("RECALL_REFUSED", attempt=2)).when(SETTLE_2)
    case.then("ReconciliationRequired:DOUBLE_SETTLEMENT")
    number = case.payment.approvals_made + 1
    *requested, verdict = d.judged("SETTLED_AFTER_ALL", number, conflict="cnf_002", attempt=2)
    case.given(*requested).when(verdict).then("ReconciliationResolved")
    assert waiting_for_person(case.payment)
    case.given(*d.approved("DEBIT_AGAIN", number + 1, attempt=2)).when(d.debit_again(2))
    case.then("FundsRequested:CAPTURE")  # its own hold pays
    case.given(d.deposits("CAPTURE", "CAPTURED", attempt=2))
    rests(case, 2 * d.AMOUNT, 2 * d.AMOUNT)


# -- holds and other attempts ----------------------------------------------------------------------


def test_a_hold_is_released_only_when_every_other_attempt_is_resolved() -> None:
    """att_002 is certainly unpaid, att_001 is not resolved: the hold stays for it."""
    case = watched(*UNCERTAIN_SENT).when(d.rail("REJECTED", "AB08", attempt=2))
    case.then("PaymentFailed", "FundsReleaseDeferred")
    assert "another attempt" in case.event(e.FundsReleaseDeferred).why
    unpaid = watched(*UNCERTAIN_SENT, d.rail("REJECTED", "AB08", attempt=2))
    unpaid.when(d.rail("NOT_SUBMITTED"))
    assert unpaid.event(e.FundsRequested).operation == "RELEASE"
    unpaid.given(d.deposits("RELEASE", "RELEASED", attempt=2))
    rests(unpaid, 0, 0)


def test_the_hold_of_a_certainly_unpaid_retry_pays_the_uncertain_first_attempt() -> None:
    """A settlement first takes its money from a hold whose attempt can no longer settle."""
    case = paid_late(*UNCERTAIN_SENT, d.rail("REJECTED", "AB08", attempt=2))
    case.then("ReconciliationResolved", "FundsHoldTransferred:hold-1", "FundsRequested:CAPTURE")
    case.given(CAPTURED)
    rests(case)


def test_a_hold_whose_release_is_open_is_never_transferred() -> None:
    """It is released first; then the customer is debited."""
    cancelled = [*HELD_AGAIN, *d.approved("CANCEL", 2), d.cancel()]
    case = paid_late(*cancelled).then("ReconciliationResolved")
    case.when(d.deposits("RELEASE", "FAILED", attempt=2)).then("FundsRequestFailed")
    case.when(d.deposits("RELEASE", "RELEASED", attempt=2))
    case.then("FundsReleased", "FundsRequested:DEBIT_FORCED").given(DEBITED)
    rests(case)


def test_a_hold_whose_release_was_refused_pays_the_late_settlement() -> None:
    """Domain §3: the refusal is certain, so the hold still exists and pays before a
    forced debit.
    """
    cancelled = [*HELD_AGAIN, *d.approved("CANCEL", 2), d.cancel()]
    case = paid_late(*cancelled, d.deposits("RELEASE", "REFUSED", attempt=2))
    case.then("ReconciliationResolved", "FundsHoldTransferred:hold-2", "FundsRequested:CAPTURE")
    case.given(CAPTURED)
    rests(case)
    own = watched(*d.FAILED_SAFE, d.deposits("RELEASE", "REFUSED"), SETTLE_1)
    *requested, verdict = d.judged("SETTLED_AFTER_ALL")
    own.given(*requested).when(verdict).then("ReconciliationResolved", "FundsRequested:CAPTURE")
    own.given(CAPTURED)
    rests(own)


def test_a_settlement_waits_for_the_answer_to_its_own_open_release() -> None:
    """Whether the hold was released or is gone, the customer is debited; nothing is taken twice."""
    for answer in (d.deposits("RELEASE", "RELEASED"), d.deposits("RELEASE", "REFUSED", code="HOLD_GONE")):  # fmt: skip  # noqa: E501
        case = paid_late(*d.FAILED_SAFE).then("ReconciliationResolved")
        case.when(answer).then("FundsReleased", "FundsRequested:DEBIT_FORCED").given(DEBITED)
        rests(case)


def test_another_amount_that_settles_late_is_taken_from_the_hold_and_the_rest_released() -> None:
    """Ruling 5: the rail's amount is the settlement."""
    less = d.rail("SETTLED", amount=d.AMOUNT - 45, currency="AUD")
    case = watched(*d.MARKED, less)
    case.given(*d.judged("AMOUNT_ACCEPTED", 2))
    case.when(d.deposits("CAPTURE", "CAPTURED", amount=d.AMOUNT - 45))
    case.then("FundsCaptured", "FundsRequested:RELEASE")
    case.given(d.deposits("RELEASE", "RELEASED", amount=45))
    rests(case, d.AMOUNT - 45, d.AMOUNT - 45)


# -- a second settlement ---------------------------------------------------------------------------


def settled_twice() -> Watched:
    """att_002 settled and was captured; then att_001 turned out to have settled too."""
    case = watched(*SENT_AGAIN, SETTLE_2, d.deposits("CAPTURE", "CAPTURED", attempt=2), SETTLE_1)
    assert case.payment.conflicts[-1].kind == "DOUBLE_SETTLEMENT"
    case.given(*d.judged("SETTLED_AFTER_ALL", 2))
    return case


def test_a_second_settlement_is_debited_only_with_an_approval_of_its_own() -> None:
    """Ruling 5: until a person approves the debit none is requested, and the payment is not at
    rest.
    """
    case = settled_twice()
    assert case.books.totals() == (0, d.AMOUNT, 2 * d.AMOUNT)
    assert (at_rest(case.payment), waiting_for_person(case.payment)) == (False, True)
    case.when(d.debit_again()).refuses(r.APPROVAL_MISSING)
    case.given(*d.approved("DEBIT_AGAIN", 3, attempt=1))
    assert case.payment.approvals[-1].amount == d.AMOUNT
    case.when(d.debit_again()).then("FundsRequested:DEBIT_FORCED").given(DEBITED)
    case.when(d.debit_again()).is_duplicate()
    rests(case, 2 * d.AMOUNT, 2 * d.AMOUNT)


def test_a_debit_of_a_second_settlement_is_not_requested_without_one() -> None:
    """Ruling 5: neither for the first settlement, nor while a conflict about it is open."""
    first = (
        watched(*d.SETTLED)
        .when(d.request_approval("DEBIT_AGAIN", attempt=1))
        .refuses(r.FUNDS_PRECONDITION)
    )
    first.when(d.debit_again()).refuses(r.FUNDS_PRECONDITION)
    case = watched(*SENT_AGAIN, SETTLE_2, d.deposits("CAPTURE", "CAPTURED", attempt=2), SETTLE_1)
    case.when(d.request_approval("DEBIT_AGAIN", attempt=1)).refuses(r.FUNDS_PRECONDITION)
    other = settled_twice()
    other.given(*d.approved("DEBIT_AGAIN", 3, attempt=1))
    other.given(d.rail("REJECTED", "AC01", attempt=2)).when(d.debit_again())
    other.refuses(r.CONFLICT_OPEN)


def test_a_second_settlement_that_comes_back_needs_no_debit() -> None:
    """Ruling 13: returned in full, the customer bears one settlement."""
    case = settled_twice()
    case.when(d.rail("RETURNED", "AC04", amount=d.AMOUNT, currency="AUD", rail_message_id="r1"))
    case.then("PaymentReturned")
    assert case.books.totals()[:2] == (0, d.AMOUNT)
    assert at_rest(case.payment)


def test_a_second_settlement_that_comes_back_in_part_is_debited_for_the_rest() -> None:
    """Rulings 5 and 13: the approval is bound to what the debit takes now."""
    case = settled_twice()
    case.given(d.rail("RETURNED", amount=5_000, currency="AUD", rail_message_id="r1"))
    case.given(*d.approved("DEBIT_AGAIN", 3, attempt=1))
    case.given(d.rail("RETURNED", amount=1_000, currency="AUD", rail_message_id="r2"))
    case.when(d.debit_again()).refuses(r.APPROVAL_OTHER_PARAMETERS)
    case.given(*d.approved("DEBIT_AGAIN", 4, attempt=1)).when(d.debit_again())
    assert case.event(e.FundsRequested).amount == d.AMOUNT - 6_000


def test_a_settlement_of_the_retry_while_the_first_is_paid_is_the_second() -> None:
    """Ruling 5: the later settlement's debit needs the approval, whatever the order of answers."""
    answers = [DEBITED, d.rail("ALREADY_SUBMITTED", "SUBMITTED", attempt=2), SETTLE_2]
    for order in permutations(answers):
        case = paid_late(*SENT_AGAIN)
        case.given(*order)
        assert case.payment.conflicts[-1].kind == "DOUBLE_SETTLEMENT"
        number = case.payment.approvals_made + 1
        case.given(*d.judged("SETTLED_AFTER_ALL", number, conflict="cnf_002", attempt=2))
        case.given(*d.approved("DEBIT_AGAIN", number + 1, attempt=2), d.debit_again(2))
        case.given(d.deposits("CAPTURE", "CAPTURED", attempt=2))
        rests(case, 2 * d.AMOUNT, 2 * d.AMOUNT)


def test_the_checker_of_these_tests_fails_on_wrong_books() -> None:
    """A debit beside a hold that can pay nothing, and money given back twice."""
    case = given(*HELD_AGAIN, SETTLE_1, *d.judged("SETTLED_AFTER_ALL", 2), CAPTURED)
    twice = [*case.history, *(x for x in case.history if isinstance(x, e.FundsHeld))]
    with pytest.raises(AssertionError, match="debited 12345 \\+ held 24690"):
        Books(twice).check()
    back = given(
        *d.CAPTURED, *d.approved("REVERSE"), d.reverse(), d.deposits("REVERSE", "REVERSED")
    )
    again = [*back.history, *(x for x in back.history if isinstance(x, e.FundsReversed))]
    with pytest.raises(AssertionError, match="given back"):
        Books(again).check()
