"""Records as the log has them and as the engine decides them, from the client's messages."""

from __future__ import annotations

from typing import Any

import msgspec
from confluent_kafka import Message

from engine.errors import Exit
from engine.ports import Headers, InputRecord


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it stands on the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


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
    """Headers untouched, in order."""
    headers: Any = message.headers()
    return headers or []
