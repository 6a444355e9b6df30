"""One HTTP call with its technical result. Knows no payment; raises nothing for the peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.gateway import BrokenError, ConnectError, Gateway, TooLongError
from engine.clock import Clock

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


def call(
    gateway: Gateway, clock: Clock, method: str, path: str, body: Mapping[str, Any] | None
) -> HttpAnswer:
    """Send, and read what comes. Never raises for the peer or the network."""
    asked_at = clock.now_ms()
    content = None if body is None else msgspec.json.encode(body)
    try:
        status, raw = gateway.exchange(method, path, content, clock)
    except ConnectError:
        return HttpAnswer(0, None, "CONNECT_FAILED", asked_at, clock.now_ms())
    except (TimeoutError, TooLongError):
        return HttpAnswer(0, None, "TIMEOUT", asked_at, clock.now_ms())
    except BrokenError:
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
