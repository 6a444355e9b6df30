"""The trace of a payment (domain §10): an input without a trace continues that of the creation."""

from __future__ import annotations

import msgspec

from core.header import InputHeader
from core.payment import commands as c
from tests.core.payment import dsl as d
from tests.core.payment.case import given

MINE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-11112222333344445555666677778888-00f067aa0ba902b7-01"


def traced(command: c.Input, traceparent: str | None) -> c.Input:
    header = msgspec.structs.replace(command.header, traceparent=traceparent)
    return msgspec.structs.replace(command, header=header)


CREATE = d.create(header=InputHeader(payment_intent_id=d.ID, traceparent=MINE))


def test_answers_callbacks_and_timers_without_a_trace_use_the_creations() -> None:
    case = given(CREATE, *(traced(each, None) for each in d.SENT[1:]))
    case.when(traced(d.rail("ACCEPTED"), None))
    assert {event.header.traceparent for event in case.history} == {MINE}
    before = len(case.history)
    case.timer()
    assert len(case.history) > before
    assert {event.header.traceparent for event in case.history} == {MINE}


def test_an_input_with_its_own_trace_keeps_it_and_so_do_its_instructions() -> None:
    case = given(CREATE).when(traced(d.held(), OTHER))
    assert [event.header.traceparent for event in case.history] == [MINE, MINE, OTHER]
    case.when(traced(d.policy(), None)).instructs("SUBMIT")
    instruction = case.decision.instructions[0]  # type: ignore[union-attr]
    assert instruction.header.traceparent == MINE


def test_a_payment_without_a_trace_has_none() -> None:
    case = given(d.create(header=InputHeader(payment_intent_id=d.ID)))
    assert {event.header.traceparent for event in case.history} == {None}
