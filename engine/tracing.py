"""Trace context (W3C `traceparent`) on its way through Kafka and HTTP headers, and the port by
which spans are recorded. Independent of OpenTelemetry: `app.telemetry.tracing` implements the port
if a collector is configured. Without one nothing is recorded, and an incoming trace is passed on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from engine.ports import Headers, InputRecord

HEADER: Final = "traceparent"
# Version 00: trace id, span id, flags; an id of only zeros is invalid.
_FORM: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_BYTES: Final = 16

# Attributes of a span about a record, by OpenTelemetry's names.
RECORD_TOPIC: Final = "messaging.destination.name"
RECORD_PARTITION: Final = "messaging.destination.partition.id"
RECORD_OFFSET: Final = "messaging.kafka.offset"

_passed_on: Final[ContextVar[str | None]] = ContextVar("_passed_on", default=None)

Attributes = Mapping[str, str | int]


class Span(Protocol):
    """One piece of work. `traceparent` is passed on by its calls and records."""

    traceparent: str

    def end(self, outcome: str) -> None:
        """The work is done; without this call the span is never recorded. Does not block."""


class Tracer(Protocol):
    """Records spans. No call blocks or raises: an unreachable collector has no effect."""

    def begin(self, name: str, parent: str | None, key: str, attributes: Attributes) -> Span:
        """A span below `parent`, a traceparent. Without one it is in the trace of the key, which is
        a payment's (`trace_id`).
        """


def is_traceparent(text: str | None) -> bool:
    """Whether it is one of version 00."""
    return text is not None and _FORM.fullmatch(text) is not None


def trace_id(traceparent: str | None, key: str) -> str:
    """The trace id (32 hex digits) in the traceparent; otherwise that of the key's own trace: the
    first 16 bytes of the key's SHA-256, so every process computes the same.
    """
    found = None if traceparent is None else _FORM.fullmatch(traceparent)
    return found[1] if found else hashlib.sha256(key.encode()).digest()[:_TRACE_BYTES].hex()


def of_record(record: InputRecord, key: str) -> dict[str, str | int]:
    """Attributes of the work on a record with this key, a payment's."""
    return {
        "npp.payment": key,
        RECORD_TOPIC: record.topic,
        RECORD_PARTITION: str(record.partition),
        RECORD_OFFSET: record.offset,
    }


def carried_by(headers: Headers | None) -> str | None:
    """The traceparent in a record's headers, if there is a valid one."""
    for name, value in headers or ():
        if name == HEADER and value is not None:
            text = value.decode("ascii", "replace")
            return text if is_traceparent(text) else None
    return None


def as_headers(traceparent: str | None) -> Headers | None:
    """Headers of a record that passes it on."""
    return None if traceparent is None else [(HEADER, traceparent.encode())]


def passed_on() -> str | None:
    """The traceparent that this thread's calls currently pass on."""
    return _passed_on.get()


@contextmanager
def passing_on(traceparent: str | None) -> Iterator[None]:
    """Until the end, calls and records of this thread pass it on."""
    token = _passed_on.set(traceparent)
    try:
        yield
    finally:
        _passed_on.reset(token)
