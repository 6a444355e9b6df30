"""Quarantined records: the reason, the origin, and the bytes or a reference.

Writers of the quarantine topic use `copy_of` or `reference_to`, readers use `parse`. A copy holds
the record's key, value and headers untouched. What is too large to copy is quarantined by
reference: origin, sizes, SHA-256 and the first KiB; the original stays on its topic. What is
written about a record is bounded either way: a record may unpack to far more than its topic's
limit, which counts compressed bytes.
"""

from __future__ import annotations

import hashlib
from typing import Final, get_args

import msgspec

from core import closed_sets
from core.words import QuarantineReason
from engine.ports import Headers, InputRecord
from engine.records import LogRecord, has_unreadable_headers

COPY: Final = "npp-copy"
REASON: Final = "npp-reason"
DETAIL: Final = "npp-detail"
ORIGIN_TOPIC: Final = "npp-origin-topic"
ORIGIN_PARTITION: Final = "npp-origin-partition"
ORIGIN_OFFSET: Final = "npp-origin-offset"
ORIGIN_TIMESTAMP: Final = "npp-origin-timestamp"
OWN_HEADERS: Final = (
    REASON,
    DETAIL,
    ORIGIN_TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    ORIGIN_TIMESTAMP,
)
BY_REFERENCE: Final = b"REFERENCE"  # value of the header COPY, which whole copies do not have
VALUE_BYTES: Final = "npp-original-value-bytes"
VALUE_SHA256: Final = "npp-original-value-sha256"
KEY_BYTES: Final = "npp-original-key-bytes"
HEADERS_COUNT: Final = "npp-original-headers-count"
HEADERS_BYTES: Final = "npp-original-headers-bytes"
REFERENCE_HEADERS: Final = (VALUE_BYTES, VALUE_SHA256, KEY_BYTES, HEADERS_COUNT, HEADERS_BYTES)

UNDECODABLE: Final = "UNDECODABLE"
MISROUTED: Final = "MISROUTED"
UNMATCHED: Final = "UNMATCHED"
PARKED: Final = "PARKED"
RAIL_CALLBACKS: Final = "callbacks/rail"  # origin of a callback, in place of a topic name
REASONS: Final[frozenset[QuarantineReason]] = frozenset(get_args(closed_sets.QuarantineReason))

# Free text in a header is for people; a record must not grow past the topic's limit because of it.
DETAIL_CHARACTERS_MAX: Final = 500
# Of a copy with its own headers: the topic takes 2 MiB (topics.yaml), and a batch of one record
# adds at most 100 bytes.
COPY_BYTES_MAX: Final = 2_000_000
EXCERPT_BYTES: Final = 1_024  # of the key, and of the value, in a reference
RECORD_BYTES: Final = 36  # lengths and times of one record, at most
HEADER_BYTES: Final = 10  # the two lengths of one header, at most
SIZE_MAX: Final = 2**48  # of each size in a reference
NONE: Final = -1  # bytes of a key or value that is null; headers that the client cannot read


class Reference(msgspec.Struct, frozen=True):
    """What is recorded of an original that was too large to copy. Sizes in bytes, before
    compression; -1 for a null key or value, and for headers that the client cannot read."""

    value_bytes: int
    value_sha256: bytes
    key_bytes: int
    headers_count: int
    headers_bytes: int  # of names and values


class Quarantined(msgspec.Struct, frozen=True):
    """Why a record was quarantined, its origin, and the headers it had there.

    `offset` is -1 for a record that was never on a topic (a rail callback that matched nothing);
    `timestamp_ms` is the origin record's append time, or the time of arrival. With a `reference`
    only the first KiB of key and value are in quarantine, and `original` is empty.
    """

    reason: QuarantineReason
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    original: Headers
    reference: Reference | None = None


class Copy(msgspec.Struct, frozen=True):
    """The record to write to the quarantine topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def by_reference(self) -> bool:
        return self.headers[0][0] == COPY


def headers(
    reason: QuarantineReason,
    detail: str,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    original: Headers | None = None,
) -> Headers:
    """The headers of a whole copy: OWN_HEADERS in this order, then the record's own unchanged.

    Raises ValueError for a reason that is not one of REASONS.
    """
    if reason not in REASONS:
        raise ValueError(f"unknown quarantine reason {reason!r}")
    own: Headers = [
        (REASON, reason.encode()),
        (DETAIL, detail[:DETAIL_CHARACTERS_MAX].encode(errors="replace")),
        (ORIGIN_TOPIC, topic.encode()),
        (ORIGIN_PARTITION, str(partition).encode()),
        (ORIGIN_OFFSET, str(offset).encode()),
        (ORIGIN_TIMESTAMP, str(timestamp_ms).encode()),
    ]
    return own + list(original or [])


def copy_of(record: LogRecord | InputRecord, reason: QuarantineReason, detail: str) -> Copy:
    """A whole copy; a reference if the copy would have more than COPY_BYTES_MAX bytes, or if the
    client cannot read the headers. Raises ValueError for a reason that is not one of REASONS.
    """
    whole = _own(record, reason, detail) + list(record.headers)
    if _record_bytes(record, whole) > COPY_BYTES_MAX or has_unreadable_headers(record.headers):
        return reference_to(record, reason, detail)
    return Copy(record.key, record.value, whole)


def reference_to(
    record: LogRecord | InputRecord,
    reason: QuarantineReason,
    detail: str,
    found: Reference | None = None,
) -> Copy:
    """A reference to the record, of a few KiB at most: also for a copy that Kafka has refused.

    `found` describes the original, when `record` has only its beginning. Raises ValueError for a
    reason that is not one of REASONS.
    """
    found = found or reference_of(record)
    own: Headers = [
        (COPY, BY_REFERENCE),
        *_own(record, reason, detail),
        (VALUE_BYTES, str(found.value_bytes).encode()),
        (VALUE_SHA256, found.value_sha256.hex().encode()),
        (KEY_BYTES, str(found.key_bytes).encode()),
        (HEADERS_COUNT, str(found.headers_count).encode()),
        (HEADERS_BYTES, str(found.headers_bytes).encode()),
    ]
    return Copy(_excerpt(record.key), _excerpt(record.value), own)


def reference_of(record: LogRecord | InputRecord) -> Reference:
    """What a reference says of this record; equal for the same record."""
    readable = not has_unreadable_headers(record.headers)
    return Reference(
        value_bytes=_length(record.value),
        value_sha256=hashlib.sha256(record.value or b"").digest(),
        key_bytes=_length(record.key),
        headers_count=len(record.headers) if readable else NONE,
        headers_bytes=sum(map(_header_bytes, record.headers)) if readable else NONE,
    )


def parse(record_headers: Headers | None) -> Quarantined:
    """Read what `copy_of` and `reference_to` wrote.

    Raises ValueError when those headers are missing, out of order or unreadable.
    """
    given = list(record_headers or [])
    if given and given[0][0] == COPY:
        return _parse_reference(given)
    own = given[: len(OWN_HEADERS)]
    return _parse_own(own, given[len(OWN_HEADERS) :], None)


def _parse_reference(given: Headers) -> Quarantined:
    end = 1 + len(OWN_HEADERS)
    names = tuple(name for name, _ in given[end:])
    if given[0][1] != BY_REFERENCE or names != REFERENCE_HEADERS:
        raise ValueError("the quarantine headers of a reference are missing or out of order")
    value_bytes, digest, key_bytes, count, headers_bytes = _texts(given[end:])
    reference = Reference(
        int(value_bytes), bytes.fromhex(digest), int(key_bytes), int(count), int(headers_bytes)
    )
    numbers = (reference.value_bytes, reference.key_bytes, reference.headers_count)
    if not all(NONE <= each <= SIZE_MAX for each in (*numbers, reference.headers_bytes)):
        raise ValueError("a size in the quarantine headers of a reference is out of range")
    return _parse_own(given[1:end], [], reference)


def _parse_own(own: Headers, original: Headers, reference: Reference | None) -> Quarantined:
    if tuple(name for name, _ in own) != OWN_HEADERS:
        raise ValueError("the quarantine headers are missing or out of order")
    reason, detail, topic, partition, offset, timestamp = _texts(own)
    if reason not in REASONS:
        raise ValueError(f"unknown quarantine reason {reason!r}")
    return Quarantined(
        reason=reason,
        detail=detail,
        topic=topic,
        partition=int(partition),
        offset=int(offset),
        timestamp_ms=int(timestamp),
        original=original,
        reference=reference,
    )


def _texts(found: Headers) -> list[str]:
    return [(value or b"").decode() for _, value in found]


def _own(record: LogRecord | InputRecord, reason: QuarantineReason, detail: str) -> Headers:
    return headers(
        reason,
        detail,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
    )


def _excerpt(content: bytes | None) -> bytes | None:
    return None if content is None else content[:EXCERPT_BYTES]


def _length(content: bytes | None) -> int:
    return NONE if content is None else len(content)


def _record_bytes(record: LogRecord | InputRecord, whole: Headers) -> int:
    """The size of a copy with these headers before compression, at most."""
    content = len(record.key or b"") + len(record.value or b"")
    return RECORD_BYTES + content + sum(HEADER_BYTES + _header_bytes(each) for each in whole)


def _header_bytes(header: tuple[str, bytes | None]) -> int:
    name, value = header
    return len(name.encode()) + len(value or b"")
