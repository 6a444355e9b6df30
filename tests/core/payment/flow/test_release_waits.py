"""While a conflict is open no hold is released automatically (domain §3, ruling 5)."""

from __future__ import annotations

from core import refusals as r
from core.payment.funds import held_cents
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given

STRAY = d.rail("ACCEPTED")


def requested(case: Case) -> list[str]:
    return [event.operation for event in case.history if type(event).__name__ == "FundsRequested"]


def test_the_hold_of_a_failed_attempt_waits_for_the_verdict() -> None:
    """Ruling 5: the rail contradicts the end; money that it may have moved stays blocked."""
    case = given(*d.MARKED, d.rail("SETTLED"))
    case.given(d.enquiry("REJECTED", "AC01"))
    assert requested(case) == ["HOLD"]
    assert held_cents(case.payment.attempt) == d.AMOUNT
    case.given(*d.judged("NOT_PAID", 2))
    assert requested(case) == ["HOLD", "RELEASE"]


def test_the_rest_of_a_hold_is_released_only_without_a_conflict() -> None:
    """Domain §3, ruling 5: less settled than was held. The rest is released, but not while the rail
    contradicts itself.
    """
    less = d.rail("SETTLED", amount=d.AMOUNT - 50, currency="AUD")
    denied = d.rail("REJECTED", "AC01")
    case = given(*d.SENT, less, *d.judged("AMOUNT_ACCEPTED"), denied)
    case.given(d.deposits("CAPTURE", "CAPTURED", amount=d.AMOUNT - 50))
    assert held_cents(case.payment.attempt) == 50
    assert requested(case) == ["HOLD", "CAPTURE"], "a conflict is open: the rail denies it"
    case.given(*d.judged("REPORT_WRONG", 2, conflict="cnf_002"))
    assert requested(case) == ["HOLD", "CAPTURE", "RELEASE"]
    assert case.payment.attempt.funds_requests[-1].amount == 50


def test_a_hold_that_can_never_be_captured_waits_for_the_verdict() -> None:
    """Domain §3: the payment was captured once and given back, so the second attempt's settlement
    is a forced debit after its hold is released. Neither happens while a conflict is open.
    """
    case = given(*d.MARKED, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL", 2))
    case.given(d.deposits("CAPTURE", "CAPTURED"), d.rail("REJECTED", "AB08"))
    case.given(*d.judged("NOT_PAID", 3, conflict="cnf_002"), d.deposits("REVERSE", "REVERSED"))
    case.given(*d.approved("RETRY", 4), d.retry(), d.policy(attempt=2), d.held(2))
    case.is_in("SENT")
    less = d.rail("SETTLED", attempt=2, amount=d.AMOUNT - 1, currency="AUD")
    case.given(less, d.rail("SETTLED", attempt=2)).is_in("SETTLED", "CONTRADICTED")
    made = ["HOLD", "CAPTURE", "REVERSE", "HOLD"]
    assert requested(case) == made, "the rail's word is in question"
    case.given(*d.judged("REPORT_WRONG", 5, conflict="cnf_003", attempt=2))
    assert requested(case) == [*made, "RELEASE"]
    case.given(d.deposits("RELEASE", "RELEASED", attempt=2))
    assert requested(case) == [*made, "RELEASE", "DEBIT_FORCED"]


def test_an_unanswered_hold_is_not_released_by_name_under_a_conflict() -> None:
    """Ruling 5, domain §3: the release that names the hold waits for the verdict too."""
    case = given(d.create(), d.policy(), STRAY, *d.judged("SETTLED_AFTER_ALL"))
    assert requested(case) == ["HOLD", "RELEASE"]
    other = d.rail("SETTLED", amount=d.AMOUNT - 1, currency="AUD")
    case = given(d.create(), d.policy(), STRAY, other, *d.judged("SETTLED_AFTER_ALL"))
    assert requested(case) == ["HOLD"], "the second conflict is open"
    case.given(*d.judged("REPORT_WRONG", 2, conflict="cnf_002"))
    assert requested(case) == ["HOLD", "RELEASE"]


def test_an_approved_early_release_waits_for_an_open_conflict() -> None:
    """Ruling 5: while a conflict is open no early release; the approval stays unused."""
    case = given(*d.MARKED, *d.approved("RELEASE_EARLY", 2, attempt=1), d.rail("SETTLED"))
    case.when(d.release_early()).refuses(r.CONFLICT_OPEN)
    assert requested(case) == ["HOLD"]
    assert held_cents(case.payment.attempt) == d.AMOUNT
    case.given(*d.judged("REPORT_WRONG", 3)).when(d.release_early()).instructs("RELEASE")


def test_the_rest_of_a_hold_whose_capture_is_reversed_is_released_before_another_debit() -> None:
    """Domain §3: debited plus held never exceeds what settled. The retry was captured in part but
    is not paid after all; the first attempt settled. Its debit waits for the reversal and the
    release.
    """
    taken = d.AMOUNT - 50
    case = given(*d.MARKED, *d.approved("RETRY_UNCERTAIN", 2), d.retry(), d.policy(attempt=2))
    case.given(d.rail("SETTLED", attempt=2, amount=taken, currency="AUD"))
    case.given(*d.judged("AMOUNT_ACCEPTED", 3, attempt=2))
    case.given(d.rail("REJECTED", "AB08", attempt=2), d.rail("SETTLED", amount=d.AMOUNT))
    case.given(d.deposits("CAPTURE", "CAPTURED", attempt=2, amount=taken))
    case.given(*d.judged("NOT_PAID", 4, conflict="cnf_002", attempt=2))
    assert requested(case)[-1] == "REVERSE"
    case.given(*d.judged("SETTLED_AFTER_ALL", 5, conflict="cnf_003"))
    assert requested(case)[-1] == "REVERSE", "50 cents are held: nothing is debited beside them"
    case.when(d.deposits("REVERSE", "REVERSED", attempt=2, amount=taken))
    case.then("FundsReversed", "FundsRequested:RELEASE")
    case.when(d.deposits("RELEASE", "RELEASED", attempt=2, amount=50))
    case.then("FundsReleased", "FundsRequested:DEBIT_FORCED")
