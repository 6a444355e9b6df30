"""Log records and engine inputs, from the client's messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from engine.errors import Exit
from engine.ports import Headers, InputRecord, RecordPosition

# Replaces headers of which one has a non-UTF-8 name: the client cannot return them.
UNREADABLE_HEADER: Final = "npp-unreadable-headers"
UNREADABLE_HEADERS: Final = "the name of one of its headers is not UTF-8"


# Not `message.headers()`: the specialising interpreter does not check this method's error, which
# would then be raised at some later point.
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
    """The client's message as a value. Raises Exit for one without a position."""
    return LogRecord(
        *place_of(message),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )


def to_input_record(message: Message, now_ms: int) -> InputRecord:
    """The client's message as an input that was polled at `now_ms`. Raises Exit for one without a
    position.
    """
    topic, partition, offset = place_of(message)
    at_ms, headers = message.timestamp()[1], headers_of(message)
    key, value = message.key(), message.value()
    return InputRecord(topic, partition, offset, at_ms, key, value, headers, now_ms)


def pairs_of(messages: Sequence[Message]) -> tuple[list[tuple[str, bytes | None]], int]:
    """Key as text and value of each message that has a key, and the offset after the last. Costs a
    fraction of the CPU of LogRecords. Raises Exit for a message without a position.
    """
    pairs = []
    for message in messages:
        key = message.key()
        if key is not None:
            pairs.append((key.decode(errors="replace"), message.value()))
    return pairs, place_of(messages[-1])[2] + 1


def place_of(message: Message) -> RecordPosition:
    """Topic, partition and offset. Raises Exit if one is missing: a defect of the client."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise Exit("BAD_RECORD", "the client returned a record without its position")
    return topic, partition, offset


def headers_of(message: Message) -> Headers:
    """Headers untouched, in order; only UNREADABLE_HEADER if the client cannot return them: one
    record must not end every process that reads it.
    """
    try:
        headers: Any = _headers(message)
    except SystemError as error:
        # The client decodes the names without checking for non-UTF-8. Never call it again: its
        # cached list then has a null object in place of the name.
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        return [(UNREADABLE_HEADER, None)]
    return headers or []


def has_unreadable_headers(headers: Headers | None) -> bool:
    """Whether a header's name could not be read; such a record can neither be decoded nor copied
    untouched.
    """
    return any(name == UNREADABLE_HEADER for name, _ in headers or ())
