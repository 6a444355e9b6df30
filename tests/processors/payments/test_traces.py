"""Traces through the payments processor: what its records pass on, and the spans it records."""

from __future__ import annotations

from typing import Any

import pytest

from core.values import payment_intent_id
from engine.tracing import HEADER, Attributes, carried_by
from processors.payments.spans import DecisionSpans
from schemas import topology
from tests.engine.driver import Crashed
from tests.processors.payments.world import CODEC, SOURCE, World, create_payment
from tests.processors.replay.world import World as Replayed
from tests.processors.replay.world import replay

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Spans:
    """`engine.tracing.Tracer` that records its spans."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str | None, str, Attributes]] = []
        self.ended: list[tuple[str, str]] = []

    def begin(self, name: str, parent: str | None, key: str, attributes: Attributes) -> Any:
        self.begun.append((name, parent, key, attributes))
        return Kept(self, name, f"00-{'a' * 32}-{len(self.begun):016x}-01")


class Kept:
    def __init__(self, spans: Spans, name: str, traceparent: str) -> None:
        self.traceparent = traceparent
        self._spans = spans
        self._name = name

    def end(self, outcome: str) -> None:
        self._spans.ended.append((self._name, outcome))


def give(world: Any, key: str, traceparent: str) -> str:
    """A creation with a trace in the record's headers and none in its body."""
    payment = payment_intent_id(SOURCE, key)
    value = CODEC.encode(topology.COMMANDS, create_payment(key))
    world.driver.pipe(topology.COMMANDS, payment.encode(), value, [(HEADER, traceparent.encode())])
    return payment


def test_a_trace_in_the_headers_is_kept_in_events_and_passed_on_with_instructions() -> None:
    world = World()
    payment = give(world, "traced", GIVEN)
    world.settle_all()
    assert {event.header.traceparent for event in world.history(payment)} == {GIVEN}
    for topic in (topology.DEPOSITS_REQUESTS, topology.RAIL_SUBMISSIONS, topology.RESOLVE_REQUESTS):
        records = world.driver.committed(topic)
        assert records, topic
        assert {carried_by(record.headers) for record in records} == {GIVEN}, topic


def test_without_a_trace_no_record_has_a_trace_header() -> None:
    world = World()
    world.create("plain")
    world.settle_all()
    instructions = world.driver.committed(topology.RAIL_SUBMISSIONS)
    assert [record.headers for record in instructions] == [[]]


def test_a_trace_in_the_headers_survives_deciding_again() -> None:
    """A trace in the headers only must not break the proof."""
    world = Replayed()
    give(world, "traced", GIVEN)
    world.settle()
    report = replay(world, world.log())
    assert report.passed, report.first_failure and report.first_failure.sentence()
    assert report.redecide.checked > 0


def test_each_committed_decision_is_one_span_below_its_inputs() -> None:
    world, spans = World(), Spans()
    world.driver.app._spans = DecisionSpans(spans)  # type: ignore[attr-defined]
    payment = give(world, "traced", GIVEN)
    world.settle_all()
    names = [name for name, *_ in spans.begun]
    assert names[0] == "decide CreatePayment"
    assert names.count("decide RailReport") == 2
    assert [name for name, _ in spans.ended] == names
    assert {outcome for _, outcome in spans.ended} == {"Accepted"}
    assert {key for _, _, key, _ in spans.begun} == {payment}
    assert {parent for _, parent, _, _ in spans.begun} == {GIVEN}
    first = world.driver.committed(topology.DEPOSITS_REQUESTS)[0]
    assert carried_by(first.headers) == f"00-{'a' * 32}-{1:016x}-01"
    assert {event.header.traceparent for event in world.history(payment)} == {GIVEN}


def test_an_aborted_batch_has_no_spans() -> None:
    world, spans = World(), Spans()
    world.driver.app._spans = DecisionSpans(spans)  # type: ignore[attr-defined]
    give(world, "traced", GIVEN)
    world.driver.crash_at("before_commit")
    with pytest.raises(Crashed):
        world.driver.run()
    assert len(spans.begun) == 1
    world.driver.app.after_abort()
    world.driver.app.after_commit(0)  # of the next batch
    assert spans.ended == []
