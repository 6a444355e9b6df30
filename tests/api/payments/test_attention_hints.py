"""Why a payment needs attention, derived from its state alone."""

from __future__ import annotations

from typing import Any

import pytest

from api.payments.views_hints import next_actions, waiting_for, why_attention
from core.payment.state import needs_attention
from tests.core.payment import dsl as d
from tests.core.payment.case import given

pytestmark = pytest.mark.slow

SETTLED_LATE = [*d.RETRYABLE, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL")]


def why(*commands: Any) -> list[str]:
    case = given(*commands)
    assert needs_attention(case.payment)
    return why_attention(case.payment, case.payment.decided_at)


def test_a_forced_debit_just_requested_is_not_called_unanswered() -> None:
    """Deposits Core has had no time to answer: the hint is the debit itself."""
    assert why(*SETTLED_LATE) == ["FUNDS_FORCED"]


def test_a_forced_debit_whose_answer_is_overdue_is_called_unanswered_too() -> None:
    """It was repeated after the rules' first wait."""
    case = given(*SETTLED_LATE)
    case.timer_until("FUNDS_REPEAT")
    assert why_attention(case.payment, case.payment.decided_at) == ["FUNDS_FORCED", "FUNDS_SILENT"]
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    assert not needs_attention(case.payment)


@pytest.mark.parametrize("operation", ["CAPTURE", "RELEASE"])
def test_an_ordinary_request_is_unanswered_only_once_it_was_repeated(operation: str) -> None:
    """Domain, money and funds: silence needs people, waiting does not."""
    case = given(*(d.SETTLED if operation == "CAPTURE" else d.FAILED_SAFE))
    assert not needs_attention(case.payment)
    case.timer_until("FUNDS_REPEAT")
    assert why_attention(case.payment, case.payment.decided_at) == ["FUNDS_SILENT"]


def test_an_unreadable_answer_is_unanswered_at_once() -> None:
    """The adapter had already retried for its whole time."""
    assert why(*d.SETTLED, d.deposits("CAPTURE", "FAILED")) == ["FUNDS_SILENT"]
    assert why(*SETTLED_LATE, d.deposits("DEBIT_FORCED", "FAILED")) == [
        "FUNDS_FORCED",
        "FUNDS_SILENT",
    ]


TWICE = [
    *(*d.RETRYABLE, *d.approved("RETRY"), d.retry(), d.held(2), d.policy(attempt=2)),
    *(d.rail("SETTLED", attempt=2), d.deposits("CAPTURE", "CAPTURED", attempt=2)),
    *(d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL", 2)),
]


def test_a_second_settlement_without_a_debit_says_so() -> None:
    """Ruling 5: SETTLED_AFTER_ALL debits it only with a separate approval. No answer is missing: a
    person must decide.
    """
    assert why(*TWICE) == ["SECOND_SETTLEMENT"]
    case = given(*TWICE)
    now_ms = case.payment.decided_at
    assert waiting_for(case.payment, now_ms) == "DEBIT_DECISION"
    assert "DEBIT_AGAIN" in next_actions(case.payment)


def test_a_second_settlement_with_an_approved_debit_no_longer_says_so() -> None:
    case = given(*TWICE, *d.approved("DEBIT_AGAIN", 3, attempt=1), d.debit_again())
    now_ms = case.payment.decided_at
    assert why_attention(case.payment, now_ms) == ["FUNDS_FORCED"]
    assert waiting_for(case.payment, now_ms) == "DEPOSITS"
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    assert not needs_attention(case.payment)
