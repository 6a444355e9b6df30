"""One HTTP call with its technical result. Knows no payment; a failure of the peer is a result."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
import structlog

from engine.clock import Clock
from gateways.connections import BrokenError, ConnectError, Gateway, TooLongError
from schemas.strict_json import UnreadableJson, read_json

log = structlog.get_logger("gateways.http_call")

UNREADABLE: Final = "UNREADABLE"
DETAILS_CHARACTERS_MAX: Final = 1_000
WHOLE_MAX: Final = 10**15


class HttpAnswer(msgspec.Struct, frozen=True):
    """`status` 0 when there was none; `body` the decoded JSON object, or None when there was none.

    `technical_result`: HTTP_<status>, TIMEOUT, CONNECT_FAILED, BROKEN or UNREADABLE.
    """

    status: int
    body: Mapping[str, Any] | None
    technical_result: str
    requested_at: int
    answered_at: int

    def text(self, name: str) -> str | None:
        """A string field of the body unchanged, or None. `readable` has checked its length."""
        value = self.body.get(name) if self.body else None
        return value if isinstance(value, str) and value else None

    def free_text(self, name: str) -> str | None:
        """Free text for people: cut at DETAILS_CHARACTERS_MAX and without NUL, or None."""
        value = self.text(name)
        return None if value is None else value.replace("\0", "")[:DETAILS_CHARACTERS_MAX]

    def whole(self, name: str) -> int | None:
        """A positive integer field of the body, or None; a float or a boolean is not an integer."""
        value = self.body.get(name) if self.body else None
        return value if type(value) is int and 0 < value <= WHOLE_MAX else None

    def has(self, name: str) -> bool:
        """Whether the body has a value under this name."""
        return self.body is not None and self.body.get(name) is not None


def readable(
    answer: HttpAnswer, texts: Mapping[str, int], wholes: Collection[str] = ()
) -> HttpAnswer:
    """The answer itself, or one without a body when it cannot be read; then its technical result
    is UNREADABLE, and the log names the field.

    `texts`: the maximum length of ids and codes by their field; `wholes`: fields of amounts and
    times. A shortened id is another id, and an amount that cannot be read must not count as the
    requested one: such an answer counts as none, and the request is repeated.
    """
    for name, most in texts.items():
        if answer.has(name) and (problem := _text_problem(answer.body, name, most)):
            return _refused(answer, name, problem)
    for name in wholes:
        if answer.has(name) and answer.whole(name) is None:
            return _refused(answer, name, "is no positive whole number")
    return answer


def _text_problem(body: Mapping[str, Any] | None, name: str, most: int) -> str | None:
    value = None if body is None else body[name]
    if not isinstance(value, str):
        return "is no text"
    if len(value) > most:
        return f"has {len(value)} characters, at most {most} are kept"
    return "holds NUL" if "\0" in value else None


def _refused(answer: HttpAnswer, name: str, problem: str) -> HttpAnswer:
    log.error("answer cannot be read and counts as none", field=name, problem=problem)
    return HttpAnswer(answer.status, None, UNREADABLE, answer.requested_at, answer.answered_at)


def call(
    gateway: Gateway, clock: Clock, method: str, path: str, body: Mapping[str, Any] | None
) -> HttpAnswer:
    """Send the request and read the answer. Never raises for errors of the peer or the network."""
    requested_at = clock.now_ms()
    content = None if body is None else msgspec.json.encode(body)
    try:
        status, raw = gateway.exchange(method, path, content, clock)
    except ConnectError:
        return HttpAnswer(0, None, "CONNECT_FAILED", requested_at, clock.now_ms())
    except (TimeoutError, TooLongError):
        return HttpAnswer(0, None, "TIMEOUT", requested_at, clock.now_ms())
    except BrokenError:
        return HttpAnswer(0, None, "BROKEN", requested_at, clock.now_ms())
    answered_at = clock.now_ms()
    try:
        decoded = read_json(raw) if raw else None
    except UnreadableJson as error:
        log.warning("answer is no json", status=status, problem=str(error))
        decoded = None
        if status < 400:
            return HttpAnswer(status, None, UNREADABLE, requested_at, answered_at)
    found = decoded if isinstance(decoded, dict) else None
    return HttpAnswer(status, found, f"HTTP_{status}", requested_at, answered_at)
