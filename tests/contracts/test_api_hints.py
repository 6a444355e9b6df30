"""Why a payment needs attention, told by its state alone."""

from __future__ import annotations

from typing import Any

import pytest

from api.views_hints import why_attention
from core.payment.state import needs_attention
from tests.core import dsl as d
from tests.core.dsl import given

SETTLED_LATE = [*d.RETRYABLE, d.rail("SETTLED"), *d.judged("SETTLED_AFTER_ALL")]


def why(*commands: Any) -> list[str]:
    case = given(*commands)
    assert needs_attention(case.payment)
    return why_attention(case.payment, case.payment.decided_at)


def test_a_forced_debit_that_was_only_just_asked_for_is_not_silence() -> None:
    """Deposits Core has had no time to answer: what people should see is the debit itself."""
    assert why(*SETTLED_LATE) == ["FUNDS_FORCED"]


def test_a_forced_debit_whose_answer_is_overdue_is_silence_too() -> None:
    """Asked for again after the rules' first wait."""
    case = given(*SETTLED_LATE)
    case.timer_until("FUNDS_REPEAT")
    assert why_attention(case.payment, case.payment.decided_at) == ["FUNDS_FORCED", "FUNDS_SILENT"]
    case.given(d.deposits("DEBIT_FORCED", "DEBITED"))
    assert not needs_attention(case.payment)


@pytest.mark.parametrize("operation", ["CAPTURE", "RELEASE"])
def test_an_ordinary_request_is_silent_only_once_it_was_asked_for_again(operation: str) -> None:
    """Domain, money and funds: silence, not waiting, needs people."""
    case = given(*(d.SETTLED if operation == "CAPTURE" else d.FAILED_SAFE))
    assert not needs_attention(case.payment)
    case.timer_until("FUNDS_REPEAT")
    assert why_attention(case.payment, case.payment.decided_at) == ["FUNDS_SILENT"]


def test_an_unreadable_answer_is_silence_at_once() -> None:
    """The adapter had tried for its whole time before it said so."""
    assert why(*d.SETTLED, d.deposits("CAPTURE", "FAILED")) == ["FUNDS_SILENT"]
    assert why(*SETTLED_LATE, d.deposits("DEBIT_FORCED", "FAILED")) == [
        "FUNDS_FORCED",
        "FUNDS_SILENT",
    ]
