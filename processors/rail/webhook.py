"""The rail's callbacks over HTTP: answered with 2xx only after the record is in Kafka.

POST /callbacks/rail. Without a valid signature header (`gateways.rail.signatures`) a callback is
refused with 401 before its body is read. A callback that is not ours or cannot be read goes to
quarantine, its bytes untouched; one larger than BODY_BYTES_MAX is quarantined by its size, SHA-256
and first KiB. This runs in the rail process, so a leaked API key cannot forge a settlement.

The report carries the `traceparent` that the rail sent, if any (decision 22).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from structlog.contextvars import bound_contextvars

from control import quarantine
from core.payment.commands import RailReport
from core.words import QuarantineReason
from engine.clients.publisher import NotConfirmed
from engine.clock import MS_PER_S, Clock
from engine.errors import EngineError
from engine.records import LogRecord
from engine.serving.metrics import Count
from engine.serving.protocol import Patience
from engine.serving.server import Bounds, Certificate, ThreadedServer
from engine.tracing import HEADER, Tracer, as_headers, is_traceparent, trace_id
from gateways.rail import signatures
from gateways.rail.messages import UnreadableMessageError, parse, report_of
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher
from processors.adapter.quarantine_writer import QuarantineWriter
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.rail.webhook")

BODY_BYTES_MAX: Final = 1_048_576  # a message of the rail has about 1 KiB
BODIES_BYTES_MAX: Final = 64 * 1024 * 1024  # of all bodies in memory at once; 503 beyond
BODY_S_MAX: Final = 20.0  # for a body to arrive
# The wait for a thread, then for Kafka: together 8 s, less than the rail waits for its answer.
TURN_S_MAX: Final = 2.0
CONFIRM_S: Final = 6.0
WAITING_MAX: Final = 200  # callbacks that wait for Kafka at once; 503 beyond
# Kafka confirms a record in 5 to 20 ms, so 24 threads handle 1,000 callbacks a second. A thread,
# once started, is kept.
THREADS_MAX: Final = 24
PARTITION: Final = 0  # of the quarantine topic: a callback has no partition of its own
# The rail connects from one or a few addresses, with many connections each.
BOUNDS: Final = Bounds(
    connections_max=1_000, of_one_max=500, patience=Patience(head_s=5.0, body_s=BODY_S_MAX + 5.0)
)
# In place of a required digest; neither is the SHA-256 of any body.
ANY: Final = ""
DENIED: Final = "-"


class RailWebhook:
    """Turns callbacks into RailReport records. The event loop reads a body; a thread parses it and
    waits for Kafka. `callback` does the same for a body that is already in memory, from any thread.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        adapter: str,
        metrics: AdapterMetrics,
        secrets: Sequence[bytes] = (),
        tracer: Tracer | None = None,
    ) -> None:
        """`adapter` names the reason table. With `secrets`, every callback must be signed with one
        of them.
        """
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._adapter = adapter
        self._metrics = metrics
        self._aside = QuarantineWriter(publisher, metrics, "rail", CONFIRM_S)
        self._secrets = secrets
        self._tracer = tracer
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="npp-callback")
        self._waiting = 0  # used only in the event loop
        self._buffered = BODIES_BYTES_MAX  # bytes still free; used only in the event loop

    def app(self) -> Starlette:
        """The HTTP application."""
        return Starlette(routes=[Route("/callbacks/rail", self._post, methods=["POST"])])

    async def _post(self, request: Request) -> Response:
        received_at = self._clock.now_ms()
        digest = self._stated_digest(request.headers.get(signatures.HEADER, ""), received_at)
        if digest == DENIED:
            return _json(self._ended(401, "denied", None, received_at))
        body = _Body()
        try:
            async with asyncio.timeout(BODY_S_MAX):
                async for chunk in request.stream():
                    self._buffered -= body.add(chunk)
                    if self._buffered < 0:
                        return _json(self._ended(503, "not_taken", None, received_at))
            parent = request.headers.get(HEADER)
            return _json(await self._in_thread(body, digest, received_at, parent))
        except (TimeoutError, ClientDisconnect):
            return _json(self._ended(408, "incomplete", None, received_at))
        finally:
            self._buffered += body.buffered

    async def _in_thread(
        self, body: _Body, digest: str, received_at: int, parent: str | None
    ) -> tuple[int, str]:
        if self._waiting >= WAITING_MAX:
            return self._ended(503, "not_taken", None, received_at)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            until_s = self._clock.monotonic_s() + TURN_S_MAX
            return await loop.run_in_executor(
                self._threads, self._in_turn, until_s, body, digest, received_at, parent
            )
        finally:
            self._waiting -= 1

    def _in_turn(
        self, until_s: float, body: _Body, digest: str, received_at: int, parent: str | None
    ) -> tuple[int, str]:
        """The answer; 503 if no thread was free in time: then the rail sends it again."""
        if self._clock.monotonic_s() > until_s:
            return self._ended(503, "not_taken", None, received_at)
        return self._judge(body, digest, received_at, parent)

    def callback(
        self, raw: bytes, signature: str = "", traceparent: str | None = None
    ) -> tuple[int, str]:
        """Handle one body; returns (HTTP status, result). 202 means that Kafka has it."""
        received_at = self._clock.now_ms()
        body = _Body()
        body.add(raw)
        digest = self._stated_digest(signature, received_at)
        return self._judge(body, digest, received_at, traceparent)

    def _stated_digest(self, signature: str, received_at: int) -> str:
        """The required hash of the body; ANY if no signature is required, DENIED if it is missing
        or wrong.
        """
        if not self._secrets:
            return ANY
        now_s = received_at // MS_PER_S
        return signatures.signed_digest(signature, self._secrets, now_s) or DENIED

    def _judge(
        self, body: _Body, digest: str, received_at: int, parent: str | None
    ) -> tuple[int, str]:
        if digest not in (ANY, body.sha256.hexdigest()):
            return self._ended(401, "denied", None, received_at)
        try:
            if body.is_too_large:
                return self._refer(body, received_at)
            return self._take(bytes(body.kept), received_at, parent)
        except (EngineError, NotConfirmed) as error:
            log.error("kafka takes no callback", error=str(error))  # noqa: TRY400 - no trace needed
            return self._ended(503, "not_taken", None, received_at)

    def _refer(self, body: _Body, received_at: int) -> tuple[int, str]:
        """Quarantine a body that is too large by reference; only the rail has the original."""
        detail = f"a callback of {body.size} bytes, at most {BODY_BYTES_MAX} are read"
        begun = LogRecord(quarantine.RAIL_CALLBACKS, 0, -1, received_at, None, bytes(body.kept), [])
        self._aside.refer_to(begun, quarantine.UNDECODABLE, detail, body.reference(), PARTITION)
        log.error("rail callback too large", bytes=body.size, sha256=body.sha256.hexdigest())
        return self._ended(202, "too_large", None, received_at)

    def _take(self, raw: bytes, received_at: int, parent: str | None) -> tuple[int, str]:
        try:
            message = parse(raw)
            report = report_of(message, adapter=self._adapter, received_at=received_at)
        except UnreadableMessageError as error:
            self._quarantine(raw, None, quarantine.UNDECODABLE, str(error), received_at)
            return self._ended(202, "undecodable", None, received_at)
        if report is None:
            key = message.OrgnlInstrId.encode()  # parse bounds it
            detail = "OrgnlInstrId is no reference of ours"
            self._quarantine(raw, key, quarantine.UNMATCHED, detail, received_at)
            return self._ended(202, "unmatched", None, received_at)
        return self._report(report, received_at, parent if is_traceparent(parent) else None)

    def _report(self, report: RailReport, received_at: int, parent: str | None) -> tuple[int, str]:
        """Publish the report, in a span if tracing is on. If the rail sent no trace, the report
        carries none: it is decided in the payment's own trace, which this process does not know.
        """
        payment = report.header.payment_intent_id
        known = {} if parent is None else {"trace_id": trace_id(parent, payment)}
        with bound_contextvars(payment_intent_id=payment, **known):
            span, outcome = None, "not_taken"
            if self._tracer is not None:
                attributes = {"npp.payment": payment, "npp.external_ref": report.external_ref}
                span = self._tracer.begin(f"callback {report.kind}", parent, payment, attributes)
            try:
                passed = parent if span is None or parent is None else span.traceparent
                topic = topology.RAIL_REPORTS
                value, headers = self._codec.encode(topic, report), as_headers(passed)
                self._publisher.publish(
                    topic, payment.encode(), value, headers=headers, timeout_s=CONFIRM_S
                )
                outcome = "reported"
            finally:
                if span is not None:
                    span.end(outcome)
            self._metrics.reports.labels("rail", report.kind).inc()
            return self._ended(202, outcome, report, received_at)

    def _quarantine(
        self, raw: bytes, key: bytes | None, reason: QuarantineReason, detail: str, received_at: int
    ) -> None:
        callback = LogRecord(quarantine.RAIL_CALLBACKS, 0, -1, received_at, key, raw, [])
        self._aside.keep(callback, reason, detail, PARTITION)

    def _ended(
        self, status: int, result: str, report: RailReport | None, received_at: int
    ) -> tuple[int, str]:
        self._metrics.callbacks.labels(result).inc()
        log.info(
            "rail callback",
            result=result,
            status=status,
            external_ref=None if report is None else report.external_ref,
            kind=None if report is None else report.kind,
            code=None if report is None else report.code,
            at=received_at,
            latency_ms=self._clock.now_ms() - received_at,
        )
        return status, result


class _Body:
    """A body while it arrives: complete up to BODY_BYTES_MAX, beyond it the first KiB. Size and
    SHA-256 always cover all of it.
    """

    def __init__(self) -> None:
        self.kept = bytearray()
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.buffered = 0  # bytes that this holds in memory

    @property
    def is_too_large(self) -> bool:
        return self.size > BODY_BYTES_MAX

    def add(self, chunk: bytes) -> int:
        """Add the next bytes; returns the change of the bytes in memory."""
        before = self.buffered
        self.size += len(chunk)
        self.sha256.update(chunk)
        if self.is_too_large:
            # Keep only the beginning.
            self.kept = (self.kept + chunk)[: quarantine.EXCERPT_BYTES]
        else:
            self.kept += chunk
        self.buffered = len(self.kept)
        return self.buffered - before

    def reference(self) -> quarantine.Reference:
        return quarantine.Reference(self.size, self.sha256.digest(), quarantine.NONE, 0, 0)


def _json(ended: tuple[int, str]) -> Response:
    status, result = ended
    return JSONResponse({"result": result}, status_code=status)


class WebhookServer(ThreadedServer):
    """Serves the application on its own thread. Raises OSError when its port is taken."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        clock: Clock,
        count: Count,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(
            app,
            host=host,
            port=port,
            bounds=BOUNDS,
            name="npp-rail-webhook",
            clock=clock,
            count=count,
            certificate=certificate,
        )
