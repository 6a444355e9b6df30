"""The rail's callbacks over HTTP: answered with 2xx only after the record is in Kafka.

POST /callbacks/rail. What is none of ours, or cannot be read, goes to quarantine, bytes untouched;
what is larger than BODY_BYTES_MAX by its size, SHA-256 and first KiB. Lives in the rail process, so
a leaked key of the API can forge no settlement.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
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
START_S_MAX: Final = 10.0
STOP_S_MAX: Final = 10.0
LOOK_EVERY_S: Final = 0.2
WAITING_MAX: Final = 1_000  # callbacks at once; the rail is told 503 beyond them
PARTITION: Final = 0  # of the quarantine topic: a callback has none of its own
SIGNATURE_HEADER: Final = "npp-signature"  # hex HMAC-SHA256 of the body


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
        secret: bytes | None = None,
    ) -> None:
        """`adapter` names the reason table; with a `secret` every callback must be signed."""
        self._publisher = publisher
        self._codec = codec
        self._clock = clock
        self._adapter = adapter
        self._metrics = metrics
        self._aside = QuarantineWriter(publisher, metrics, "rail", CONFIRM_S)
        self._secret = secret
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._buffered = BODIES_BYTES_MAX  # what is left of it; the event loop's alone

    def app(self) -> Starlette:
        """The HTTP application."""
        return Starlette(routes=[Route("/callbacks/rail", self._post, methods=["POST"])])

    async def _post(self, request: Request) -> Response:
        received_at = self._clock.now_ms()
        body = _Body(self._secret)
        try:
            async with asyncio.timeout(BODY_S_MAX):
                async for chunk in request.stream():
                    self._buffered -= body.add(chunk)
                    if self._buffered < 0:
                        return _json(self._ended(503, "not_taken", None, received_at))
            signature = request.headers.get(SIGNATURE_HEADER, "")
            return _json(await run_in_threadpool(self._judge, body, signature, received_at))
        except (TimeoutError, ClientDisconnect):
            return _json(self._ended(408, "incomplete", None, received_at))
        finally:
            self._buffered += body.buffered

    def callback(self, raw: bytes, signature: str = "") -> tuple[int, str]:
        """Handle one body; (HTTP status, result). 202 means that Kafka has it."""
        body = _Body(self._secret)
        body.add(raw)
        return self._judge(body, signature, self._clock.now_ms())

    def _judge(self, body: _Body, signature: str, received_at: int) -> tuple[int, str]:
        if not body.is_signed(signature):
            return self._ended(401, "denied", None, received_at)
        if not self._waiting.acquire(blocking=False):
            return self._ended(503, "not_taken", None, received_at)
        try:
            if body.is_too_large:
                return self._refer(body, received_at)
            return self._take(bytes(body.kept), received_at)
        except (EngineError, NotConfirmed) as error:
            log.error("kafka takes no callback", error=str(error))  # noqa: TRY400 - no trace needed
            return self._ended(503, "not_taken", None, received_at)
        finally:
            self._waiting.release()

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
    """A body as it comes in: whole up to BODY_BYTES_MAX, beyond it the first KiB. Its size, SHA-256
    and signature are of all of it, whatever its size.
    """

    def __init__(self, secret: bytes | None) -> None:
        self.kept = bytearray()
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.buffered = 0  # bytes that this holds in memory
        self._mac = None if secret is None else hmac.new(secret, digestmod=hashlib.sha256)

    @property
    def is_too_large(self) -> bool:
        return self.size > BODY_BYTES_MAX

    def add(self, chunk: bytes) -> int:
        """Take in the next bytes; how many more are held than before."""
        before = self.buffered
        self.size += len(chunk)
        self.sha256.update(chunk)
        if self._mac is not None:
            self._mac.update(chunk)
        if self.is_too_large:
            # All that was kept before stays in order: its beginning is the body's.
            self.kept = (self.kept + chunk)[: quarantine.EXCERPT_BYTES]
        else:
            self.kept += chunk
        self.buffered = len(self.kept)
        return self.buffered - before

    def is_signed(self, signature: str) -> bool:
        """Whether it is signed with the secret, or need not be."""
        if self._mac is None:
            return True
        return hmac.compare_digest(self._mac.hexdigest().encode(), signature.encode())

    def reference(self) -> quarantine.Reference:
        return quarantine.Reference(self.size, self.sha256.digest(), quarantine.NONE, 0, 0)


def _json(ended: tuple[int, str]) -> Response:
    status, result = ended
    return JSONResponse({"result": result}, status_code=status)


class WebhookServer:
    """Serves the application on a thread of its own. Raises RuntimeError when it does not start."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, clock: Clock) -> None:
        self._clock = clock
        self._server = uvicorn.Server(
            uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False)
        )
        self._thread = threading.Thread(
            target=self._server.run, name="npp-rail-webhook", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        deadline_s = self._clock.monotonic_s() + START_S_MAX
        while not self._server.started:
            if not self._thread.is_alive() or self._clock.monotonic_s() > deadline_s:
                raise RuntimeError("the rail's webhook does not start: is its port taken?")
            self._clock.sleep(0.02)

    @property
    def port(self) -> int:
        """The port it listens on (useful when 0 was asked for)."""
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def run(self) -> None:
        """Serve until asked to stop. Raises RuntimeError when it ends by itself."""
        self.start()
        while self._thread.is_alive() and not self._server.should_exit:
            self._thread.join(LOOK_EVERY_S)
        if not self._server.should_exit:
            raise RuntimeError("the webhook has ended")
        self._thread.join(STOP_S_MAX)

    def request_stop(self) -> None:
        """Finish what runs; safe from a signal handler."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Finish what runs, bounded."""
        self.request_stop()
        self._thread.join(STOP_S_MAX)
