"""Rail reports in every order: each order ends in the same state or in a conflict.

Ruling 5 and row 21 of the fault matrix: callbacks come late, twice and in any order.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.decider import Accepted
from core.payment.state import money_outcome, open_conflicts
from tests.core.payment.case import Case
from tests.core.payment.dsl import AMOUNT, CANCELLED, MARKED, SENT, enquiry, never_submitted, rail

REPORTS: list[Any] = [
    rail("RECEIVED"),
    rail("ACCEPTED"),
    rail("ACCEPTED", "ACSP", rail_message_id="m1"),
    rail("SETTLED", amount=AMOUNT, currency="AUD"),
    rail("SETTLED", amount=AMOUNT - 1, currency="AUD"),
    rail("REJECTED", "AC01"),
    rail("REJECTED", "AB08", rail_message_id="m1"),
    rail("REJECTED", "ZZ99"),
    rail("REJECTED", "AM05"),
    enquiry("REJECTED", "ZZ99"),
    rail("EXPIRED", "MD20"),
    rail("EXPIRED"),
    enquiry("EXPIRED"),
    enquiry("STATUS", "PDNG"),
    never_submitted(),
    rail("WITHDRAWN"),
    rail("NOT_SUBMITTED"),
    rail("ALREADY_SUBMITTED"),
    rail("RECALL_ACCEPTED"),
    rail("RECALL_REFUSED"),
    rail("RETURNED", "AC04", amount=AMOUNT, currency="AUD"),
]
STARTS = {"SENT": SENT, "FAILED_CANCELLED": CANCELLED, "FAILED_MARKED": MARKED}
LATER_MS = 90_000  # past submitBefore, before anything is overdue


def started(name: str) -> Case:
    return Case().given(*STARTS[name]).later(LATER_MS)


BASES = {name: started(name) for name in STARTS}


@lru_cache(maxsize=4_096)
def run(start: str, order: tuple[int, ...]) -> Case:
    """The case after these reports, each given twice. The common prefix of an order is run once."""
    case, base = Case(), run(start, order[:-1]) if order else BASES[start]
    case.state, case.now, case.offset = base.state, base.now, base.offset
    for report in (REPORTS[each] for each in order[-1:]):
        decision = case.give(report)
        assert type(decision).__name__ in ("Accepted", "Duplicate", "NoEffect")
        if isinstance(decision, Accepted):
            again = case.give(report)
            assert not isinstance(again, Accepted), f"{report} twice appended {again}"
    return case


def ends(start: str, chosen: tuple[int, ...]) -> dict[Any, tuple[int, ...]]:
    found: dict[Any, tuple[int, ...]] = {}
    for order in permutations(chosen):
        end = run(start, order).payment
        if not end.conflicts_made:
            attempt = end.attempt
            sums = (attempt.held, attempt.captured, attempt.released, attempt.debited)
            found.setdefault((end.state, money_outcome(end), attempt.funds, sums), order)
        else:
            assert open_conflicts(end)
            assert money_outcome(end) == "CONTRADICTED"
    return found


def check(start: str, chosen: tuple[int, ...]) -> None:
    """Reports by their number in REPORTS."""
    found = ends(start, chosen)
    words = {
        end: [
            f"{r.kind}:{r.code}:{'enquiry' if r.via_enquiry else ''}"
            for r in (REPORTS[each] for each in order)
        ]
        for end, order in found.items()
    }
    assert len(found) <= 1, words


@pytest.mark.parametrize("size", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("start", STARTS)
def test_every_order_of_up_to_three_reports_ends_in_one_state_or_in_a_conflict(
    start: str, size: int
) -> None:
    for chosen in combinations(range(len(REPORTS)), size):
        check(start, chosen)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(list(STARTS)),
    st.lists(st.sampled_from(range(len(REPORTS))), min_size=4, max_size=5),
)
def test_every_order_of_five_reports_ends_in_one_state_or_in_a_conflict(
    start: str, chosen: list[int]
) -> None:
    check(start, tuple(chosen))
