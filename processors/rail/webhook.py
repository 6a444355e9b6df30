"""The rail's callbacks over HTTP: answered with 2xx only after the record is in Kafka.

POST /callbacks/rail. Who has not signed the head (`gateways.rail.signatures`) is refused before his
body is read. What is none of ours, or cannot be read, goes to quarantine, bytes untouched;
what is larger than BODY_BYTES_MAX by its size, SHA-256 and first KiB. Lives in the rail process, so
a leaked key of the API can forge no settlement.
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

from control import quarantine
from core.payment.commands import RailReport
from engine.clients.publisher import NotConfirmed
from engine.clock import Clock
from engine.errors import EngineError
from engine.records import LogRecord
from engine.serving.metrics import Count
from engine.serving.protocol import Patience
from engine.serving.server import Bounds, Certificate, ThreadedServer
from gateways.rail import signatures
from gateways.rail.messages import UnreadableMessageError, parse, report_of
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher
from processors.adapter.quarantine_writer import QuarantineWriter
from schemas import topology
from schemas.codec import Codec

log = structlog.get_logger("processors.rail.webhook")

BODY_BYTES_MAX: Final = 1_048_576  # a message of the rail has about 1 KiB
BODIES_BYTES_MAX: Final = 64 * 1024 * 1024  # of all that are read at once; 503 beyond
BODY_S_MAX: Final = 20.0  # for a body to come in
CONFIRM_S: Final = 8.0  # shorter than the rail waits for its answer
WAITING_MAX: Final = 200  # callbacks that wait for Kafka at once, a thread each; 503 beyond them
PARTITION: Final = 0  # of the quarantine topic: a callback has none of its own
MS_PER_S: Final = 1_000
# The rail is one address or a few, with many connections.
BOUNDS: Final = Bounds(
    connections_max=1_000, of_one_max=500, patience=Patience(head_s=5.0, body_s=BODY_S_MAX + 5.0)
)


ANY: Final = ""  # digests of no body
DENIED: Final = "-"


class RailWebhook:
    """`callback` may be called from any thread; the HTTP application calls it for each POST."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        codec: Codec,
        clock: Clock,
        adapter: str,
        metrics: AdapterMetrics,
        secrets: Sequence[bytes] = (),
    ) -> None:
        """`adapter` names the reason table; with `secrets` every callback must be signed by one."""
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._adapter = adapter
        self._metrics = metrics
        self._aside = QuarantineWriter(publisher, metrics, "rail", CONFIRM_S)
        self._secrets = secrets
        self._threads = ThreadPoolExecutor(WAITING_MAX, thread_name_prefix="npp-callback")
        self._waiting = 0  # the event loop's alone
        self._buffered = BODIES_BYTES_MAX  # what is left of it; the event loop's alone

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
            return _json(await self._in_thread(body, digest, received_at))
        except (TimeoutError, ClientDisconnect):
            return _json(self._ended(408, "incomplete", None, received_at))
        finally:
            self._buffered += body.buffered

    async def _in_thread(self, body: _Body, digest: str, received_at: int) -> tuple[int, str]:
        if self._waiting >= WAITING_MAX:
            return self._ended(503, "not_taken", None, received_at)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._judge, body, digest, received_at)
        finally:
            self._waiting -= 1

    def callback(self, raw: bytes, signature: str = "") -> tuple[int, str]:
        """Handle one body; (HTTP status, result). 202 means that Kafka has it."""
        received_at = self._clock.now_ms()
        body = _Body()
        body.add(raw)
        return self._judge(body, self._stated_digest(signature, received_at), received_at)

    def _stated_digest(self, signature: str, received_at: int) -> str:
        """What the body must hash to; ANY where nothing need be signed, DENIED when it is not."""
        if not self._secrets:
            return ANY
        now_s = received_at // MS_PER_S
        return signatures.signed_digest(signature, self._secrets, now_s) or DENIED

    def _judge(self, body: _Body, digest: str, received_at: int) -> tuple[int, str]:
        if digest not in (ANY, body.sha256.hexdigest()):
            return self._ended(401, "denied", None, received_at)
        try:
            if body.is_too_large:
                return self._refer(body, received_at)
            return self._take(bytes(body.kept), received_at)
        except (EngineError, NotConfirmed) as error:
            log.error("kafka takes no callback", error=str(error))  # noqa: TRY400 - no trace needed
            return self._ended(503, "not_taken", None, received_at)

    def _refer(self, body: _Body, received_at: int) -> tuple[int, str]:
        """Keep what is known of a body that is too large to keep: nobody but the rail has it."""
        detail = f"a callback of {body.size} bytes, at most {BODY_BYTES_MAX} are read"
        begun = LogRecord(quarantine.RAIL_CALLBACKS, 0, -1, received_at, None, bytes(body.kept), [])
        self._aside.refer_to(begun, quarantine.UNDECODABLE, detail, body.reference(), PARTITION)
        log.error("rail callback too large", bytes=body.size, sha256=body.sha256.hexdigest())
        return self._ended(202, "too_large", None, received_at)

    def _take(self, raw: bytes, received_at: int) -> tuple[int, str]:
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
        payment_key = report.header.payment_intent_id.encode()
        topic = topology.RAIL_REPORTS
        self._publisher.publish(
            topic, payment_key, self._codec.encode(topic, report), timeout_s=CONFIRM_S
        )
        self._metrics.reports.labels("rail", report.kind).inc()
        return self._ended(202, "reported", report, received_at)

    def _quarantine(
        self, raw: bytes, key: bytes | None, reason: str, detail: str, received_at: int
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
    """A body as it comes in: whole up to BODY_BYTES_MAX, beyond it the first KiB. Its size and
    SHA-256 are of all of it, whatever its size.
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
        """Take in the next bytes; how many more are held than before."""
        before = self.buffered
        self.size += len(chunk)
        self.sha256.update(chunk)
        if self.is_too_large:
            # All that was kept before stays in order: its beginning is the body's.
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
    """Serves the application on a thread of its own. Raises OSError when its port is taken."""

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
