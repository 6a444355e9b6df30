"""Answers of Deposits Core that do not match the request: recorded, never applied (domain §3)."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.decider import Accepted
from core.payment.operator.verdicts import fitting
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

CONTRADICTION = "ReconciliationRequired:FUNDS_CONTRADICTION"
REVERSING = [*d.CAPTURED, *d.approved("REVERSE", attempt=1), d.reverse()]
RETURNED = d.rail("RETURNED", "AC04", amount=d.AMOUNT, currency="AUD", rail_message_id="m1")
DEBITING = [*d.RETRYABLE, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL")]
ASKED: dict[str, tuple[list[Any], str]] = {
    "HOLD": ([d.create(), d.policy()], "HELD"),
    "CAPTURE": (d.SETTLED, "CAPTURED"),
    "RELEASE": (d.FAILED_SAFE, "RELEASED"),
    "DEBIT_FORCED": (DEBITING, "DEBITED"),
    "REVERSE": (REVERSING, "REVERSED"),
    "CREDIT": ([*d.CAPTURED, RETURNED], "CREDITED"),
}


def money(case: Case) -> tuple[int, ...]:
    attempt = case.payment.attempt
    return (
        attempt.held,
        attempt.captured,
        attempt.released,
        attempt.debited,
        attempt.reversed,
        attempt.credited,
    )


@pytest.mark.parametrize("operation", ASKED)
@pytest.mark.parametrize("amount", [d.AMOUNT - 1, d.AMOUNT + 1, 1])
def test_an_amount_other_than_requested_is_a_conflict_and_moves_nothing(
    operation: str, amount: int
) -> None:
    """Domain §3: if Deposits Core moved another amount, it is recorded for a person's verdict."""
    before, done = ASKED[operation]
    case = given(*before)
    sums = money(case)
    case.when(d.deposits(operation, done, amount=amount)).then(CONTRADICTION).instructs()
    assert money(case) == sums
    case.when(d.deposits(operation, done, amount=amount)).is_duplicate()


@pytest.mark.parametrize("operation", ASKED)
def test_another_amount_after_the_answer_is_a_conflict_too(operation: str) -> None:
    """Domain §3: the same answer again is a duplicate; another amount is not the same answer."""
    before, done = ASKED[operation]
    case = given(*before, d.deposits(operation, done))
    sums = money(case)
    case.when(d.deposits(operation, done)).is_duplicate()
    case.when(d.deposits(operation, done, amount=d.AMOUNT - 1)).then(CONTRADICTION)
    assert money(case) == sums


def test_nothing_is_sent_on_a_hold_of_another_amount() -> None:
    """Domain §3: a hold one cent short does not count as held."""
    case = given(d.create(), d.policy())
    case.when(d.deposits("HOLD", "HELD", amount=d.AMOUNT - 1)).then(CONTRADICTION)
    case.is_in("CREATED", "CONTRADICTED").instructs()


@pytest.mark.parametrize("operation", [each for each in ASKED if each != "HOLD"])
def test_done_after_a_refusal_is_a_conflict_and_moves_nothing(operation: str) -> None:
    """Domain §3: REFUSED is certain. If Deposits Core now says that it happened, the amount may
    have moved in addition to what was requested since, so a person decides.
    """
    before, done = ASKED[operation]
    case = given(*before, d.deposits(operation, "REFUSED"))
    sums = money(case)
    case.when(d.deposits(operation, done)).then(CONTRADICTION).instructs()
    assert money(case) == sums


def fits(case: Case) -> bool:
    """Whether AMOUNT_ACCEPTED fits the last conflict."""
    conflict = case.payment.conflicts[-1]
    assert conflict.kind == "FUNDS_CONTRADICTION"
    offered = {verdict for verdict, _ in fitting(case.payment, conflict)}
    case.when(
        d.request_approval(
            "RESOLVE_RECONCILIATION", conflict_id=conflict.id, verdict="AMOUNT_ACCEPTED"
        )
    )
    if "AMOUNT_ACCEPTED" not in offered:
        case.refuses(r.VERDICT_NOT_APPLICABLE)
    return "AMOUNT_ACCEPTED" in offered and isinstance(case.decision, Accepted)


@pytest.mark.parametrize("operation", ["CAPTURE", "RELEASE", "REVERSE", "CREDIT"])
def test_no_person_accepts_more_than_can_have_moved(operation: str) -> None:
    """Ruling 5, domain §3: given back never exceeds taken, and captured or released never exceeds
    held; AMOUNT_ACCEPTED does not fit such an answer.
    """
    before, done = ASKED[operation]
    assert fits(given(*before, d.deposits(operation, done, amount=d.AMOUNT - 1)))
    assert not fits(given(*before, d.deposits(operation, done, amount=d.AMOUNT + 1)))


@pytest.mark.parametrize("operation", ASKED)
def test_no_person_takes_an_amount_a_second_time(operation: str) -> None:
    """Domain §3: an answered request has moved its money. Another amount for it is judged, never
    added.
    """
    before, done = ASKED[operation]
    answered = [d.deposits(operation, done), d.deposits(operation, done, amount=d.AMOUNT - 1)]
    assert not fits(given(*before, *answered))
