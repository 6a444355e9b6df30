"""Returns after settlement (pacs.004): ruling 13. Amounts in cents; 12,345 settled."""

from __future__ import annotations

from typing import Any

import pytest

from core import refusals as r
from core.payment import events as e
from core.payment.state import RETURNS_MAX, at_rest, open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.books import Watched, watched

REST = d.AMOUNT - 8_000


def callback(amount: int | None, name: str, code: str | None = "AC04", **changes: Any) -> Any:
    """One return, identified by its id."""
    currency = changes.pop("currency", "AUD")
    return d.rail(
        "RETURNED", code, amount=amount, currency=currency, rail_message_id=name, **changes
    )


def total(amount: int | None, code: str | None = "AC04", **changes: Any) -> Any:
    """The total returned so far, from an enquiry."""
    return d.enquiry("RETURNED", code, amount=amount, currency="AUD", **changes)


def without_id(amount: int) -> Any:
    return d.rail("RETURNED", "AC04", amount=amount, currency="AUD")


def settle_credits(case: Watched) -> int:
    """Answer every requested CREDIT; return their sum."""
    credited = 0
    for _ in range(10):
        attempt = case.payment.attempt
        open_one = next(
            (a for a in attempt.funds_requests if a.status in ("REQUESTED", "FAILED")), None
        )
        if open_one is None:
            return credited
        assert open_one.operation == "CREDIT"
        answer = d.deposits("CREDIT", "CREDITED", number=open_one.number, amount=open_one.amount)
        case.given(answer)
        credited += open_one.amount
    raise AssertionError("credits without end")


# -- how returns add up ----------------------------------------------------------------------------

ORDERS: dict[str, tuple[list[Any], int]] = {
    "5000 by callback, then the enquiry's total 5000": (
        [callback(5_000, "r1"), total(5_000)], 5_000,
    ),
    "5000 and 3000, then the total 8000": (
        [callback(5_000, "r1"), callback(3_000, "r2"), total(8_000)], 8_000,
    ),
    "the total 8000 first, then both": (
        [total(8_000), callback(5_000, "r1"), callback(3_000, "r2")], 8_000,
    ),
    "between them": ([callback(5_000, "r1"), total(8_000), callback(3_000, "r2")], 8_000),
    "a total that lags behind": (
        [callback(5_000, "r1"), callback(3_000, "r2"), total(5_000)], 8_000,
    ),
    "totals that rise": ([total(5_000), total(8_000), total(8_000)], 8_000),
    "the total first, then a third return": (
        [total(8_000), callback(5_000, "r1"), callback(3_000, "r2"), callback(1_000, "r3")], 9_000,
    ),
    "without an id it is the total": ([callback(5_000, "r1"), without_id(8_000)], 8_000),
    "equal amounts under two ids are two returns": (
        [callback(5_000, "r1"), callback(5_000, "r2")], 10_000,
    ),
    "an enquiry's id names no return": (
        [total(5_000, rail_message_id="q1"), total(8_000, rail_message_id="q2")], 8_000,
    ),
    "all of it": ([callback(d.AMOUNT, "r1")], d.AMOUNT),
}  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_returns_add_up_by_id_and_an_enquirys_total_replaces_them(order: str) -> None:
    """Ruling 13: max(sum over return ids, highest reported total); credited once, no conflict."""
    reports, back = ORDERS[order]
    case = watched(*d.CAPTURED)
    credited = 0
    for report in reports:
        case.when(report)
        credited += settle_credits(case)
    assert (credited, case.payment.conflicts_made) == (back, 0)
    assert case.books.totals() == (0, d.AMOUNT - back, d.AMOUNT)
    assert at_rest(case.payment)


@pytest.mark.parametrize(
    "again",
    [
        callback(5_000, "r1"),
        total(5_000),
        total(5_000, "MS03"),
        total(4_999, None),
        total(5_000, "MS03", rail_message_id="q1"),
        without_id(5_000),
    ],
)
def test_a_report_that_does_not_raise_the_returned_amount_is_a_duplicate(again: Any) -> None:
    """Ruling 13: whatever its code."""
    case = watched(*d.CAPTURED, callback(5_000, "r1"))
    settle_credits(case)
    case.when(again).is_duplicate()
    assert case.payment.attempt.credited == 5_000


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_a_known_return_with_another_amount_is_a_conflict(name: str) -> None:
    """Ruling 5: the same message id with other content, for the first return and every other; a
    different code alone does not matter (ruling 13).
    """
    amounts = {"r1": 5_000, "r2": 3_000}
    case = watched(*d.CAPTURED, callback(5_000, "r1"), callback(3_000, "r2"))
    settle_credits(case)
    case.when(callback(amounts[name], name, "MS03")).is_duplicate()
    case.when(callback(amounts[name] + 1, name))
    case.then("ReconciliationRequired:SAME_MESSAGE_OTHER_CONTENT")
    case.is_in("SETTLED", "CONTRADICTED")
    assert case.payment.attempt.credited == 8_000


def test_a_return_already_covered_by_a_total_is_only_noted() -> None:
    """Ruling 13: its id is remembered, so that the next return adds up."""
    case = watched(*d.CAPTURED, total(5_000))
    settle_credits(case)
    case.when(callback(5_000, "r1")).then("RailStatusReported")
    case.when(callback(5_000, "r1")).is_duplicate()
    case.when(callback(3_000, "r2")).then("PaymentReturned", "FundsRequested:CREDIT")
    assert case.event(e.FundsRequested).amount == 3_000
    assert case.event(e.PaymentReturned).total == 8_000


def test_the_state_stays_settled_and_only_a_full_return_is_returned() -> None:
    """Rulings 6 and 13."""
    case = watched(*d.CAPTURED).when(callback(8_000, "r1")).is_in("SETTLED", "PAID")
    case.given(d.deposits("CREDIT", "CREDITED", amount=8_000)).when(callback(REST, "r2"))
    case.is_in("SETTLED", "RETURNED").given(d.deposits("CREDIT", "CREDITED", number=2, amount=REST))
    assert at_rest(case.payment)
    case.when(d.request_approval("RETRY")).refuses(r.STATE_PRECONDITION)


def test_a_settlement_without_an_amount_is_for_the_instructed_amount() -> None:
    """Ruling 13: pacs.002 carries no amount."""
    case = watched(*d.SENT).when(d.rail("SETTLED"))
    assert case.event(e.PaymentSettled).amount == d.AMOUNT
    assert case.payment.attempt.settled == d.AMOUNT


# -- what is a conflict ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report", [callback(None, "r1"), total(None), callback(None, "r1", None)], ids=str
)
def test_a_return_without_an_amount_is_a_conflict_not_a_full_return(report: Any) -> None:
    """Ruling 13."""
    case = watched(*d.CAPTURED).when(report).then("ReconciliationRequired:RETURN_AMOUNT_MISSING")
    case.is_in("SETTLED", "CONTRADICTED", "CAPTURED")
    verdict = d.judged("RETURNED", amount=5_000)
    case.given(*verdict[:-1]).when(verdict[-1])
    case.then("ReconciliationResolved", "FundsRequested:CREDIT")
    assert case.event(e.FundsRequested).amount == 5_000


@pytest.mark.parametrize(
    ("before", "report"),
    [
        ([], callback(d.AMOUNT + 1, "r1")),
        ([], total(d.AMOUNT + 1)),
        ([callback(5_000, "r1")], callback(d.AMOUNT - 4_999, "r2")),
        ([callback(5_000, "r1")], without_id(d.AMOUNT + 1)),
        ([callback(d.AMOUNT, "r1")], callback(1, "r2")),
    ],
    ids=["one", "total", "sum", "without id", "after all"],
)
def test_never_more_comes_back_than_was_settled(before: list[Any], report: Any) -> None:
    """Ruling 13: a conflict, and not one cent more is credited."""
    case = watched(*d.CAPTURED, *before)
    credited = settle_credits(case)
    case.when(report).then("ReconciliationRequired:RETURN_EXCEEDS_SETTLED")
    assert (settle_credits(case), case.payment.attempt.credited) == (0, credited)
    case.given(*d.judged("SETTLED_AFTER_ALL"))  # settlement and returns stay as recorded
    assert at_rest(case.payment)
    assert case.books.totals() == (0, d.AMOUNT - credited, d.AMOUNT)


def test_the_same_full_return_five_times_is_one_return_and_four_conflicts() -> None:
    """The same full return on several channels, each with another code and id."""
    case = watched(*d.CAPTURED)
    for number, code in enumerate(("AC04", None, "Z9", "AC06", "MS03")):
        case.when(callback(d.AMOUNT, f"r{number}", code))
    returned = [x for x in case.history if isinstance(x, e.PaymentReturned)]
    assert (len(returned), open_conflicts(case.payment)) == (1, 4)
    assert settle_credits(case) == d.AMOUNT


def test_a_return_in_another_currency_is_a_separate_conflict_kind() -> None:
    """Rulings 5 and 13."""
    case = watched(*d.CAPTURED).when(callback(5_000, "r1", currency="NZD"))
    case.then("ReconciliationRequired:CURRENCY_DIFFERS").is_in("SETTLED", "CONTRADICTED")


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ([d.create()], "REPORT_BEFORE_SEND"),
        (d.SENT, "RETURNED_BEFORE_SETTLED"),
        (d.ACKNOWLEDGED, "RETURNED_BEFORE_SETTLED"),
        (d.RETRYABLE, "RETURNED_BEFORE_SETTLED"),
    ],
    ids=["CREATED", "SENT", "ACKNOWLEDGED", "FAILED"],
)
def test_a_return_of_an_unsettled_payment_is_a_conflict(before: list[Any], kind: str) -> None:
    """Ruling 5: recorded, never dropped; nothing is credited."""
    case = watched(*before).when(callback(d.AMOUNT, "r1")).then(f"ReconciliationRequired:{kind}")
    assert case.books.totals()[1] == 0


def test_settled_and_returned_in_one_verdict_enquires_for_the_amount() -> None:
    """Rulings 5 and 13: SETTLED_AFTER_ALL for a return; then the rail's total applies."""
    case = watched(*d.MARKED, callback(5_000, "r1"))
    verdict = d.judged("SETTLED_AFTER_ALL", 2)
    case.given(*verdict[:-1]).when(verdict[-1])
    case.then("ReconciliationResolved", "RailEnquiryRequested", "FundsRequested:CAPTURE")
    case.given(d.deposits("CAPTURE", "CAPTURED")).when(total(5_000))
    case.then("PaymentReturned", "FundsRequested:CREDIT")
    assert settle_credits(case) == 5_000
    assert case.books.totals() == (0, d.AMOUNT - 5_000, d.AMOUNT)


def test_the_sixty_fifth_return_is_a_conflict_and_is_not_lost() -> None:
    """Engine: what is remembered has a limit, and a rule when it is reached."""
    case = watched(*d.CAPTURED)
    for number in range(RETURNS_MAX):
        case.given(callback(1, f"r{number}"))
        settle_credits(case)
    case.when(callback(1, "r64")).then("ReconciliationRequired:RETURNS_TOO_MANY")
    assert case.payment.attempt.credited == RETURNS_MAX


# -- returned by a verdict -------------------------------------------------------------------------


def test_a_verdict_of_returned_states_an_amount_of_at_most_what_can_come_back() -> None:
    """Rulings 5 and 13: bound to its approval, and added to what was returned."""
    case = watched(*d.CAPTURED, callback(5_000, "r1"))
    settle_credits(case)
    case.given(callback(None, "r2"))
    case.when(d.resolve("RETURNED")).refuses(r.FIELD_MISSING)
    case.when(d.resolve("RETURNED", amount=d.AMOUNT - 4_999)).refuses(r.VERDICT_NOT_APPLICABLE)
    assert "AUD 73.45" in case.sentence
    words: dict[str, Any] = {"conflict_id": "cnf_001", "verdict": "RETURNED", "attempt": 1}
    too_much = d.request_approval("RESOLVE_RECONCILIATION", amount=d.AMOUNT - 4_999, **words)
    case.when(too_much).refuses(r.VERDICT_NOT_APPLICABLE)
    case.given(*d.approved("RESOLVE_RECONCILIATION", 1, amount=3_000, **words))
    case.when(d.resolve("RETURNED", amount=4_000)).refuses(r.APPROVAL_OTHER_PARAMETERS)
    case.when(d.resolve("RETURNED", amount=3_000))
    case.then("ReconciliationResolved", "FundsRequested:CREDIT")
    assert case.event(e.FundsRequested).amount == 3_000
    settle_credits(case)
    case.when(total(8_000)).is_duplicate()  # the rail's total equals the verdict's
    assert case.books.totals() == (0, REST, d.AMOUNT)


def test_a_verdict_of_returned_in_full_ends_returned() -> None:
    """Rulings 5, 6 and 13."""
    case = watched(*d.CAPTURED, d.rail("REJECTED", "AC01"))
    case.given(*d.judged("RETURNED", amount=d.AMOUNT)).is_in("SETTLED", "RETURNED")
    assert settle_credits(case) == d.AMOUNT
    assert at_rest(case.payment)
