"""A paid payment is never treated as unpaid and never paid again (first law, rulings 2,
3 and 5).
"""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment.funds import held_cents, taken_cents
from core.payment.operator.verdicts import fitting
from core.payment.state import at_rest, certain_for_all
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

LATE = [*d.RETRYABLE, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL")]
CAME_BACK = d.rail("RETURNED", "AC04", amount=d.AMOUNT, currency="AUD", rail_message_id="m1")


@pytest.mark.parametrize(
    "paid",
    [d.SETTLED, d.CAPTURED, [*d.CAPTURED, CAME_BACK], LATE],
    ids=["settled", "captured", "returned", "settled after all"],
)
def test_a_paid_attempt_is_not_certainly_unpaid(paid: list[Any]) -> None:
    """Ruling 3: certainty is about non-payment; a paid attempt, even a returned one, has none."""
    assert not certain_for_all(given(*paid).payment)
    assert certain_for_all(given(*d.RETRYABLE).payment)


@pytest.mark.parametrize("action", ["RETRY", "RETRY_UNCERTAIN"])
def test_no_approval_allows_paying_again(action: str) -> None:
    """Ruling 5: SETTLED_AFTER_ALL makes any retry ALREADY_PAID, whatever is approved."""
    case = given(*LATE, d.deposits("DEBIT_FORCED", "DEBITED"), *d.approved(action, 2))
    case.when(d.retry()).refuses(r.ALREADY_PAID)


def risky(number: int) -> list[Any]:
    """Marked failed, then retried as RETRY_UNCERTAIN; `number` is the next approval's."""
    attempt = number // 2 + 2
    return [
        *d.approved("MARK_FAILED", number, failure_reason="RAIL"), d.mark_failed(),
        *d.approved("RETRY_UNCERTAIN", number + 1), d.retry(attempt), d.policy(attempt=attempt),
    ]  # fmt: skip


def settled_all(attempt: int, number: int) -> list[Any]:
    verdict = d.judged("SETTLED_AFTER_ALL", number, conflict=f"cnf_{attempt:03d}", attempt=attempt)
    return [d.rail("SETTLED", attempt=attempt), *verdict]


def debits_requested(case: Case) -> list[list[str]]:
    """Per attempt, the requests that take the customer's money."""
    return [
        [
            ask.operation
            for ask in attempt.funds_requests
            if ask.operation in ("CAPTURE", "DEBIT_FORCED")
        ]
        for attempt in case.payment.attempts
    ]


def taken(case: Case) -> tuple[int, ...]:
    return tuple(taken_cents(attempt) for attempt in case.payment.attempts)


def test_of_two_second_settlements_one_is_debited_without_an_approval() -> None:
    """Ruling 5: if the first settlement turns out to be wrong, the next in order takes its place;
    every further one needs a separate debit approval.
    """
    case = given(*d.SENT, *risky(1), *risky(3))
    case.given(*d.approved("MARK_FAILED", 5, failure_reason="RAIL"), d.mark_failed())
    case.given(*settled_all(1, 6), *settled_all(2, 7), *settled_all(3, 8))
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    case.given(d.rail("REJECTED", "AC01"), *d.judged("NOT_PAID", 9, conflict="cnf_004"))
    case.given(d.deposits("CREDIT", "CREDITED"))
    requested = debits_requested(case)
    assert requested[0] == ["DEBIT_FORCED"]
    assert requested[1] == ["DEBIT_FORCED"], "it is the payment's first settlement now"
    assert requested[2] == [], "it is the second one, and its debit is not approved"
    assert held_cents(case.payment.attempts[2]) == d.AMOUNT, "what is paid keeps its hold"


def test_a_settlement_confirmed_again_after_another_was_debited_needs_an_approval() -> None:
    """Ruling 5: the first settlement was denied and the second one debited in its place. If the
    first is confirmed again, it is now the second, although its attempt is earlier.
    """
    case = given(*d.SENT, *risky(1), *settled_all(1, 3), d.deposits("DEBIT_FORCED", "DEBITED"))
    case.given(*settled_all(2, 4), d.rail("REJECTED", "AC01"))
    case.given(*d.judged("NOT_PAID", 5, conflict="cnf_003"))
    case.given(d.deposits("CREDIT", "CREDITED"), d.deposits("CAPTURE", "CAPTURED", attempt=2))
    assert taken(case) == (0, d.AMOUNT)
    case.given(d.rail("SETTLED", rail_message_id="again"))
    case.given(*d.judged("SETTLED_AFTER_ALL", 6, conflict="cnf_004"))
    assert debits_requested(case)[0] == ["DEBIT_FORCED"], "a second debit is not approved"
    case.given(*d.approved("DEBIT_AGAIN", 7, attempt=1)).when(d.debit_again(1))
    assert case.events[-1].operation == "DEBIT_FORCED"


def test_a_hold_does_not_wait_for_a_debit_that_waits_for_an_approval() -> None:
    """Ruling 5, domain §3: two attempts settled, and a third is certainly unpaid. Its hold pays
    neither: the second settlement is a forced debit once a person approves it.
    """
    case = given(*d.SENT, *risky(1), *risky(3))
    case.given(*settled_all(1, 5), d.deposits("DEBIT_FORCED", "DEBITED"), *settled_all(2, 6))
    case.given(d.rail("REJECTED", "AC01", attempt=3))
    assert case.payment.attempts[2].funds_requests[-1].operation == "RELEASE"
    case.given(d.deposits("RELEASE", "RELEASED", attempt=3))
    case.given(*d.approved("DEBIT_AGAIN", 7, attempt=2)).when(d.debit_again(2))
    case.given(d.deposits("DEBIT_FORCED", "DEBITED", attempt=2))
    assert taken(case) == (d.AMOUNT, d.AMOUNT, 0)
    assert at_rest(case.payment)


def test_waived_and_returned_money_is_not_given_back_twice() -> None:
    """Ruling 13: the customer bears settled less the *greater* of returned and waived, not less
    both.
    """
    more = d.rail("SETTLED", amount=d.AMOUNT + 55, currency="AUD")
    case = given(*d.SENT, more, *d.judged("AMOUNT_ACCEPTED"))
    case.given(d.deposits("CAPTURE", "CAPTURED"), d.deposits("DEBIT_FORCED", "DEBITED", amount=55))
    case.given(*d.approved("REVERSE", 2, attempt=1), d.reverse())
    case.given(d.deposits("REVERSE", "REVERSED"))
    back: dict[str, Any] = {"amount": 5_000, "currency": "AUD", "rail_message_id": "m1"}
    case.when(d.rail("RETURNED", "AC04", **back)).then("PaymentReturned").instructs()


def test_a_declined_hold_does_not_keep_the_debit_waiting_for_its_release() -> None:
    """Domain §3: the release by name has nothing to release, so the settlement is
    debited at once.
    """
    case = given(d.create(), d.policy(), d.rail("ACCEPTED"), *d.judged("SETTLED_AFTER_ALL"))
    assert case.payment.attempt.funds_requests[-1].operation == "RELEASE"
    case.when(d.deposits("HOLD", "DECLINED")).instructs("DEBIT_FORCED")


def test_a_capture_and_a_debit_are_each_given_back_by_their_own_operation() -> None:
    """Domain §3: given back never exceeds taken: a reversal covers what was captured
    and no more.
    """
    more = d.rail("SETTLED", amount=d.AMOUNT + 55, currency="AUD")
    case = given(*d.SENT, more, *d.judged("AMOUNT_ACCEPTED"))
    case.given(d.deposits("CAPTURE", "CAPTURED"), d.deposits("DEBIT_FORCED", "DEBITED", amount=55))
    case.given(d.rail("REJECTED", "AC01"), *d.judged("NOT_PAID", 2, conflict="cnf_002"))
    case.when(d.deposits("REVERSE", "REVERSED")).then("FundsReversed", "FundsRequested")
    (credit,) = case.instructions
    assert (credit.operation, credit.amount) == ("CREDIT", 55)


def test_a_recall_that_is_accepted_after_a_paid_verdict_is_a_conflict() -> None:
    """Ruling 5: the rail took back what a person had confirmed as paid: recorded, never dropped."""
    case = given(*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED"), d.rail("SETTLED"))
    case.given(*d.judged("SETTLED_AFTER_ALL", 2)).is_in("FAILED", "PAID")
    case.when(d.rail("RECALL_ACCEPTED"))
    case.then("ReconciliationRequired:REJECTED_AFTER_SETTLED").is_in("FAILED", "CONTRADICTED")


def test_a_recovered_settlement_of_another_amount_is_not_taken_as_the_payments_amount() -> None:
    """Ruling 5: the report for an attempt whose events were lost names its own amount. With
    SETTLED_AFTER_ALL the customer would bear a different one.
    """
    case = given(*d.RETRYABLE)
    case.found = frozenset({d.REF2})
    case.given(d.rail("SETTLED", attempt=2, amount=d.AMOUNT - 50, currency="AUD"))
    (conflict,) = case.payment.conflicts
    verdicts = {verdict for verdict, _ in fitting(case.payment, conflict)}
    assert conflict.kind == "SUBMISSION_FOUND"
    assert "SETTLED_AFTER_ALL" not in verdicts
    words = {"conflict_id": conflict.id, "verdict": "SETTLED_AFTER_ALL"}
    case.when(d.request_approval("RESOLVE_RECONCILIATION", **words)).refuses(
        r.VERDICT_NOT_APPLICABLE
    )
