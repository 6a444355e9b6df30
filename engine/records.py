"""Records as the log has them and as the engine decides them, from the client's messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from operator import methodcaller
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from engine.errors import Exit
from engine.ports import Headers, InputRecord

# Stands for headers of which one has a name that is not UTF-8: the client cannot give them.
UNREADABLE_HEADER: Final = "npp-unreadable-headers"
UNREADABLE_HEADERS: Final = "the name of one of its headers is not UTF-8"


# Not `message.headers()`: the interpreter calls a method that it has often called without looking
# whether it has failed, and the failure would come up anywhere later.
_headers: Final = methodcaller("headers")


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it is on the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def is_one_of(self, hashes: Mapping[int, bytes]) -> bool:
        """Whether its raw value has the SHA-256 recorded for its offset."""
        named = hashes.get(self.offset)
        return named is not None and named == hashlib.sha256(self.value or b"").digest()


def to_log_record(message: Message) -> LogRecord:
    """The client's message as a value. Raises Exit for one without a place."""
    return LogRecord(
        *place_of(message),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )


def to_input_record(message: Message, now_ms: int) -> InputRecord:
    """The client's message as an input that was polled at `now_ms`. Raises Exit for one without a
    place."""
    return InputRecord(
        *place_of(message),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
        now_ms,
    )


def place_of(message: Message) -> tuple[str, int, int]:
    """Topic, partition and offset. Raises Exit when one is missing: a defect of the client."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise Exit("BAD_RECORD", "the client gave a record without a place")
    return topic, partition, offset


def headers_of(message: Message) -> Headers:
    """Headers untouched, in order; UNREADABLE_HEADER alone for headers that the client cannot give:
    one record must not end every process that reads it."""
    try:
        headers: Any = _headers(message)
    except SystemError as error:
        # The client decodes the names and overlooks that one is not UTF-8. Never asked again: the
        # list that it keeps then holds no object where the name should be.
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        return [(UNREADABLE_HEADER, None)]
    return headers or []


def has_unreadable_headers(headers: Headers | None) -> bool:
    """Whether a header's name could not be read; such a record can neither be decoded nor copied
    untouched."""
    return any(name == UNREADABLE_HEADER for name, _ in headers or ())
