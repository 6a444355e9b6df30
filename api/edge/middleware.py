"""The outermost layer of every answer: request ids, security headers, size and time of bodies,
metrics, the access log, and the 500 of a defect. Pure ASGI; knows no route.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.sign_in import PAYMENT, PRINCIPAL
from api.edge import problems
from api.edge.metrics import OTHER, ApiMetrics
from api.edge.problems import Problem
from engine.clock import Clock
from evidence.verify_evidence import PACK_BYTES_MAX

log = structlog.get_logger("npp.api")
access = structlog.get_logger("npp.api.access")

BODY_BYTES_MAX: Final = 65_536
PACK_PATH: Final = "/evidence-pack/verify"
BODY_S_MAX: Final = 30.0  # for the whole body to arrive
PATH_CHARACTERS_MAX: Final = 500
QUERY_BYTES_MAX: Final = 8_192
REQUEST_ID_BYTES: Final = 8
SLOW_S: Final = 1.0
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

SECURITY: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class Edge:
    """Wraps the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        metrics: ApiMetrics,
        https: bool,
        hosts: frozenset[str],
        security: tuple[tuple[bytes, bytes], ...] = SECURITY,
    ) -> None:
        """`hosts`: host names that are served; empty means any. `security`: headers of every
        response.
        """
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._headers = (*security, HSTS) if https else security
        self._hosts = hosts
        self._every = logging.getLogger("npp.api.access").isEnabledFor(logging.DEBUG)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = self._clock.monotonic_s()
        given = dict(scope["headers"])
        request_id = _request_id(given.get(b"x-request-id"))
        scope["npp.request_id"] = request_id
        answer = _Answer(send, (*self._headers, (b"x-request-id", request_id.encode())))
        try:
            refused = self._refused(scope, given)
            if refused is not None:
                await self._say(refused, scope, receive, answer)
            else:
                await self._app(scope, _bounded(scope, given, receive, self._clock), answer.send)
        except Exception:
            self._metrics.defects.inc()
            log.exception("defect", request_id=request_id, route=_route(scope))
            if not answer.status:
                await self._say(_DEFECT, scope, receive, answer)
        finally:
            self._account(scope, given, answer, self._clock.monotonic_s() - begun_s, request_id)

    def _refused(self, scope: Scope, given: dict[bytes, bytes]) -> Problem | None:
        """Requests that are refused on every route."""
        path = scope["path"]
        if len(path) > PATH_CHARACTERS_MAX or not path.isprintable():
            return problems.invalid("path", "is not one of this interface")
        if len(scope["query_string"]) > QUERY_BYTES_MAX:
            return problems.invalid("query", "is too long")
        if self._hosts:
            host = given.get(b"host", b"").decode("latin-1").lower()
            if host not in self._hosts and host.rpartition(":")[0] not in self._hosts:
                return Problem(421, "NOT_FOUND", "OTHER_HOST", "This host name is not served here.")
        length = given.get(b"content-length", b"0")
        if length.isascii() and length.isdigit() and int(length[:19]) > _bytes_max(scope):
            return problems.problem_of(HTTPException(413))
        return None

    async def _say(self, problem: Problem, scope: Scope, receive: Receive, answer: _Answer) -> None:
        response = problems.answer(problem, scope["npp.request_id"])
        await response(scope, receive, answer.send)

    def _account(
        self,
        scope: Scope,
        given: dict[bytes, bytes],
        answer: _Answer,
        seconds: float,
        request_id: str,
    ) -> None:
        route, method, status = _route(scope), scope["method"], answer.status or 499
        if method not in METHODS:
            method = OTHER
        self._metrics.answered(route, method, status, seconds)
        quiet = method == "GET" and status < 400 and seconds < SLOW_S
        if quiet and not self._every:
            return
        principal = scope.get(PRINCIPAL)
        trace = _TRACEPARENT.fullmatch(given.get(b"traceparent", b""))
        (access.debug if quiet else access.info)(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1_000, 1),
            answered_bytes=answer.bytes,
            request_id=request_id,
            principal=principal.id if principal is not None else None,
            payment_intent_id=scope.get(PAYMENT),
            trace_id=trace[1].decode() if trace else None,
        )


_DEFECT: Final = Problem(
    500,
    "INTERNAL",
    "DEFECT",
    "An internal error occurred; the payment shows whether anything was done.",
    audited=True,
)


class _Answer:
    """The response side: adds the headers, and records the status."""

    def __init__(self, send: Send, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _bounded(scope: Scope, given: dict[bytes, bytes], receive: Receive, clock: Clock) -> Receive:
    """Receives the body within its limits of bytes and time; HTTPException (408, 413) beyond."""
    if b"transfer-encoding" not in given and given.get(b"content-length", b"0") == b"0":
        return receive
    bytes_max = _bytes_max(scope)
    until_s = clock.monotonic_s() + BODY_S_MAX
    size, complete = 0, False

    async def bounded() -> Message:
        nonlocal size, complete
        if complete:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, until_s - clock.monotonic_s()))
        except TimeoutError:
            raise HTTPException(408) from None
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
        if size > bytes_max:
            raise HTTPException(413)
        return message

    return bounded


def _bytes_max(scope: Scope) -> int:
    return PACK_BYTES_MAX if scope["path"].endswith(PACK_PATH) else BODY_BYTES_MAX


def _request_id(given: bytes | None) -> str:
    """The caller's request id, if it is safe for logs and headers; else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(REQUEST_ID_BYTES)


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", OTHER)
