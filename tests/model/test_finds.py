"""The model finds known defects when they are reintroduced: a judge that finds nothing proves
nothing. The only file here that changes core's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.payment import events as e
from core.payment import evolve, funds
from core.payment.flow import funds as flow_funds
from core.payment.inputs import rail as decide_rail
from core.payment.operator import funds_actions as decide_funds_actions
from core.payment.operator import verdicts
from tests.model.runner import one, seeds_of
from tests.model.step import Violation

pytestmark = pytest.mark.slow
SEED = 11
SEQUENCES_MAX = 1_000  # each defect shows within the first few hundred


def certainty_outlives_the_send(patch: pytest.MonkeyPatch) -> None:
    """A verdict NOT_PAID before the send; PaymentSentToRail keeps its certainty."""
    sent = evolve._HANDLERS[e.PaymentSentToRail]
    resolved = evolve._HANDLERS[e.ReconciliationResolved]

    def kept(new: Any, event: Any, header: Any) -> None:
        certain = new.attempts[-1].certain
        sent(new, event, header)
        new.attempts[-1].certain = certain

    def certain_only(new: Any, event: Any, header: Any) -> None:
        resolved(new, event, header)
        mine = new.attempts[header.attempt - 1]
        if event.verdict == "NOT_PAID" and mine.state in {"CREATED", "AUTHORISED"}:
            mine.outcome = None

    patch.setitem(evolve._HANDLERS, e.PaymentSentToRail, kept)
    patch.setitem(evolve._HANDLERS, e.ReconciliationResolved, certain_only)
    _allow(patch, "NOT_PAID")


def two_requests_give_back(patch: pytest.MonkeyPatch) -> None:
    """A REVERSE while an unanswered CREDIT or REVERSE will be repeated."""
    patch.setattr(decide_funds_actions, "unanswered", lambda attempt: None)


def hold_given_up(patch: pytest.MonkeyPatch) -> None:
    """A payment that ends with its HOLD unanswered requests no release by name."""
    patch.setattr(flow_funds, "_release_by_name", lambda draft, attempt, waits: False)


def debited_beside_a_hold(patch: pytest.MonkeyPatch) -> None:
    """A forced debit although another attempt's hold could pay."""
    patch.setattr(flow_funds, "can_settle", lambda attempt: True)
    patch.setattr(flow_funds, "holds_for_nothing", lambda state, attempt: False)


def released_only_when_unpaid(patch: pytest.MonkeyPatch) -> None:
    """A release waits until every other attempt is *unpaid*, not *resolved*."""
    patch.setattr(funds, "is_resolved", lambda attempt: attempt.outcome is None and attempt.certain)


def another_amount_by_verdict(patch: pytest.MonkeyPatch) -> None:
    """SETTLED_AFTER_ALL for a settlement of another amount."""
    patch.setattr(verdicts, "names_other_amount", lambda state, attempt, conflict: False)
    _allow(patch, "SETTLED_AFTER_ALL", "AMOUNT_DIFFERS")


def evidence_forgotten(patch: pytest.MonkeyPatch) -> None:
    """RECEIVED in the history, then UNKNOWN, makes non-payment certain."""
    patch.setattr(decide_rail, "rail_has_it", lambda attempt, command, rules: False)


def _allow(patch: pytest.MonkeyPatch, verdict: str, kind: str | None = None) -> None:
    """The verdict fits every conflict, or every one of a kind, in every state."""
    for cell, allowed in verdicts.VERDICT_TABLE.items():
        if kind in (None, cell[0]):
            patch.setitem(verdicts.VERDICT_TABLE, cell, (*allowed, verdict))


DEFECTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "1 certainty outlives the send": (certainty_outlives_the_send, {"claim"}),
    "2 refunded twice": (two_requests_give_back, {"requested"}),
    "3 a silent hold is given up": (hold_given_up, {"exposure", "at_rest", "liveness", "waits"}),
    "4 debited beside a hold": (debited_beside_a_hold, {"requested"}),
    "4 held for ever": (released_only_when_unpaid, {"exposure", "liveness", "requested"}),
    "5 another amount by verdict": (another_amount_by_verdict, {"verdict", "verdict_matrix"}),
    "6 evidence forgotten": (evidence_forgotten, {"claim", "certain_against_evidence"}),
}


# Laws that the same defect breaks first, excluded so that its harm is found and not its symptom.
SIGNS = frozenset({"verdict", "verdict_matrix"})


def first_violation(laws: set[str]) -> tuple[int, Violation] | None:
    """The first of the seed's sequences that breaks one of the laws."""
    without = SIGNS - laws
    for number, own_seed in enumerate(seeds_of(SEED, 0, SEQUENCES_MAX)):
        for violation in one(own_seed, without)[0].violations:
            if violation.law in laws:
                return number, violation
    return None


@pytest.mark.parametrize(("put_back", "laws"), DEFECTS.values(), ids=DEFECTS)
def test_a_reintroduced_known_defect_is_found(
    put_back: Callable[[pytest.MonkeyPatch], None],
    laws: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the issue's findings breaks a law of the model within a bounded number of
    sequences.
    """
    put_back(monkeypatch)
    assert first_violation(laws) is not None
