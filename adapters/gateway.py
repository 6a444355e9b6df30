"""A gateway over HTTP/1.1: kept connections, shared by the threads of many lanes.

Not a general client: no redirects, no proxies, no cookies, no compression, bodies of bounded size.
A call costs a third of the CPU that a general client takes, which decides how many payments one
process carries.
"""

from __future__ import annotations

import http.client
import select
import ssl
import threading
from typing import Final
from urllib.parse import urlsplit

from engine.clock import Clock

CONNECT_TIMEOUT_SECONDS: Final = 2.0
READ_TIMEOUT_SECONDS: Final = 5.0
POOL_TIMEOUT_SECONDS: Final = 5.0
CALL_SECONDS_MAX: Final = 10.0  # of one call: connect, send, read, whatever the peer trickles
BODY_BYTES_MAX: Final = 65_536
READ_BYTES: Final = 16_384
CONNECTIONS_MAX: Final = 64


class ConnectError(Exception):
    """Nothing was sent: there is no connection."""


class TooLongError(Exception):
    """The peer takes longer, or sends more, than a call may."""


class Gateway:
    """One address, `http(s)://host[:port][/path]`; `token` is sent as a bearer. Thread-safe."""

    def __init__(self, base_url: str, *, token: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http:// or https:// address")
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/")
        self._whole = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._headers = {"accept": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def exchange(
        self, method: str, path: str, content: bytes | None, clock: Clock
    ) -> tuple[int, bytes]:
        """Status and body; an empty `path` is the address itself.

        Raises ConnectError, TooLongError, TimeoutError, OSError and http.client.HTTPException;
        after any but the first the peer may have taken the request.
        """
        deadline_s = clock.monotonic_s() + CALL_SECONDS_MAX
        if not self._slots.acquire(timeout=POOL_TIMEOUT_SECONDS):
            raise ConnectError("all connections are in use")
        try:
            connection = self._connection()
            try:
                answer = self._answer(connection, method, path, content, clock, deadline_s)
            except BaseException:
                connection.close()
                raise
            if connection.sock is not None:  # the peer keeps it, too
                with self._lock:
                    self._idle.append(connection)
            return answer
        finally:
            self._slots.release()

    def close(self) -> None:
        """Give the idle connections back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
        clock: Clock,
        deadline_s: float,
    ) -> tuple[int, bytes]:
        headers = self._headers
        if content is not None:
            headers = {**headers, "content-type": "application/json"}
        target = self._base + path if path else self._whole
        connection.request(method, target, body=content, headers=headers)
        response = connection.getresponse()
        chunks: list[bytes] = []
        size = 0
        while chunk := response.read1(READ_BYTES):
            size += len(chunk)
            if size > BODY_BYTES_MAX or clock.monotonic_s() > deadline_s:
                raise TooLongError
            chunks.append(chunk)
        if response.length:
            raise http.client.IncompleteRead(b"".join(chunks), response.length)
        response.close()  # only then the connection takes the next request
        return response.status, b"".join(chunks)

    def _connection(self) -> http.client.HTTPConnection:
        """An idle one that the peer has not closed, else a new one. Raises ConnectError."""
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.sock is not None and not _has_something(connection):
                return connection
            connection.close()
        return self._connected()

    def _connected(self) -> http.client.HTTPConnection:
        if self._tls is None:
            made = http.client.HTTPConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_SECONDS
            )
        else:
            made = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_SECONDS, context=self._tls
            )
        try:
            made.connect()
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectError(str(error)) from error
        made.sock.settimeout(READ_TIMEOUT_SECONDS)
        return made


def _has_something(connection: http.client.HTTPConnection) -> bool:
    """An idle connection with something to read was closed by the peer, or is out of step."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
