"""Conflicts and the verdicts that end them: finding 5 and ruling 5, in every cell.

golden/verdict_state.yaml was written by hand from the ruling; a difference is a defect in one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core import matrices
from core import refusals as r
from core.payment import events as e
from core.payment import verdicts
from core.payment.report_table import CONFLICT_KINDS, STATES
from core.payment.state import Conflict, at_rest, open_conflicts, waiting_for_person
from tests.core import dsl as d
from tests.core.dsl import Case, given

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden" / "verdict_state.yaml").read_text())
LETTERS = GOLDEN["letters"]
VERDICTS = tuple(LETTERS.values())
LESS = d.AMOUNT - 45
BACK = 1_000  # what a verdict RETURNED states here


def words(letters: str) -> tuple[str, ...]:
    return tuple(LETTERS[letter] for letter in letters)


# -- the third matrix ------------------------------------------------------------------------------


def test_the_table_that_decides_is_the_one_made_by_hand() -> None:
    """Finding 5, ruling 5: every conflict kind in every state of its attempt."""
    by_hand = {
        (kind, state): set(words(letters))
        for kind, row in GOLDEN["verdicts"].items()
        for state, letters in zip(GOLDEN["states"], row, strict=True)
    }
    assert {cell: set(found) for cell, found in verdicts.VERDICT_TABLE.items()} == by_hand
    assert matrices.VERDICT_MATRIX == verdicts.VERDICT_TABLE
    assert set(VERDICTS) == set(verdicts.VERDICTS)
    assert set(GOLDEN["verdicts"]) == set(CONFLICT_KINDS)
    assert tuple(GOLDEN["states"]) == STATES


def test_every_cell_has_a_verdict_and_not_paid_is_for_ended_attempts_only() -> None:
    """Ruling 5, of the whole table."""
    for (kind, state), found in verdicts.VERDICT_TABLE.items():
        assert "REPORT_WRONG" in found
        assert "NOT_PAID" not in found or state in ("SETTLED", "FAILED", "EXPIRED")
        amounts = kind in ("AMOUNT_DIFFERS", "CURRENCY_DIFFERS", "FUNDS_CONTRADICTION")
        assert ("SETTLED_AFTER_ALL" in found) == (not amounts)
        assert ("AMOUNT_ACCEPTED" in found) == (amounts and kind != "CURRENCY_DIFFERS")


# -- every reachable cell, by real inputs ----------------------------------------------------------

TIMERS = "until a conflict opens"  # instead of an input: deadlines come until one opens
FOUND = "found"  # instead of an input: a recovery found an instruction for att_002


def settled(amount: int = d.AMOUNT, *, currency: str = "AUD", **changes: Any) -> Any:
    return d.rail("SETTLED", amount=amount, currency=currency, **changes)


def came_back(amount: int | None, name: str = "r1") -> Any:
    return d.rail("RETURNED", "AC04", amount=amount, currency="AUD", rail_message_id=name)


def paid_by(verdict_number: int) -> list[Any]:
    """The rail settles an attempt that has ended, and a person says so."""
    return [settled(rail_message_id="late"), *d.judged("SETTLED_AFTER_ALL", verdict_number)]


WAITS = [d.create(requested_execution_time=d.START + 10 * d.MINUTE), d.policy(), d.held()]
CREATED = [d.create()]
MARK = [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()]
GIVE_UP = [*d.approved("EXPIRE"), d.expire(d.SENIOR)]
EXPIRED = [*d.SENT, d.rail("EXPIRED", "MD20", rail_message_id="x1")]
RETRIED = [*d.RETRYABLE, *d.approved("RETRY"), d.retry(), d.held(2)]
BEFORE: dict[str, list[Any]] = {
    "CREATED": CREATED, "AUTHORISED": WAITS, "SENT": d.SENT, "ACKNOWLEDGED": d.ACKNOWLEDGED,
    "SETTLED": d.CAPTURED, "FAILED": d.MARKED, "EXPIRED": EXPIRED,
}  # fmt: skip
PAID: dict[str, list[Any]] = {
    "SETTLED": d.CAPTURED,
    "FAILED": [*d.MARKED, *paid_by(2)],
    "EXPIRED": [*EXPIRED, *paid_by(1)],
}
ENDS: dict[str, list[Any]] = {
    "SETTLED": [settled(rail_message_id="end")],
    "FAILED": [d.rail("REJECTED", "AC01", rail_message_id="end")],
    "EXPIRED": [d.rail("EXPIRED", "MD20", rail_message_id="end")],
}


def all_of(before: dict[str, list[Any]], *after: Any) -> dict[str, list[Any]]:
    return {state: [*inputs, *after] for state, inputs in before.items()}


def then_ended(live: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The conflict opened while the attempt was under way, which then ended."""
    last = live["ACKNOWLEDGED"]
    return live | {state: [*last, *end] for state, end in ENDS.items()}


def same_message() -> dict[str, list[Any]]:
    first, second = d.rail("ACCEPTED", rail_message_id="m1"), settled(rail_message_id="m1")
    return {
        "CREATED": [*CREATED, first, second],
        "AUTHORISED": [*WAITS, first, second],
        "SENT": [*d.SENT, d.rail("RECEIVED", rail_message_id="m1"), first],
        "ACKNOWLEDGED": [*d.SENT, first, second],
        "SETTLED": [*d.ACKNOWLEDGED, second, d.rail("REJECTED", "AC01", rail_message_id="m1")],
        "FAILED": [*d.MARKED, d.rail("RECEIVED", rail_message_id="m1"), second],
        "EXPIRED": [*EXPIRED, settled(rail_message_id="x1")],
    }


def double_settlement() -> dict[str, list[Any]]:
    second = settled(attempt=2, rail_message_id="second")
    return {
        "FAILED": [*RETRIED, *paid_by(2), second],
        "EXPIRED": [*RETRIED, d.expire(), *paid_by(2), second],
    }


def fate_unknown() -> dict[str, list[Any]]:
    return {
        "SENT": [*d.SENT, TIMERS],
        "ACKNOWLEDGED": [*d.ACKNOWLEDGED, TIMERS],
        "SETTLED": [*d.SENT, TIMERS, settled()],
        "FAILED": [*d.MARKED, TIMERS],
        "EXPIRED": [*d.SENT, *GIVE_UP, TIMERS],
    }


def contradicted() -> dict[str, list[Any]]:
    received, denied = d.rail("RECEIVED"), d.rail("NOT_SUBMITTED")
    return {
        "SENT": [*d.SENT, received, denied],
        "ACKNOWLEDGED": [*d.SENT, received, denied, d.rail("ACCEPTED")],
        "SETTLED": [*d.SENT, received, denied, settled()],
        "FAILED": [*d.SENT, received, *MARK, denied],
        "EXPIRED": [*d.SENT, received, *GIVE_UP, denied],
    }


LIVE = {"SENT": d.SENT, "ACKNOWLEDGED": d.ACKNOWLEDGED}
RECALLED = [d.rail("RECALL_ACCEPTED"), d.rail("RECALL_REFUSED")]
TOO_MANY = [came_back(1, f"r{n}") for n in range(65)]
OTHER_ACK = d.rail("ACCEPTED", amount=LESS, currency="AUD")
DENIED = [d.rail("REJECTED", "AB08", rail_message_id="d1"), *d.judged("NOT_PAID")]
SITUATIONS: dict[str, dict[str, list[Any]]] = {
    "AMOUNT_DIFFERS": all_of(BEFORE, settled(LESS)),
    "AMOUNT_DIFFERS of an acknowledgement": {
        "SENT": [*d.SENT, OTHER_ACK],
        "FAILED": [*d.MARKED, OTHER_ACK],
    },
    "CURRENCY_DIFFERS": all_of(BEFORE, settled(currency="NZD")),
    "SAME_MESSAGE_OTHER_CONTENT": same_message(),
    "DOUBLE_SETTLEMENT": double_settlement(),
    "REPORT_BEFORE_SEND": {
        "CREATED": [*CREATED, d.rail("ACCEPTED")],
        "AUTHORISED": [*WAITS, d.rail("ACCEPTED")],
        "FAILED": [*CREATED, d.rail("ACCEPTED"), d.policy("DECLINED")],
    },
    "SETTLED_AFTER_FAILED": {"FAILED": [*d.MARKED, settled()]},
    "SETTLED_AFTER_FAILED after another amount was accepted": {
        "FAILED": [*d.MARKED, settled(LESS), settled(), *d.judged("AMOUNT_ACCEPTED", 2)]
    },
    "SETTLED_AFTER_EXPIRED": {"EXPIRED": [*EXPIRED, settled()]},
    "ACKNOWLEDGED_AFTER_FAILED": {"FAILED": [*d.MARKED, d.rail("ACCEPTED")]},
    "ACKNOWLEDGED_AFTER_EXPIRED": {"EXPIRED": [*EXPIRED, d.rail("ACCEPTED")]},
    "REPORTED_AFTER_NOT_PAID": {"SETTLED": [*d.CAPTURED, *DENIED, d.enquiry("SETTLED")]},
    "REJECTED_AFTER_SETTLED": all_of(PAID, d.rail("REJECTED", "AC01")),
    "REJECTED_AFTER_SETTLED after all came back": {
        "SETTLED": [*d.CAPTURED, came_back(d.AMOUNT), d.rail("REJECTED", "AC01")]
    },
    "RETURNED_BEFORE_SETTLED": {
        **all_of(LIVE, came_back(BACK)),
        "SETTLED": [*d.SENT, came_back(BACK), settled()],
        "FAILED": [*d.MARKED, came_back(BACK)],
        "EXPIRED": [*EXPIRED, came_back(BACK)],
    },
    "RETURN_AMOUNT_MISSING": all_of(PAID, came_back(None)),
    "RETURN_AMOUNT_MISSING after all came back": {
        "SETTLED": [*d.CAPTURED, came_back(d.AMOUNT), came_back(None, "r2")]
    },
    "RETURN_EXCEEDS_SETTLED": all_of(PAID, came_back(d.AMOUNT + 1)),
    "RETURNS_TOO_MANY": all_of(PAID, *TOO_MANY),
    "RECALLED_UNASKED": then_ended(all_of(LIVE, d.rail("RECALL_ACCEPTED"))),
    "NOT_SUBMITTED_AFTER_ACKNOWLEDGED": then_ended(
        {"ACKNOWLEDGED": [*d.ACKNOWLEDGED, d.rail("NOT_SUBMITTED")]}
    ),
    "CONTRADICTORY_END": {
        "FAILED": [*d.RETRYABLE, d.rail("EXPIRED", "MD20")],
        "EXPIRED": [*EXPIRED, d.rail("REJECTED", "AC01")],
    },
    "SUBMISSION_CONTRADICTED": contradicted(),
    "RECALL_CONTRADICTED": {
        "FAILED": [*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED"), *RECALLED],
        "EXPIRED": [*d.SENT, *GIVE_UP, *RECALLED],
    },
    "SUBMISSION_FOUND": all_of(BEFORE, FOUND, d.rail("ACCEPTED", attempt=2)),
    "FATE_UNKNOWN": fate_unknown(),
    "FUNDS_CONTRADICTION": {
        **{
            state: [*BEFORE[state], d.deposits("HOLD", "HELD", amount=LESS)]
            for state in ("CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED")
        },
        "SETTLED": [*d.SETTLED, d.deposits("CAPTURE", "CAPTURED", amount=LESS)],
        "FAILED": [*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED", amount=LESS)],
        "EXPIRED": [*EXPIRED, d.deposits("RELEASE", "RELEASED", amount=LESS)],
    },
    "FUNDS_CONTRADICTION about a hold": {
        state: [*BEFORE[state], d.deposits("HOLD", "DECLINED")]
        for state in ("SETTLED", "FAILED", "EXPIRED")
    },
}
CELLS = {
    (name, state): letters
    for name, row in GOLDEN["fits"].items()
    for state, letters in zip(GOLDEN["states"], row, strict=True)
    if letters != "-"
}


def reached(name: str, state: str) -> tuple[Case, Conflict]:
    """The payment and its conflict, the only open one of that kind."""
    case = Case()
    for each in SITUATIONS[name][state]:
        if each == FOUND:
            case.found = frozenset({d.REF2})
        elif each == TIMERS:
            case.timers_until(lambda: open_conflicts(case.payment) > 0)
        else:
            case.given(each)
    kind = name.split()[0]
    (conflict,) = (x for x in case.payment.conflicts if x.kind == kind and x.verdict is None)
    assert case.payment.attempts[conflict.attempt - 1].state == state
    return case, conflict


def stated(verdict: str) -> int | None:
    return BACK if verdict == "RETURNED" else None


def asked_for(conflict: Conflict, verdict: str) -> Any:
    """The request of an approval of the verdict."""
    fields: dict[str, Any] = {"conflict_id": conflict.id, "attempt": conflict.attempt}
    return d.ask("RESOLVE_RECONCILIATION", verdict=verdict, amount=stated(verdict), **fields)


def resolved(conflict: Conflict, verdict: str) -> Any:
    return d.resolve(verdict, conflict.id, conflict.attempt, stated(verdict))


def judge(case: Case, conflict: Conflict, verdict: str) -> Case:
    """Asked for, approved and given; the verdict is the case's decision."""
    name = f"apr_{case.payment.approvals_made + 1:03d}"
    case.given(asked_for(conflict, verdict), d.resolve_says(approval=name))
    return case.when(resolved(conflict, verdict))


def test_the_cells_that_are_reached_are_the_ones_written_down() -> None:
    """Ruling 5: no cell of the golden file without inputs, and none the other way round."""
    made = {(name, state) for name, row in SITUATIONS.items() for state in row}
    assert made == set(CELLS)


@pytest.mark.parametrize(("name", "state"), CELLS, ids=[f"{n}-{s}" for n, s in CELLS])
def test_what_fits_is_listed_with_its_consequence_and_the_rest_is_refused(
    name: str, state: str
) -> None:
    """Finding 5, ruling 5: refused both when it is asked for and when it is given."""
    fits = set(words(CELLS[name, state]))
    case, conflict = reached(name, state)
    listed = verdicts.fitting(case.payment, conflict)
    assert {verdict for verdict, _ in listed} == fits
    assert all(sentence.endswith(".") for _, sentence in listed)
    for verdict in VERDICTS:
        if verdict not in fits:
            case.when(asked_for(conflict, verdict)).refuses(r.VERDICT_NOT_APPLICABLE)
            case.when(resolved(conflict, verdict)).refuses(r.VERDICT_NOT_APPLICABLE)


FITTING = [
    pytest.param(name, state, verdict, id=f"{name}-{state}-{verdict}")
    for (name, state), letters in CELLS.items()
    for verdict in words(letters)
]


@pytest.mark.parametrize(("name", "state", "verdict"), FITTING)
def test_each_fitting_verdict_ends_the_conflict_and_does_what_it_says(
    name: str, state: str, verdict: str
) -> None:
    """Finding 5, ruling 5: in every reachable cell."""
    case, conflict = reached(name, state)
    before = case.payment.attempts[conflict.attempt - 1]
    others = open_conflicts(case.payment) - 1
    judge(case, conflict, verdict)
    made = case.event(e.ReconciliationResolved)
    assert (made.conflict_id, made.verdict, made.header.attempt) == (
        conflict.id, verdict, conflict.attempt,
    )  # fmt: skip
    assert open_conflicts(case.payment) == others
    after = case.payment.attempts[conflict.attempt - 1]
    if conflict.kind == "FUNDS_CONTRADICTION":
        assert (after.state, after.outcome, after.settled) == (
            state,
            before.outcome,
            before.settled,
        )
        return
    enquiries = [x for x in case.events if isinstance(x, e.RailEnquiryRequested)]
    match verdict:
        case "SETTLED_AFTER_ALL":
            assert after.outcome in ("PAID", "RETURNED")
            assert after.settled == (before.settled or d.AMOUNT)
        case "AMOUNT_ACCEPTED":
            assert (after.outcome, after.settled) == ("PAID", LESS)
        case "RETURNED":
            assert max(after.returns_sum, after.returns_total) == BACK + max(
                before.returns_sum, before.returns_total
            )
        case "NOT_PAID":
            assert (after.outcome, after.certain, after.settled) == ("NOT_PAID", True, 0)
        case _:
            assert (after.outcome, after.certain, after.settled) == (
                before.outcome, before.certain, before.settled,
            )  # fmt: skip
            assert [x.header.attempt for x in enquiries] == [conflict.attempt]


# -- amounts ---------------------------------------------------------------------------------------

PAID_12550 = 12_550
SENT_12550: list[Any] = [
    d.create(amount=PAID_12550), d.policy(), d.deposits("HOLD", "HELD", amount=PAID_12550),
]  # fmt: skip


def settled_12500(case: Case) -> Conflict:
    case.when(settled(12_500)).then("ReconciliationRequired:AMOUNT_DIFFERS")
    return case.payment.conflicts[-1]


def test_12500_of_12550_is_accepted_as_12500_and_never_settled_after_all() -> None:
    """Finding 5: SETTLED_AFTER_ALL would capture 12550."""
    case = given(*SENT_12550)
    conflict = settled_12500(case)
    case.when(asked_for(conflict, "SETTLED_AFTER_ALL")).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(resolved(conflict, "SETTLED_AFTER_ALL")).refuses(r.VERDICT_NOT_APPLICABLE)
    judge(case, conflict, "AMOUNT_ACCEPTED").then(
        "ReconciliationResolved", "PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE"
    )
    assert case.event(e.ReconciliationResolved).amount == 12_500
    assert case.event(e.PaymentSettled).amount == 12_500
    assert case.event(e.FundsRequested).amount == 12_500
    case.when(d.deposits("CAPTURE", "CAPTURED", amount=12_500))
    case.then("FundsCaptured", "FundsRequested:RELEASE")
    case.given(d.deposits("RELEASE", "RELEASED", amount=50)).stands("SETTLED", "PAID")
    assert at_rest(case.payment)


def test_the_amount_of_a_verdict_is_bound_to_its_approval() -> None:
    """Ruling 5, domain 4: the conflict's amount, as the request states or leaves out."""
    case = given(*SENT_12550)
    conflict = settled_12500(case)
    fields: dict[str, Any] = {"conflict_id": conflict.id, "verdict": "AMOUNT_ACCEPTED"}
    other = d.ask("RESOLVE_RECONCILIATION", amount=PAID_12550, **fields)
    case.when(other).refuses(r.VERDICT_NOT_APPLICABLE)
    assert "AUD 125.00" in case.sentence
    case.when(asked_for(conflict, "AMOUNT_ACCEPTED"))
    assert case.event(e.OperatorActionRequested).amount == 12_500


def test_another_amount_after_the_settlement_is_given_back_or_taken() -> None:
    """Ruling 5: on a terminal payment the verdict starts the funds' correction."""
    case = given(*d.CAPTURED).when(settled(LESS))
    judge(case, case.payment.conflicts[-1], "AMOUNT_ACCEPTED")
    case.then("ReconciliationResolved", "FundsRequested:CREDIT").stands("SETTLED", "PAID")
    assert case.event(e.FundsRequested).amount == 45
    more = given(*d.CAPTURED).when(settled(d.AMOUNT + 45))
    judge(more, more.payment.conflicts[-1], "AMOUNT_ACCEPTED")
    more.then("ReconciliationResolved", "FundsRequested:DEBIT_FORCED")
    assert more.event(e.FundsRequested).amount == 45


def test_a_verdict_speaks_of_the_conflicts_own_attempt() -> None:
    """Ruling 5: another attempt is refused, at the request and at the verdict."""
    case = given(*RETRIED, settled())
    fields: dict[str, Any] = {"conflict_id": "cnf_001", "verdict": "SETTLED_AFTER_ALL"}
    ask = d.ask("RESOLVE_RECONCILIATION", attempt=2, **fields)
    case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(d.resolve("SETTLED_AFTER_ALL", attempt=2)).refuses(r.VERDICT_NOT_APPLICABLE)
    assert "att_001" in case.sentence


def test_what_follows_is_said_in_amounts_of_this_payment() -> None:
    """Ruling 5: listed with the consequence before anybody chooses."""
    case, conflict = reached("RETURN_AMOUNT_MISSING", "SETTLED")
    said = dict(verdicts.fitting(case.payment, conflict))
    assert "at most AUD 123.45" in said["RETURNED"]
    case = given(*SENT_12550)
    assert (
        "AUD 125.00" in dict(verdicts.fitting(case.payment, settled_12500(case)))["AMOUNT_ACCEPTED"]
    )
    twice, conflict = reached("DOUBLE_SETTLEMENT", "FAILED")
    assert "DEBIT_AGAIN" in dict(verdicts.fitting(twice.payment, conflict))["SETTLED_AFTER_ALL"]


def test_a_conflict_that_was_only_counted_takes_report_wrong_alone() -> None:
    """Ruling 5: what it says is not known any more, so the rail is asked again."""
    case = given(*d.MARKED)
    for number in range(1, 18):
        case.when(settled(number))
    assert (len(case.payment.conflicts), open_conflicts(case.payment)) == (16, 17)
    assert [verdict for verdict, _ in verdicts.fitting(case.payment, None)] == ["REPORT_WRONG"]
    for verdict in VERDICTS:
        fields: dict[str, Any] = {"conflict_id": "cnf_017", "attempt": 1, "amount": stated(verdict)}
        if verdict != "REPORT_WRONG":
            ask = d.ask("RESOLVE_RECONCILIATION", verdict=verdict, **fields)
            case.when(ask).refuses(r.VERDICT_NOT_APPLICABLE)
            given_now = d.resolve(verdict, "cnf_017", 1, stated(verdict))
            case.when(given_now).refuses(r.VERDICT_NOT_APPLICABLE)
    *before, last = d.judged("REPORT_WRONG", 2, conflict="cnf_017")
    case.given(*before).when(last).then("ReconciliationResolved", "RailEnquiryRequested")
    assert open_conflicts(case.payment) == 16


# -- the same contradiction again ------------------------------------------------------------------

SAME, OTHER, ENQUIRY, NO_ID = "same id", "other id", "enquiry", "no id"
DUPLICATE, CONFLICT = "duplicate", "conflict"
AGAIN: dict[str, tuple[list[Any], dict[str, Any], str | None, dict[str, str]]] = {
    # before, the report, the verdict, what becomes of it when it is said again
    "settled late, open": (
        d.MARKED, {"kind": "SETTLED"}, None,
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "settled late, SETTLED_AFTER_ALL": (
        d.MARKED, {"kind": "SETTLED"}, "SETTLED_AFTER_ALL",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "settled late, NOT_PAID": (
        d.MARKED, {"kind": "SETTLED"}, "NOT_PAID",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "settled late, REPORT_WRONG": (
        d.MARKED, {"kind": "SETTLED"}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "another amount, open": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, None,
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "another amount, AMOUNT_ACCEPTED": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, "AMOUNT_ACCEPTED",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "another amount, REPORT_WRONG": (
        d.SENT, {"kind": "SETTLED", "amount": LESS}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "denied after settled, NOT_PAID": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "NOT_PAID",
        {SAME: DUPLICATE, OTHER: DUPLICATE, ENQUIRY: DUPLICATE, NO_ID: DUPLICATE},
    ),
    "denied after settled, SETTLED_AFTER_ALL": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "SETTLED_AFTER_ALL",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
    "denied after settled, REPORT_WRONG": (
        d.CAPTURED, {"kind": "REJECTED", "code": "AB08"}, "REPORT_WRONG",
        {SAME: DUPLICATE, OTHER: CONFLICT, ENQUIRY: CONFLICT, NO_ID: CONFLICT},
    ),
}  # fmt: skip
AGAIN_CELLS = [(name, how) for name, (*_, row) in AGAIN.items() for how in row]


@pytest.mark.parametrize(("name", "how"), AGAIN_CELLS, ids=[f"{n}-{h}" for n, h in AGAIN_CELLS])
def test_the_same_contradiction_again(name: str, how: str) -> None:
    """Finding 5, ruling 5: the same conflict while it is open or its verdict agrees; after a
    verdict that denies it only the same message id is a duplicate.
    """
    before, fields, verdict, row = AGAIN[name]
    fields = {"currency": "AUD"} | fields if "amount" in fields else fields
    case = given(*before, d.rail(**fields, rail_message_id="m1"))
    conflict = case.payment.conflicts[-1]
    if verdict is not None:
        judge(case, conflict, verdict)
    name_of = {SAME: "m1", OTHER: "m2", ENQUIRY: "m1", NO_ID: None}[how]
    case.when(d.rail(**fields, rail_message_id=name_of, via_enquiry=how == ENQUIRY))
    if row[how] == DUPLICATE:
        case.is_duplicate()
    else:
        new = case.event(e.ReconciliationRequired)
        assert (new.conflict_id, new.rail_message_id) == ("cnf_002", name_of)
        case.stands(case.payment.state, "CONTRADICTED")


@pytest.mark.parametrize("verdict", ["NOT_PAID", "REPORT_WRONG"])
def test_a_report_without_an_id_is_news_after_a_verdict_that_denies_it(verdict: str) -> None:
    """Ruling 5: only the same message id is a duplicate, and none is not the same."""
    case = given(*d.MARKED, settled())
    judge(case, case.payment.conflicts[-1], verdict)
    case.when(settled()).then("ReconciliationRequired:SETTLED_AFTER_FAILED")


def test_after_not_paid_an_enquiry_that_says_settled_bars_the_plain_retry() -> None:
    """Issue 10: mark-failed; SETTLED, conflict; NOT_PAID; an enquiry says SETTLED."""
    case = given(*d.MARKED, settled(rail_message_id="m1"), *d.judged("NOT_PAID", 2))
    case.given(d.deposits("RELEASE", "RELEASED")).when(d.enquiry("SETTLED"))
    case.then("ReconciliationRequired:SETTLED_AFTER_FAILED")
    case.given(*d.approved("RETRY", 3)).when(d.retry()).refuses(r.CONFLICT_OPEN)
    judge(case, case.payment.conflicts[-1], "SETTLED_AFTER_ALL")
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    case.when(d.retry()).refuses(r.ALREADY_PAID)
    assert at_rest(case.payment)


# -- REPORT_WRONG and NOT_PAID ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_not_paid_is_no_verdict_on_a_live_attempt(before: list[Any]) -> None:
    """Finding 1, ruling 5: it would be certain while the rail still moves the money."""
    case = given(*before, settled(LESS))
    conflict = case.payment.conflicts[-1]
    case.when(asked_for(conflict, "NOT_PAID")).refuses(r.VERDICT_NOT_APPLICABLE)
    case.when(resolved(conflict, "NOT_PAID")).refuses(r.VERDICT_NOT_APPLICABLE)
    assert not case.payment.attempt.certain


def test_a_verdict_approved_before_the_attempt_ended_is_given_for_its_new_state() -> None:
    """Ruling 5: what fits is asked again when the verdict is given."""
    case = given(*d.SENT, settled(LESS), d.rail("REJECTED", "AC01", rail_message_id="end"))
    conflict = case.payment.conflicts[0]
    case.given(asked_for(conflict, "NOT_PAID"), d.resolve_says())
    case.when(resolved(conflict, "NOT_PAID"))
    assert case.payment.attempt.certain
    live = given(*d.SENT, settled(LESS))
    conflict = live.payment.conflicts[0]
    live.given(asked_for(conflict, "AMOUNT_ACCEPTED"), d.resolve_says(), d.rail("ACCEPTED"))
    live.when(resolved(conflict, "AMOUNT_ACCEPTED")).refuses(r.APPROVAL_OTHER_PHASE)


@pytest.mark.parametrize("before", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_after_report_wrong_the_rails_honest_reports_apply(before: list[Any]) -> None:
    """Ruling 5: it changes nothing, asks at once, and an enquiry's right answer settles."""
    case = given(*before, settled(LESS))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").asks("ENQUIRE")
    case.stands(case.payment.state, "OPEN", "HELD")
    case.when(d.enquiry("SETTLED", amount=d.AMOUNT, currency="AUD")).stands("SETTLED", "PAID")
    assert open_conflicts(case.payment) == 0


def test_after_report_wrong_on_a_live_attempt_the_same_answer_is_a_new_conflict() -> None:
    """Issue 10: and no retry, no end by people, until it is judged."""
    case = given(*d.SENT, settled(LESS))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.when(d.enquiry("SETTLED", amount=LESS, currency="AUD"))
    case.then("ReconciliationRequired:AMOUNT_DIFFERS").stands("SENT", "CONTRADICTED")
    case.given(*d.approved("MARK_FAILED", 2, failure_reason="RAIL"))
    case.when(d.mark_failed()).refuses(r.CONFLICT_OPEN)


def test_report_wrong_of_an_ended_attempt_asks_until_the_rail_answers() -> None:
    """Ruling 5: the enquiries begin anew, and a denial then makes it certain."""
    case = given(*d.MARKED, settled(rail_message_id="m1"))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").stands("FAILED", "UNCERTAIN")
    case.timer().then("RailEnquiryRequested")
    case.when(d.enquiry("REJECTED", "AB08")).stands("FAILED", "NOT_PAID", "RELEASE_REQUESTED")


def test_report_wrong_before_the_send_lets_the_payment_go_on() -> None:
    """Ruling 5: on an unsent attempt it is the verdict for a stray report."""
    case = given(d.create(), d.policy(), d.rail("ACCEPTED"), d.held()).stands("AUTHORISED")
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    assert [type(x).__name__ for x in case.events][:2] == [
        "ReconciliationResolved", "RailEnquiryRequested",
    ]  # fmt: skip
    case.stands("SENT", "OPEN")


def test_report_wrong_after_a_settlement_leaves_it_settled() -> None:
    """Ruling 5: the denial was wrong; nothing is given back."""
    case = given(*d.CAPTURED, d.rail("REJECTED", "AC01"))
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested").stands("SETTLED", "PAID")
    assert at_rest(case.payment)


# -- the fate stays unknown ------------------------------------------------------------------------

ENQUIRIES = 9  # one at once and one after each of the eight waits


def unknown(*before: Any) -> Case:
    """Deadlines come until a conflict opens; the rail answers none of the enquiries."""
    case = given(*before)
    case.timers_until(lambda: open_conflicts(case.payment) > 0)
    assert case.event(e.ReconciliationRequired).kind == "FATE_UNKNOWN"
    return case


@pytest.mark.parametrize(
    "before", [d.MARKED, d.SENT, d.ACKNOWLEDGED, [*d.SENT, *GIVE_UP]],
    ids=["FAILED", "SENT", "ACKNOWLEDGED", "EXPIRED"],
)  # fmt: skip
def test_used_up_enquiries_ask_a_person(before: list[Any]) -> None:
    """Issue 10, ruling 3: a conflict FATE_UNKNOWN; from then on nothing is asked by itself."""
    case = unknown(*before)
    asked = [x for x in case.history if isinstance(x, e.RailEnquiryRequested)]
    assert len(asked) == ENQUIRIES
    assert waiting_for_person(case.payment)
    assert case.payment.deadline is None


@pytest.mark.parametrize(
    ("verdict", "money", "operation"),
    [("NOT_PAID", "NOT_PAID", "RELEASE"), ("SETTLED_AFTER_ALL", "PAID", "CAPTURE")],
)
def test_a_verdict_ends_an_unknown_fate_and_the_payment_comes_to_rest(
    verdict: str, money: str, operation: str
) -> None:
    """Issue 10: enquiries used up."""
    case = unknown(*d.MARKED)
    judge(case, case.payment.conflicts[-1], verdict)
    assert case.event(e.FundsRequested).operation == operation
    done = {"RELEASE": "RELEASED", "CAPTURE": "CAPTURED"}[operation]
    case.given(d.deposits(operation, done)).stands("FAILED", money)
    assert at_rest(case.payment)


def test_report_wrong_asks_the_rail_as_often_again_and_then_a_person() -> None:
    """Rulings 3 and 5: the enquiries begin anew; bounded all the same."""
    case = unknown(*d.MARKED)
    judge(case, case.payment.conflicts[-1], "REPORT_WRONG")
    case.then("ReconciliationResolved", "RailEnquiryRequested")
    case.timers_until(lambda: open_conflicts(case.payment) > 0)
    assert case.payment.conflicts[-1].id == "cnf_002"
    asked = [x for x in case.history if isinstance(x, e.RailEnquiryRequested)]
    assert len(asked) == 2 * ENQUIRIES


def test_an_unknown_fate_that_becomes_known_applies_and_is_still_judged() -> None:
    """Ruling 5: consistent reports of the current attempt apply while a conflict is open."""
    case = unknown(*d.SENT).when(settled())
    case.then("PaymentAcknowledged", "PaymentSettled", "FundsRequested:CAPTURE")
    case.stands("SETTLED", "CONTRADICTED").given(d.deposits("CAPTURE", "CAPTURED"))
    judge(case, case.payment.conflicts[-1], "SETTLED_AFTER_ALL").stands("SETTLED", "PAID")
    assert at_rest(case.payment)


def test_a_person_who_has_the_attempt_already_is_not_asked_twice() -> None:
    """Ruling 3: another conflict about the attempt is open when the enquiries are used up."""
    case = given(*d.MARKED, d.rail("ACCEPTED"))
    case.timers_until(lambda: case.payment.deadline is None)
    assert [x.kind for x in case.payment.conflicts] == ["ACKNOWLEDGED_AFTER_FAILED"]
