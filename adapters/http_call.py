"""One bounded HTTP call with its technical result. Knows no payment; raises nothing for the peer.

The body read is bounded in bytes and the whole call in time, whatever the peer trickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from engine.clock import Clock

CONNECT_TIMEOUT_SECONDS: Final = 2.0
READ_TIMEOUT_SECONDS: Final = 5.0
POOL_TIMEOUT_SECONDS: Final = 5.0
CALL_SECONDS_MAX: Final = 10.0  # of one call: connect, send, read, whatever the peer trickles
BODY_BYTES_MAX: Final = 65_536
CONNECTIONS_MAX: Final = 64
TEXT_CHARACTERS_MAX: Final = 64
DETAILS_CHARACTERS_MAX: Final = 1_000
WHOLE_MAX: Final = 10**15


class HttpAnswer(msgspec.Struct, frozen=True):
    """`status` 0 when there was none; `body` the decoded JSON object, or None when there was none.

    `technical_result`: HTTP_<status>, TIMEOUT, CONNECT_FAILED, BROKEN or UNREADABLE.
    """

    status: int
    body: Mapping[str, Any] | None
    technical_result: str
    asked_at: int
    answered_at: int

    def text(self, name: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str | None:
        """A string field of the body, cut at `characters_max` and without NUL, or None."""
        value = self.body.get(name) if self.body else None
        return value.replace("\0", "")[:characters_max] if isinstance(value, str) else None

    def whole(self, name: str) -> int | None:
        """A positive integer field of the body, or None; a float or a boolean is no integer."""
        value = self.body.get(name) if self.body else None
        return value if type(value) is int and 0 < value <= WHOLE_MAX else None

    def has(self, name: str) -> bool:
        """Whether the body says anything under this name."""
        return self.body is not None and self.body.get(name) is not None


def make_client(base_url: str, *, token: str | None = None) -> httpx.Client:
    """A client with every wait bounded. Proxies of the environment are not used."""
    return httpx.Client(
        base_url=base_url,
        headers={"authorization": f"Bearer {token}"} if token else None,
        timeout=httpx.Timeout(
            connect=CONNECT_TIMEOUT_SECONDS,
            read=READ_TIMEOUT_SECONDS,
            write=READ_TIMEOUT_SECONDS,
            pool=POOL_TIMEOUT_SECONDS,
        ),
        limits=httpx.Limits(
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
        ),
        follow_redirects=False,
        trust_env=False,
    )


def call(
    client: httpx.Client, clock: Clock, method: str, path: str, body: Mapping[str, Any] | None
) -> HttpAnswer:
    """Send, and read what comes. Never raises for the peer or the network."""
    asked_at = clock.now_ms()
    begun_s = clock.monotonic_s()
    try:
        with client.stream(method, path, json=body) as response:
            raw = _read(response, clock, begun_s + CALL_SECONDS_MAX)
            status = response.status_code
    except httpx.ConnectError:
        return HttpAnswer(0, None, "CONNECT_FAILED", asked_at, clock.now_ms())
    except (httpx.TimeoutException, _TooLongError):
        return HttpAnswer(0, None, "TIMEOUT", asked_at, clock.now_ms())
    except (httpx.HTTPError, httpx.StreamError):
        return HttpAnswer(0, None, "BROKEN", asked_at, clock.now_ms())
    answered_at = clock.now_ms()
    try:
        decoded = msgspec.json.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
        if status < 400:
            return HttpAnswer(status, None, "UNREADABLE", asked_at, answered_at)
    found = decoded if isinstance(decoded, dict) else None
    return HttpAnswer(status, found, f"HTTP_{status}", asked_at, answered_at)


class _TooLongError(Exception):
    """The peer takes longer, or sends more, than a call may."""


def _read(response: httpx.Response, clock: Clock, deadline_s: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > BODY_BYTES_MAX or clock.monotonic_s() > deadline_s:
            raise _TooLongError
        chunks.append(chunk)
    return b"".join(chunks)
