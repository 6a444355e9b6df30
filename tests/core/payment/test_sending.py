"""What comes with PaymentSentToRail, and what may follow it."""

from __future__ import annotations

from typing import Any

import pytest

from core.decider import Accepted, Refusal
from core.payment.instructions import RailInstruction
from tests.core.payment import dsl as d
from tests.core.payment.case import given


def test_it_is_sent_by_event_before_it_is_sent_to_the_rail() -> None:
    """OP-25: PaymentSentToRail and the instruction with its time limit come in one decision."""
    case = given(d.create(), d.policy()).when(d.held())
    case.then("FundsHeld", "PaymentAuthorised", "PaymentAttemptCreated", "PaymentSentToRail")
    case.asks("SUBMIT")
    assert isinstance(case.decision, Accepted)
    (instruction,) = case.decision.instructions
    assert isinstance(instruction, RailInstruction)
    assert instruction.submit_before == case.history[-1].submit_before > case.now


@pytest.mark.parametrize("history", [d.SENT, d.ACKNOWLEDGED], ids=["SENT", "ACKNOWLEDGED"])
def test_what_is_on_its_way_is_never_retried(history: list[Any]) -> None:
    """OP-05: the way is enquiry, mark-failed with evidence, then retry."""
    case = given(*history).when(d.retry(approval="apr_001"))
    assert isinstance(case.decision, Refusal)
