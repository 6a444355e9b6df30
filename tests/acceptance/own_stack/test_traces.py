"""One payment is one trace through every process of the product, as a collector receives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from app.demo.programs import SUBMITTER_SOURCE
from core.values import payment_intent_id
from engine.tracing import trace_id
from schemas import topology
from tests.acceptance.harness import ACCEPT, SETTLE, Harness, rejects
from tests.collector import Collector, Seen

pytestmark = pytest.mark.broker

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROOT = "00f067aa0ba902b7"
KAFKA_SECONDS_MAX = 60.0
GIVEN = f"00-{TRACE}-{ROOT}-01"
# (process name, operation) of each span.
OF_A_SETTLED = {
    ("npp-api", "ask CreatePayment"),
    ("npp-payments", "decide CreatePayment"),
    ("npp-payments", "decide PolicyVerdict"),
    ("npp-payments", "decide DepositsResult"),
    ("npp-payments", "decide RailReport"),
    ("npp-adapters", "resolve PolicyCheckRequest"),
    ("npp-adapters", "deposits HOLD"),
    ("npp-adapters", "rail SUBMIT"),
    ("npp-adapters", "callback ACCEPTED"),
    ("npp-adapters", "callback SETTLED"),
    ("npp-adapters", "deposits CAPTURE"),
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Harness]:
    """The product with a collector configured."""
    more = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "NPP_TRACE_URL": "https://traces.test/trace/{trace_id}",
    }
    made = Harness(tmp_path_factory.mktemp("traced") / "data", more)
    try:
        made.start()
        yield made
    finally:
        made.close()


def kinds(spans: list[Seen]) -> set[tuple[str, str]]:
    return {(each.service, each.name) for each in spans}


def is_whole(spans: list[Seen]) -> bool:
    """Whether each kind of span and its parent arrived: processes export independently."""
    ids = {each.span_id for each in spans} | {ROOT}
    return kinds(spans) >= OF_A_SETTLED and {each.parent_id for each in spans} <= ids


def lines(harness: Harness, program: str) -> list[dict[str, Any]]:
    """The log lines of a process."""
    text = (harness.stage.data / "logs" / f"{program}.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def lines_of(harness: Harness, program: str, payment: str) -> list[dict[str, Any]]:
    return [each for each in lines(harness, program) if each.get("payment_intent_id") == payment]


def test_one_payment_is_one_trace_from_the_caller_to_its_capture(
    traced: Harness, collector: Collector
) -> None:
    payment = payment_intent_id(SUBMITTER_SOURCE, "traced-1")
    traced.script(payment, [ACCEPT, SETTLE])
    answer = traced.submit("traced-1", headers={"traceparent": GIVEN})
    assert answer.status_code == 200, answer.text
    traced.until(payment, state="SETTLED", funds="CAPTURED")

    traced.soon(lambda: is_whole(collector.spans(TRACE)), what="all spans came")
    spans = collector.spans(TRACE)
    assert kinds(spans) == OF_A_SETTLED
    assert {each.attributes["npp.payment"] for each in spans} == {payment}
    above = {each.span_id: each for each in spans}
    rail = next(each for each in spans if each.name == "rail SUBMIT")
    assert above[rail.parent_id].name.startswith("decide")
    for each in spans:
        if each.name.startswith("callback"):
            assert above[each.parent_id].name == "rail SUBMIT"
    assert rail.attributes["messaging.destination.name"] == "npp.rail.submissions.v1"

    assert traced.payment(payment)["traceId"] == TRACE
    mine = lines_of(traced, "adapters", payment)
    assert {each["trace_id"] for each in mine} == {TRACE}
    assert {"topic", "partition", "offset"} <= set(mine[0])
    requested = [each for each in lines_of(traced, "api", payment) if each["method"] == "POST"]
    assert [each["trace_id"] for each in requested] == [TRACE]


def test_an_undecodable_input_is_logged_with_payment_trace_and_offset(
    traced: Harness,
) -> None:
    payment = payment_intent_id(SUBMITTER_SOURCE, "unreadable-1")
    producer = Producer({"bootstrap.servers": traced.bootstrap})
    producer.produce(topology.COMMANDS, b"unreadable", payment, headers={"traceparent": GIVEN})
    assert producer.flush(KAFKA_SECONDS_MAX) == 0
    (line,) = traced.soon(lambda: lines_of(traced, "payments", payment), what="the log's line")
    assert (line["trace_id"], line["topic"]) == (TRACE, topology.COMMANDS)
    assert {"partition", "offset"} <= set(line)


def test_without_a_callers_trace_a_payment_has_its_own(
    traced: Harness, collector: Collector
) -> None:
    payment = traced.create([rejects("AC01")], key="untraced-1")
    own = trace_id(None, payment)
    traced.until(payment, state="FAILED")
    wanted = {
        ("npp-api", "ask CreatePayment"),
        ("npp-payments", "decide CreatePayment"),
        ("npp-payments", "decide RailReport"),
        ("npp-adapters", "rail SUBMIT"),
        ("npp-adapters", "callback REJECTED"),
        ("npp-adapters", "deposits RELEASE"),
        ("npp-adapters", "notifications failed"),
        ("npp-payments", "decide NotificationResult"),
    }
    traced.soon(lambda: kinds(collector.spans(own)) >= wanted, what="all spans came")
    assert traced.payment(payment)["traceId"] == own
