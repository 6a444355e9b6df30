"""Which verdict fits which conflict: every cell of ruling 5.

golden/verdict_state.yaml was written by hand from the ruling; a difference is a defect in one of
them.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from core import refusals as r
from core.closed_sets import ConflictKind
from core.payment import events as e
from core.payment.operator import verdicts
from core.payment.report_table import STATES
from core.payment.state import open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.case import Case
from tests.core.payment.conflicts import (
    BACK,
    CELLS,
    GOLDEN,
    LESS,
    SITUATIONS,
    TIMERS,
    VERDICTS,
    approval_request,
    came_back,
    judge,
    reached,
    resolved,
    settled,
    words,
)

# -- the third matrix ------------------------------------------------------------------------------


def test_the_table_in_the_code_equals_the_handwritten_one() -> None:
    """Ruling 5: every conflict kind in every state of its attempt."""
    by_hand = {
        (kind, state): set(words(letters))
        for kind, row in GOLDEN["verdicts"].items()
        for state, letters in zip(GOLDEN["states"], row, strict=True)
    }
    assert {cell: set(found) for cell, found in verdicts.VERDICT_TABLE.items()} == by_hand
    assert set(VERDICTS) == set(verdicts.VERDICTS)
    assert set(GOLDEN["verdicts"]) == set(get_args(ConflictKind))
    assert tuple(GOLDEN["states"]) == STATES


def test_every_cell_has_a_verdict_and_not_paid_fits_ended_attempts_only() -> None:
    """Ruling 5, for the whole table."""
    for (kind, state), found in verdicts.VERDICT_TABLE.items():
        assert "REPORT_WRONG" in found
        assert "NOT_PAID" not in found or state in ("SETTLED", "FAILED", "EXPIRED")
        amounts = kind in ("AMOUNT_DIFFERS", "CURRENCY_DIFFERS", "FUNDS_CONTRADICTION")
        assert ("SETTLED_AFTER_ALL" in found) == (not amounts)
        assert ("AMOUNT_ACCEPTED" in found) == (amounts and kind != "CURRENCY_DIFFERS")


# -- every reachable cell, by real inputs ----------------------------------------------------------


REPORTED_NEXT = [
    d.rail(kind, code, attempt=attempt, via_enquiry=via_enquiry, rail_message_id="next")
    for attempt in (1, 2)
    for via_enquiry in (False, True)
    for kind, code in {
        "RECEIVED": None, "ACCEPTED": None, "SETTLED": None, "REJECTED": "AC01", "EXPIRED": "MD20",
        "STATUS": "PDNG", "WITHDRAWN": None, "NOT_SUBMITTED": None,
        "ALREADY_SUBMITTED": "SUBMITTED", "RECALL_ACCEPTED": None, "RECALL_REFUSED": None,
    }.items()
]  # fmt: skip
NEXT: list[list[Any]] = [
    [],
    *([report] for report in REPORTED_NEXT),
    [settled(LESS, rail_message_id="next")],
    [settled(currency="NZD", rail_message_id="next")],
    [came_back(1, "next")],
    [came_back(None, "next")],
    [came_back(d.AMOUNT + 1, "next")],
    [d.never_submitted()],
    *([d.deposits("HOLD", result)] for result in ("HELD", "DECLINED")),
    *([d.deposits("CAPTURE", "CAPTURED", amount=amount)] for amount in (d.AMOUNT, LESS)),
    *([d.deposits("RELEASE", "RELEASED", amount=amount)] for amount in (d.AMOUNT, LESS)),
    [d.policy("DECLINED")],
    [d.policy(), d.held()],
    [TIMERS],
]


def cells_after(case: Case, inputs: list[Any]) -> set[tuple[str, str]]:
    """The open conflicts after the inputs: kind, and state of the attempt."""
    after = Case()
    after.state, after.now, after.offset, after.found = (
        case.state,
        case.now,
        case.offset,
        case.found,
    )
    after.later(2 * d.MINUTE)
    for each in inputs:
        if each != TIMERS:
            after.give(each)
        elif after.payment.deadline is not None:
            after.timer()
    payment = after.payment
    is_open = (x for x in payment.conflicts if x.verdict is None)
    return {(x.kind, payment.attempts[x.attempt - 1].state) for x in is_open}


def test_the_reachable_cells_are_the_handwritten_ones() -> None:
    """Ruling 5: in every situation, each input that may come next leaves the open conflicts in
    cells with handwritten verdicts; and each such cell is reached.
    """
    made = {(name, state) for name, row in SITUATIONS.items() for state in row}
    assert made == set(CELLS)
    found: set[tuple[str, str]] = set()
    for name, state in CELLS:
        case, _ = reached(name, state)
        for inputs in NEXT:
            found |= cells_after(case, inputs)
    assert found == {(name.split()[0], state) for name, state in CELLS}
    assert {kind for kind, _ in found} == set(get_args(ConflictKind))


@pytest.mark.parametrize(("name", "state"), CELLS, ids=[f"{n}-{s}" for n, s in CELLS])
def test_what_fits_is_listed_with_its_consequence_and_the_rest_is_refused(
    name: str, state: str
) -> None:
    """Ruling 5: refused when it is requested and when it is given."""
    fits = set(words(CELLS[name, state]))
    case, conflict = reached(name, state)
    listed = verdicts.fitting(case.payment, conflict)
    assert {verdict for verdict, _ in listed} == fits
    assert all(sentence.endswith(".") for _, sentence in listed)
    for verdict in VERDICTS:
        if verdict not in fits:
            case.when(approval_request(conflict, verdict)).refuses(r.VERDICT_NOT_APPLICABLE)
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
    """Ruling 5, for every reachable cell."""
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
