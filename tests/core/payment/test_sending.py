"""What accompanies PaymentSentToRail, and what may follow it."""

from __future__ import annotations

from typing import Any

import pytest

from core.decider import Accepted, Refusal
from core.payment.instructions import RailInstruction
from tests.core.payment import dsl as d
from tests.core.payment.case import given


def test_the_event_and_the_rail_instruction_come_in_one_decision() -> None:
    """OP-25: PaymentSentToRail with the instruction and its time limit."""
    case = given(d.create(), d.policy()).when(d.held())
    case.then("FundsHeld", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail")
    case.instructs("SUBMIT")
    assert isinstance(case.decision, Accepted)
    (instruction,) = case.decision.instructions
    assert isinstance(instruction, RailInstruction)
    assert instruction.submit_before == case.history[-1].submit_before > case.now


@pytest.mark.parametrize("history", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_an_attempt_in_progress_is_never_retried(history: list[Any]) -> None:
    """OP-05: first enquiry, then mark-failed with evidence, then retry."""
    case = given(*history).when(d.retry(approval="apr_001"))
    assert isinstance(case.decision, Refusal)
