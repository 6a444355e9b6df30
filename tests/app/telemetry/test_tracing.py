"""Spans to a collector: disabled and free without one, bounded and harmless with an unavailable
one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry

from app.exits import Problem
from app.telemetry import tracing
from engine.tracing import trace_id
from tests.collector import Collector
from tests.rooms import ROOT

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CLOSING_S_MAX = 6.0
MANY = 20_000


def named(monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[tracing.Tracer, CollectorRegistry]:
    monkeypatch.setenv(ENDPOINT, url)
    registry = CollectorRegistry()
    made = tracing.tracer("payments", "payments-1", registry)
    assert made is not None
    return made, registry


def count(registry: CollectorRegistry, result: str) -> float:
    return registry.get_sample_value("npp_trace_spans_total", {"result": result}) or 0.0


@pytest.mark.slow
def test_without_a_collector_there_is_no_tracer_and_opentelemetry_is_not_imported() -> None:
    """For the modules that every process imports, and for a process that uses its tracer."""
    program = (
        "import sys, app.wiring, api.app, web.app, app.process, app.telemetry.tracing\n"
        "from prometheus_client import CollectorRegistry\n"
        "assert app.telemetry.tracing.tracer('payments', 'p-1', CollectorRegistry()) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')\n"
        "       or name.startswith('opentelemetry.exporter')])\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_spans_reach_the_collector_below_their_parent_or_in_the_payments_own_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        tracer, registry = named(monkeypatch, collector.url)
        below = tracer.begin("decide X", GIVEN, "pi_1", {"npp.payment": "pi_1"})
        below.end("Accepted")
        tracer.begin("decide Y", None, "pi_2", {}).end("Accepted")
        tracer.begin("never ended", GIVEN, "pi_1", {})
        tracer.close()
    first, second = sorted(collector.spans(), key=lambda each: each.name)
    assert (first.trace_id, first.parent_id) == (GIVEN[3:35], GIVEN[36:52])
    assert below.traceparent == f"00-{first.trace_id}-{first.span_id}-01"
    assert first.attributes == {"npp.payment": "pi_1", "npp.outcome": "Accepted"}
    assert first.service == "npp-payments"
    assert (second.trace_id, second.parent_id) == (trace_id(None, "pi_2"), "")
    assert (count(registry, "ended"), count(registry, "sent")) == (2, 2)


def test_a_trace_that_the_caller_does_not_sample_is_not_sent_and_passed_on_unsampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Collector() as collector:
        tracer, _ = named(monkeypatch, collector.url)
        span = tracer.begin("decide X", GIVEN[:-2] + "00", "pi_1", {})
        span.end("Accepted")
        tracer.close()
    assert collector.spans() == []
    assert span.traceparent.endswith("-00")


def silent() -> socket.socket:
    """A port that accepts connections and never answers."""
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_an_unavailable_collector_costs_bounded_memory_and_no_waiting(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with silent() as server:
        port = server.getsockname()[1]
        if kind == "refuses":
            server.close()
        tracer, registry = named(monkeypatch, f"http://127.0.0.1:{port}")
        longest_s = 0.0
        for number in range(MANY):
            begun_s = time.monotonic()
            tracer.begin("decide X", None, f"pi_{number}", {}).end("Accepted")
            longest_s = max(longest_s, time.monotonic() - begun_s)
        waiting = tracer._provider._active_span_processor._span_processors[
            0
        ]._batch_processor._queue  # type: ignore[attr-defined]
        assert len(waiting) <= tracer.queue < MANY
        closing_s = time.monotonic()
        tracer.close()
        assert time.monotonic() - closing_s < CLOSING_S_MAX
    assert count(registry, "ended") == MANY
    assert count(registry, "sent") == 0
    assert longest_s < 2.0  # a thread's turn on a busy machine; a call to the collector takes 10 s


@pytest.mark.parametrize("name", tracing.PROTOCOLS)
def test_an_unsupported_protocol_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(Problem, match=name):
        tracing.tracer("payments", "payments-1", CollectorRegistry())
