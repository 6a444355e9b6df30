"""Refunds, and refusals by Deposits Core. Nothing is given back twice, and never more than was
taken; `tests.core.payment.books` are checked after every input.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.state import at_rest, needs_attention, waiting_for_person
from tests.core.payment import dsl as d
from tests.core.payment.books import Watched, watched


def returned(amount: int = d.AMOUNT, number: int = 1) -> Any:
    return d.rail("RETURNED", "AC04", amount=amount, currency="AUD", rail_message_id=f"r{number}")


DENIED = [*d.CAPTURED, d.rail("REJECTED", "AB08"), *d.judged("NOT_PAID")]  # requests REVERSE
RETURNED = [*d.CAPTURED, returned()]  # requests CREDIT
REVERSED = [*d.CAPTURED, *d.approved("REVERSE"), d.reverse()]
EARLY = [*d.MARKED, *d.approved("RELEASE_EARLY", 2), d.release_early()]
GIVES_BACK: dict[str, tuple[list[Any], str, str]] = {
    "a verdict's REVERSE": (DENIED, "REVERSE", "REVERSED"),
    "a return's CREDIT": (RETURNED, "CREDIT", "CREDITED"),
    "a person's REVERSE": (REVERSED, "REVERSE", "REVERSED"),
    "an early RELEASE": (EARLY, "RELEASE", "RELEASED"),
}
ACTIONS: dict[str, Any] = {"REVERSE": d.reverse(), "RELEASE_EARLY": d.release_early()}


def approvals(case: Watched) -> int:
    return case.payment.approvals_made


# -- one open request bars every other -------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("silent", [False, True], ids=["requested", "unanswered"])
@pytest.mark.parametrize("what", GIVES_BACK)
def test_while_a_refund_request_is_open_no_other_is_approved_or_made(
    what: str, silent: bool, action: str
) -> None:
    """Domain §3: it is open until answered; FAILED and silence are no answer."""
    before, operation, _ = GIVES_BACK[what]
    answer = [d.deposits(operation, "FAILED", code="NO_ANSWER")] if silent else []
    case = watched(*before, *answer)
    case.when(d.request_approval(action, attempt=1)).refuses(r.FUNDS_PRECONDITION)
    assert not any(a.action == action and a.status == "REQUESTED" for a in case.payment.approvals)
    if before is not REVERSED and before is not EARLY:  # there the action was done: a duplicate
        case.when(ACTIONS[action]).refuses(r.FUNDS_PRECONDITION)


@pytest.mark.parametrize("silent", [False, True], ids=["requested", "unanswered"])
def test_an_approval_given_before_does_not_open_a_second_refund(silent: bool) -> None:
    """A person approved REVERSE, then the rail returned the payment: CREDIT bars REVERSE."""
    case = watched(*d.CAPTURED, *d.approved("REVERSE"), returned())
    if silent:
        case.given(d.deposits("CREDIT", "FAILED"))
    case.when(d.reverse()).refuses(r.FUNDS_PRECONDITION)
    case.given(d.deposits("CREDIT", "CREDITED")).when(d.reverse()).refuses(r.FUNDS_PRECONDITION)
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


def test_a_person_does_not_repeat_a_verdicts_reversal() -> None:
    """The reversal was approved before the verdict; only the unanswered REVERSE is repeated."""
    case = watched(*d.CAPTURED, *d.approved("REVERSE"), d.rail("REJECTED", "AB08"))
    case.given(*d.judged("NOT_PAID", 2), d.deposits("REVERSE", "FAILED"))
    case.when(d.reverse()).refuses(r.FUNDS_PRECONDITION)
    case.timer().then("FundsRequested:REVERSE")
    assert case.event(e.FundsRequested).repeat == 1
    case.given(d.deposits("REVERSE", "REVERSED")).when(d.reverse()).refuses(r.FUNDS_PRECONDITION)
    assert case.books.totals() == (0, 0, 0)
    assert at_rest(case.payment)


def test_a_person_cannot_approve_a_refund_that_is_already_open() -> None:
    """Domain §3: no other is made *or approved*; the referred request is refused."""
    case = watched(
        *d.CAPTURED, d.request_approval("REVERSE", attempt=1), d.resolve_decides("REFERRED")
    )
    case.given(returned()).when(d.person_decides()).refuses(r.FUNDS_PRECONDITION)
    case.when(d.person_decides("REJECTED")).then("OperatorActionRejected")


def test_the_rails_return_waits_for_a_reversal_that_is_open() -> None:
    """The same money is given back once, whichever request came first."""
    case = watched(*REVERSED).when(returned()).then("PaymentReturned")
    case.when(d.deposits("REVERSE", "FAILED")).then("FundsRequestFailed")
    case.when(d.deposits("REVERSE", "REVERSED")).then("FundsReversed")
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


def test_after_a_refused_reversal_the_return_is_credited_once_a_person_repeats_the_request() -> (
    None
):
    """Domain §3: REFUSED means it certainly did not happen; what is still due is given back
    once.
    """
    case = watched(*REVERSED, returned()).when(d.deposits("REVERSE", "REFUSED"))
    case.then("FundsRequestFailed")
    assert waiting_for_person(case.payment)
    case.when(d.repeat_funds("REVERSE")).then("FundsRequested:REVERSE")
    case.given(d.deposits("REVERSE", "REVERSED", number=2))
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


@pytest.mark.parametrize("what", GIVES_BACK)
def test_a_refund_request_keeps_one_reference_until_it_is_answered(what: str) -> None:
    """Domain §3: silence leaves the request open; it is repeated, never replaced by a new one."""
    before, operation, done = GIVES_BACK[what]
    case = watched(*before)
    references = set()
    for _ in range(10):
        case.given(d.deposits(operation, "FAILED"))
        assert needs_attention(case.payment)
        case.timer_until("FUNDS_REPEAT")
        references.add(case.event(e.FundsRequested).funds_ref)
    assert len(references) == 1
    case.given(d.deposits(operation, done))
    assert case.payment.attempt.funds == done


def test_a_return_is_credited_while_the_rest_of_the_hold_is_being_released() -> None:
    """Domain §3: an open request bars refunds of the *same* money; the rest of the hold was never
    taken.
    """
    less = d.AMOUNT - 50
    settled = d.rail("SETTLED", amount=less, currency="AUD")
    case = watched(*d.SENT, settled, *d.judged("AMOUNT_ACCEPTED"))
    case.when(d.deposits("CAPTURE", "CAPTURED", amount=less))
    case.then("FundsCaptured", "FundsRequested:RELEASE")
    case.given(d.deposits("RELEASE", "FAILED", amount=50)).when(returned(5_000))
    case.then("PaymentReturned", "FundsRequested:CREDIT")
    assert case.event(e.FundsRequested).amount == 5_000
    case.given(d.deposits("CREDIT", "CREDITED", amount=5_000))
    case.given(d.deposits("RELEASE", "RELEASED", amount=50))
    assert case.books.totals() == (0, less - 5_000, less)
    assert at_rest(case.payment)


def test_nothing_is_reversed_while_more_is_still_to_be_taken() -> None:
    """INT-10, domain §3, ruling 13: 45 more settled than was captured, and that debit was refused.
    It is requested again before captured money is given up.
    """
    more = d.rail("SETTLED", amount=d.AMOUNT + 45, currency="AUD", rail_message_id="more")
    case = watched(*d.CAPTURED, *d.approved("REVERSE"), more, *d.judged("AMOUNT_ACCEPTED", 2))
    case.given(d.deposits("DEBIT_FORCED", "REFUSED", amount=45))
    case.when(d.request_approval("REVERSE", attempt=1)).is_duplicate()
    case.when(d.reverse()).refuses(r.FUNDS_PRECONDITION)
    case.given(d.repeat_funds("DEBIT_FORCED"))
    case.given(d.deposits("DEBIT_FORCED", "DEBITED", number=2, amount=45))
    case.when(d.reverse()).then("FundsRequested:REVERSE")
    assert case.event(e.FundsRequested).amount == d.AMOUNT


# -- refused: a person repeats the request ---------------------------------------------------------


@pytest.mark.parametrize("what", ["a verdict's REVERSE", "a return's CREDIT"])
def test_a_person_repeats_a_refused_refund_under_the_next_number(what: str) -> None:
    """INT-10, domain §3: REFUSED closes the request; the repeat takes the operation's next
    number.
    """
    before, operation, done = GIVES_BACK[what]
    case = watched(*before).when(d.deposits(operation, "REFUSED", code="ACCOUNT_BLOCKED"))
    case.then("FundsRequestFailed")
    assert case.event(e.FundsRequestFailed).result == "REFUSED"
    assert case.payment.deadline is None
    assert (at_rest(case.payment), waiting_for_person(case.payment)) == (False, True)
    case.when(d.deposits(operation, "REFUSED", code="ACCOUNT_BLOCKED")).is_duplicate()
    case.when(d.repeat_funds(operation)).then(f"FundsRequested:{operation}")
    again = case.event(e.FundsRequested)
    assert (again.funds_ref[31:], again.repeat, again.amount) == ("02", 0, d.AMOUNT)
    assert (again.header.actor.kind, again.header.actor.id) == ("operator", d.SENIOR)
    case.given(d.deposits(operation, done, number=2))
    assert case.books.totals()[:2] == (0, 0)
    assert (at_rest(case.payment), needs_attention(case.payment)) == (True, False)


def test_a_repeated_request_is_for_the_amount_due_now() -> None:
    """Domain §3: 3,000 was refused, then 2,000 more came back: 5,000 is requested."""
    case = watched(*d.CAPTURED, returned(3_000)).given(
        d.deposits("CREDIT", "REFUSED", amount=3_000), returned(2_000, 2)
    )
    case.when(d.repeat_funds("CREDIT"))
    assert (case.event(e.FundsRequested).amount, case.event(e.FundsRequested).repeat) == (5_000, 0)
    case.given(d.deposits("CREDIT", "CREDITED", number=2, amount=5_000))
    assert case.books.totals() == (0, d.AMOUNT - 5_000, d.AMOUNT)
    assert at_rest(case.payment)


NOT_REFUSED: dict[str, tuple[list[Any], str]] = {
    "nothing was requested": (d.CAPTURED, "CREDIT"),
    "it is not answered": (RETURNED, "CREDIT"),
    "it is silent": ([*RETURNED, d.deposits("CREDIT", "FAILED")], "CREDIT"),
    "it was done": ([*RETURNED, d.deposits("CREDIT", "CREDITED")], "CREDIT"),
    "another operation": ([*RETURNED, d.deposits("CREDIT", "REFUSED")], "REVERSE"),
    "the hold was captured": (d.CAPTURED, "HOLD"),
}


@pytest.mark.parametrize("why", NOT_REFUSED)
def test_only_a_refused_request_that_is_still_due_can_be_repeated(why: str) -> None:
    """Domain §3: a repeat moves no money that the record does not call for."""
    before, operation = NOT_REFUSED[why]
    case = watched(*before)
    case.when(d.repeat_funds(operation)).refuses(r.FUNDS_PRECONDITION)


def test_a_request_that_is_no_longer_due_is_not_repeated() -> None:
    """Domain §3: the refused reversal is overtaken by an accepted settlement."""
    case = watched(*DENIED, d.deposits("REVERSE", "REFUSED"))
    case.given(d.enquiry("SETTLED", rail_message_id="s9"))
    case.given(*d.judged("SETTLED_AFTER_ALL", 2, conflict="cnf_002"))
    case.when(d.repeat_funds("REVERSE")).refuses(r.FUNDS_PRECONDITION)
    assert case.books.totals() == (0, d.AMOUNT, d.AMOUNT)
    assert at_rest(case.payment)


def test_who_may_repeat_a_request_and_which() -> None:
    """Domain §4 and §5: a senior operator, for a known operation and attempt, before notAfter."""
    case = watched(*RETURNED, d.deposits("CREDIT", "REFUSED"))
    case.when(d.repeat_funds("CREDIT", person=d.OPS)).refuses(r.MISSING_ROLE)
    case.when(d.repeat_funds("REFUND")).refuses(r.FIELD_INVALID)
    case.when(d.repeat_funds("CREDIT", 2)).refuses(r.NO_SUCH_ATTEMPT)
    late = d.repeat_funds("CREDIT")
    late = msgspec.structs.replace(late, operator=d.by(d.SENIOR, not_after=d.START - 1))
    case.when(late).refuses(r.COMMAND_EXPIRED)
    watched().when(d.repeat_funds("CREDIT")).refuses(r.NOT_FOUND)


def test_the_hundredth_request_of_an_operation_is_refused() -> None:
    """Engine: every counter has a limit; a fundsRef has two digits."""
    case = watched(*RETURNED, d.deposits("CREDIT", "REFUSED"))
    for number in range(2, 100):
        case.given(d.repeat_funds("CREDIT"), d.deposits("CREDIT", "REFUSED", number=number))
    case.when(d.repeat_funds("CREDIT")).refuses(r.LIMIT_REACHED)


# -- partial returns -------------------------------------------------------------------------------


def test_partial_returns_are_credited_one_after_the_other() -> None:
    """Ruling 13: 5,000 and 3,000 of 12,345; the second waits for the answer to the first."""
    case = (
        watched(*d.CAPTURED).when(returned(5_000)).then("PaymentReturned", "FundsRequested:CREDIT")
    )
    assert case.event(e.FundsRequested).amount == 5_000
    case.when(returned(3_000, 2)).then("PaymentReturned")
    case.when(d.deposits("CREDIT", "CREDITED", amount=5_000))
    case.then("FundsCredited", "FundsRequested:CREDIT")
    second = case.event(e.FundsRequested)
    assert (second.funds_ref[31:], second.amount) == ("02", 3_000)
    case.given(d.deposits("CREDIT", "CREDITED", number=2, amount=3_000))
    assert case.books.totals() == (0, d.AMOUNT - 8_000, d.AMOUNT)
    assert at_rest(case.payment)
    case.is_in("SETTLED", "PAID")


def test_after_a_partial_return_a_person_reverses_the_rest_and_no_more() -> None:
    """Ruling 13: the customer bears max(0, settled - max(returned, waived))."""
    case = watched(*d.CAPTURED, returned(5_000), d.deposits("CREDIT", "CREDITED", amount=5_000))
    case.given(*d.approved("REVERSE")).when(d.reverse()).then("FundsRequested:REVERSE")
    assert case.event(e.FundsRequested).amount == d.AMOUNT - 5_000
    case.given(d.deposits("REVERSE", "REVERSED", amount=d.AMOUNT - 5_000))
    case.when(returned(7_345, 2)).then("PaymentReturned")  # the rest comes back: already given
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


def test_a_reversal_approved_for_another_amount_is_not_made() -> None:
    """Domain §4: the approval is bound to the amount captured and not yet given back."""
    case = watched(*d.CAPTURED, *d.approved("REVERSE"))
    case.given(returned(5_000), d.deposits("CREDIT", "CREDITED", amount=5_000))
    case.when(d.reverse()).refuses(r.APPROVAL_OTHER_PARAMETERS)


def test_what_a_person_reversed_is_not_taken_again() -> None:
    """Ruling 13: waived; a later partial return gives nothing more back."""
    case = watched(*REVERSED, d.deposits("REVERSE", "REVERSED"))
    assert at_rest(case.payment)
    case.when(returned(5_000)).then("PaymentReturned")
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


def test_a_return_of_money_that_was_debited_by_force_is_credited() -> None:
    """RELEASE_EARLY, then settled, then returned."""
    case = watched(*EARLY, d.deposits("RELEASE", "RELEASED"), d.rail("SETTLED"))
    case.given(*d.judged("SETTLED_AFTER_ALL", 3), d.deposits("DEBIT_FORCED", "DEBITED"))
    case.when(returned()).then("PaymentReturned", "FundsRequested:CREDIT")
    case.given(d.deposits("CREDIT", "CREDITED")).is_in("FAILED", "RETURNED", "CREDITED")
    assert case.books.totals() == (0, 0, d.AMOUNT)
    assert at_rest(case.payment)


def test_a_return_before_the_debit_was_answered_is_credited_after_it() -> None:
    """Taken first, then given back, each once."""
    case = watched(*d.SETTLED).when(returned()).then("PaymentReturned")
    case.when(d.deposits("CAPTURE", "CAPTURED")).then("FundsCaptured", "FundsRequested:CREDIT")
    case.given(d.deposits("CREDIT", "CREDITED"))
    assert case.books.totals() == (0, 0, d.AMOUNT)
    gone = watched(*d.SETTLED, returned()).when(d.deposits("CAPTURE", "REFUSED", code="HOLD_GONE"))
    gone.then("FundsRequestFailed", "FundsReleased")  # returned in full: nothing is debited
    assert at_rest(gone.payment)
