"""Spans to an OpenTelemetry collector over OTLP/HTTP, where OTEL_EXPORTER_OTLP_ENDPOINT names one;
else nothing of OpenTelemetry is imported. Its other OTEL_* variables count too (sampler, queue,
headers).

What waits for the collector is bounded: QUEUE spans, then the oldest are dropped. No call here
blocks, and spans that an unavailable collector cannot accept are dropped.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from prometheus_client import CollectorRegistry

from app.exits import usage
from engine.meters import Meters
from engine.tracing import RECORD_TOPIC, Attributes, is_traceparent, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer as OtelSource

log = structlog.get_logger("npp.tracing")

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL: Final = "http/protobuf"
CLOSE_S_MAX: Final = 3.0  # for what still waits when the process ends
RESULTS: Final = ("ended", "sent", "not_taken")


def tracer(process: str, instance: str, registry: CollectorRegistry) -> Tracer | None:
    """The process's tracer, or None where no collector is named. Raises Problem (usage) where one
    is and cannot be used.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    for name in PROTOCOLS:
        if os.environ.get(name, PROTOCOL) != PROTOCOL:
            raise usage(f"{name} is not {PROTOCOL}.", do=f"Only {PROTOCOL} is spoken; unset it.")
    try:
        made = Tracer(process, instance, registry)
    except ImportError as error:
        raise usage(
            f"A collector is named, and {error.name} is not installed.",
            do="Install the extra `trace`, or unset OTEL_EXPORTER_OTLP_ENDPOINT.",
        ) from error
    log.info("spans are recorded", queue=made.queue)
    return made


class TraceMetrics:
    """Only where a collector is named."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.spans = Meters(registry).counter(
            "npp_trace_spans",
            "Spans by result: ended, of those sent to the collector, of those not taken by it; "
            "what was dropped before it is the rest",
            result=RESULTS,
        )


class Tracer:
    """`engine.tracing.Tracer` on OpenTelemetry's SDK. Safe for several threads."""

    def __init__(self, process: str, instance: str, registry: CollectorRegistry) -> None:
        """Raises ImportError without the extra `trace`."""
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        counts = TraceMetrics(registry).spans
        self._ended, sent, not_taken = (counts.labels(each) for each in RESULTS)
        # Its own messages come with every batch: one message is logged below instead.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._local = local = threading.local()

        class Ids(RandomIdGenerator):
            """The key's own trace where none was passed on."""

            def generate_trace_id(self) -> int:
                return int(local.trace_id)

        name = os.environ.get("OTEL_SERVICE_NAME") or f"npp-{process}"
        resource = Resource.create({"service.name": name, "service.instance.id": instance})
        batches = BatchSpanProcessor(_exporter(sent, not_taken))
        self.queue: int = batches._batch_processor._max_queue_size
        self._provider = TracerProvider(
            resource=resource, id_generator=Ids(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(batches)
        self._source: OtelSource = self._provider.get_tracer("npp")
        self._extract = TraceContextTextMapPropagator().extract
        self._empty = Context()
        self._kinds = (trace.SpanKind.SERVER, trace.SpanKind.CONSUMER)

    def begin(
        self, name: str, parent: str | None, key: str, attributes: Attributes
    ) -> RecordedSpan:
        """As engine.tracing.Tracer."""
        context = self._empty
        if parent is not None and is_traceparent(parent):
            context = self._extract({"traceparent": parent}, context)
        else:
            self._local.trace_id = int(trace_id(None, key), 16)
        kind = self._kinds[RECORD_TOPIC in attributes]
        span = self._source.start_span(name, context, kind, attributes)
        return RecordedSpan(span, self._ended)

    def close(self) -> None:
        """Send what waits, for CLOSE_S_MAX at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="npp-spans", daemon=True)
        closing.start()
        closing.join(CLOSE_S_MAX)


class RecordedSpan:
    """`engine.tracing.Span`."""

    __slots__ = ("_ended", "_span", "traceparent")

    def __init__(self, span: OtelSpan, ended: Any) -> None:
        found = span.get_span_context()
        flags = int(found.trace_flags)
        self.traceparent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{flags:02x}"
        self._span = span
        self._ended = ended

    def end(self, outcome: str) -> None:
        self._span.set_attribute("npp.outcome", outcome)
        self._span.end()
        self._ended.inc()


def _exporter(sent: Any, not_taken: Any) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Counted(OTLPSpanExporter):
        """Counts, and logs once when the collector becomes unavailable and when it is back."""

        is_away = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            away = result is not SpanExportResult.SUCCESS
            (not_taken if away else sent).inc(len(spans))
            if away and not self.is_away:
                log.warning(
                    "the collector accepts no spans; payments are not affected",
                    do="look at OTEL_EXPORTER_OTLP_ENDPOINT and at the collector",
                )
            elif self.is_away and not away:
                log.info("the collector accepts spans again")
            self.is_away = away
            return result

    return Counted()
