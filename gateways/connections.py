"""A gateway over HTTP/1.1: urllib3's kept connections, shared by the threads of many lanes.

No redirects, no proxies, no cookies, no compression, nothing sent twice, bodies of bounded size.
Its errors say what urllib3's do not: whether the peer may have taken the request.
"""

from __future__ import annotations

import ssl
from typing import Final, Protocol

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NewConnectionError,
    ReadTimeoutError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from engine import tracing
from engine.clock import Clock

CONNECT_TIMEOUT_SECONDS: Final = 2.0
READ_TIMEOUT_SECONDS: Final = 5.0
POOL_TIMEOUT_SECONDS: Final = 5
CALL_SECONDS_MAX: Final = 10.0  # of one call, checked after each read of the body
BODY_BYTES_MAX: Final = 65_536
READ_BYTES: Final = 16_384
CONNECTIONS_MAX: Final = 64
UNAUTHORISED: Final = 401


class ConnectError(Exception):
    """Nothing was sent: there is no connection."""


class TooLongError(Exception):
    """The peer took too long or sent too much; it may have taken the request."""


class BrokenError(Exception):
    """No complete answer came; the peer may have taken the request."""


class _TlsConnection(HTTPSConnection):
    """A failure before the end of the handshake means that nothing was sent; urllib3 itself does
    not distinguish a failed handshake from a failed call.
    """

    def connect(self) -> None:
        try:
            super().connect()
        except (OSError, HTTPError) as error:
            raise NewConnectionError(self, str(error)) from error


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Tokens(Protocol):
    """Where a bearer token comes from (`gateways.credentials`)."""

    def token(self, clock: Clock) -> str:
        """A valid token. Raises ConnectError."""

    def refused(self, token: str) -> None:
        """The gateway rejects it."""


class Gateway:
    """One address, `http(s)://host[:port][/path]`. Thread-safe."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """The bearer token is `token`, or the one that `tokens` returns. `tls`: trusted authorities
        and our certificate; by default the system's authorities and no certificate.
        Raises ValueError for an address that is not http or https.
        """
        parts = parse_url(base_url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError("is no http:// or https:// address")
        self._base = (parts.path or "").rstrip("/")
        self._whole = parts.request_uri
        self._headers = {"accept": "application/json", "user-agent": "npp-orchestrator"}
        self._tokens = tokens
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        timeout = Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
        self._pool: HTTPConnectionPool
        if parts.scheme == "http":
            self._pool = HTTPConnectionPool(
                parts.host, parts.port, timeout, CONNECTIONS_MAX, block=True
            )
        else:
            self._pool = _TlsPool(
                parts.host,
                parts.port,
                timeout,
                CONNECTIONS_MAX,
                block=True,
                ssl_context=tls or ssl.create_default_context(),
            )

    def exchange(
        self,
        method: str,
        path: str,
        content: bytes | None,
        clock: Clock,
        *,
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        """Status and body; an empty `path` is the address itself.

        Raises ConnectError, and TimeoutError, TooLongError, BrokenError; after any but the first
        the peer may have taken the request.
        """
        deadline_s = clock.monotonic_s() + CALL_SECONDS_MAX
        headers = self._headers
        if (trace := tracing.passed_on()) is not None:
            headers = {**headers, tracing.HEADER: trace}
        if content is not None:
            headers = {**headers, "content-type": content_type}
        token = None
        if self._tokens is not None:
            token = self._tokens.token(clock)
            headers = {**headers, "authorization": f"Bearer {token}"}
        try:
            response = self._pool.urlopen(
                method,
                self._base + path if path else self._whole,
                content,
                headers,
                retries=False,
                redirect=False,
                pool_timeout=POOL_TIMEOUT_SECONDS,
                preload_content=False,
                decode_content=False,
            )
            if self._tokens is not None and token is not None and response.status == UNAUTHORISED:
                self._tokens.refused(token)
            try:
                return response.status, _body(response, clock, deadline_s)
            finally:  # a response read to its end has returned its connection; else close it
                response.close()
                response.release_conn()
        except (ConnectTimeoutError, EmptyPoolError, ClosedPoolError) as error:
            raise ConnectError(str(error)) from error
        except ReadTimeoutError as error:
            raise TimeoutError(str(error)) from error
        except HTTPError as error:
            raise BrokenError(str(error)) from error

    def close(self) -> None:
        """Close the connections for good: later calls raise ConnectError."""
        self._pool.close()


def _body(response: BaseHTTPResponse, clock: Clock, deadline_s: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(READ_BYTES):
        size += len(chunk)
        if size > BODY_BYTES_MAX or clock.monotonic_s() > deadline_s:
            raise TooLongError
        chunks.append(chunk)
    return b"".join(chunks)
