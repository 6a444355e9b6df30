"""Parked payments, impossible histories, and bytes that are no state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core import refusals as r
from core.payment import commands as c
from core.payment.decide import suspend
from core.payment.evolve import evolve
from core.payment.state import (
    CorruptHistory,
    pack,
    unpack,
)
from tests.core.payment import dsl as d
from tests.core.payment.case import given


def test_a_parked_payment_is_resumed_under_dual_control() -> None:
    """D5: while parked, inputs are not decided; after the fix the outstanding work follows."""
    case = given(d.create(), d.held())
    accepted = suspend(case.payment, case.context(d.policy()), "KeyError in decide")
    case.state = accepted.state
    assert case.payment.parked
    assert case.payment.deadline is None
    assert [type(x).__name__ for x in accepted.events] == ["ProcessingSuspended"]
    case.when(d.policy()).has_no_effect(r.PARKED)
    alone = c.ResumeProcessing(
        header=d.head(), operator=d.by(d.ADMIN), requested_by=d.ADMIN, reason="mended"
    )
    case.when(alone).refuses(r.SELF_APPROVAL)
    case.when(
        c.ResumeProcessing(
            header=d.head(), operator=d.by(d.ADMIN), requested_by="adm_002", reason="mended"
        )
    )
    case.then("ProcessingResumed").when(d.policy()).is_in("SENT")


def test_an_impossible_history_is_corrupt() -> None:
    """OP-14: a gap, a repetition, another payment's event or time going back is never repaired by
    guessing.
    """
    history = given(*d.CAPTURED).history
    state = None
    for event in history[:5]:
        state = evolve(state, event)
    following = history[5]
    for wrong in (
        history[4],
        history[6],
        altered(following, payment_intent_id="pi_" + "a" * 26),
        altered(following, decided_at=d.START - 1),
        altered(following, rule_set=0),
        altered(following, state_after="SETTLED"),
        altered(following, attempt=2),
    ):
        with pytest.raises(CorruptHistory):
            evolve(state, wrong)
    with pytest.raises(CorruptHistory):
        evolve(None, following)
    assert evolve(state, following).sequence == 6


def altered(event: Any, **header: Any) -> Any:
    return msgspec.structs.replace(event, header=msgspec.structs.replace(event.header, **header))


def test_packed_bytes_that_are_no_state_raise_value_error() -> None:
    """A corrupt store never yields half a payment."""
    packed = pack(given(*d.CAPTURED).payment)
    for wrong in (b"", packed[:-3], b"\xc1", packed[1:]):
        with pytest.raises(ValueError):
            unpack(wrong)
