"""A rail callback's trace: passed on by the rail, below it the webhook's span, below that the
decision. Without it the decision uses the payment's own trace.
"""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from engine.records import LogRecord
from engine.tracing import HEADER, carried_by
from gateways.rail.http_client import submission
from gateways.rail.simulator import RailSimulator
from processors.adapter.metrics import AdapterMetrics
from processors.rail.webhook import RailWebhook
from schemas import topology
from tests.clock import HeldClock
from tests.gateways.harness import CLOCK, PARTIES, payment, serving, submit, wait_for
from tests.processors.payments.test_traces import GIVEN, Spans
from tests.processors.rail.harness import CODEC, NOW_MS, MemoryLog
from tests.processors.rail.test_webhook import REF, BrokenLog, message


def webhook(log: MemoryLog, spans: Spans | None) -> RailWebhook:
    return RailWebhook(
        publisher=log, codec=CODEC, clock=log.clock, adapter="npp-gateway",
        metrics=AdapterMetrics(CollectorRegistry()), tracer=spans,
    )  # fmt: skip


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(HeldClock(NOW_MS))


def report(log: MemoryLog) -> LogRecord:
    (record,) = log.of(topology.RAIL_REPORTS)
    return record


def test_a_callback_is_one_span_below_the_context_from_the_rail(log: MemoryLog) -> None:
    """Its report names the span, so that the decision is below it."""
    spans = Spans()
    webhook(log, spans).callback(message(), traceparent=GIVEN)
    attributes = {"npp.payment": payment(1), "npp.external_ref": REF}
    assert spans.begun == [("callback SETTLED", GIVEN, payment(1), attributes)]
    assert spans.ended == [("callback SETTLED", "reported")]
    assert carried_by(report(log).headers) == f"00-{'a' * 32}-{1:016x}-01"


def test_without_a_collector_the_context_from_the_rail_is_passed_on_unchanged(
    log: MemoryLog,
) -> None:
    webhook(log, None).callback(message(), traceparent=GIVEN)
    assert carried_by(report(log).headers) == GIVEN


@pytest.mark.parametrize("traceparent", [None, "rubbish", GIVEN.upper()])
def test_without_a_context_from_the_rail_the_decision_is_in_the_payments_own_trace(
    log: MemoryLog, traceparent: str | None
) -> None:
    spans = Spans()
    webhook(log, spans).callback(message(), traceparent=traceparent)
    assert [parent for _, parent, _, _ in spans.begun] == [None]
    assert report(log).headers == []


def test_a_callback_that_kafka_did_not_accept_is_a_failed_span() -> None:
    spans = Spans()
    broken = BrokenLog(HeldClock(NOW_MS))
    assert webhook(broken, spans).callback(message(), traceparent=GIVEN)[0] == 503
    assert spans.ended == [("callback SETTLED", "not_taken")]


def test_the_trace_of_a_submission_comes_back_with_its_callbacks(log: MemoryLog) -> None:
    """Over HTTP in both directions: the simulated rail keeps it, as docs/rail-
    gateway.md requires.
    """
    simulator = RailSimulator(clock=CLOCK)
    with serving(simulator.app()) as rail, serving(webhook(log, None).app()) as hook:
        simulator.callback_url = f"{hook.base_url}/callbacks/rail"
        body = submission(submit(1), PARTIES)
        assert rail.post("/payments", json=body, headers={HEADER: GIVEN}).status_code == 202
        wait_for(lambda: len(log.of(topology.RAIL_REPORTS)) == 2)
    assert [carried_by(each.headers) for each in log.of(topology.RAIL_REPORTS)] == [GIVEN] * 2
