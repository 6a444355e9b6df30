"""Headers of a quarantined record: why it stands there, where it came from. The value is raw bytes.

Whoever writes to the quarantine topic uses `headers`; whoever reads it uses `parse`.
All values are UTF-8.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.ports import Headers

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

UNDECODABLE: Final = "UNDECODABLE"
MISROUTED: Final = "MISROUTED"
UNMATCHED: Final = "UNMATCHED"
PARKED: Final = "PARKED"
REASONS: Final = frozenset({UNDECODABLE, MISROUTED, UNMATCHED, PARKED})

# Free text in a header is for people; a record must not grow past the topic's limit because of it.
DETAIL_CHARACTERS_MAX: Final = 500


class Quarantined(msgspec.Struct, frozen=True):
    """Why a record was quarantined, its origin, and the headers it had there.

    `offset` is -1 for what never stood on a topic (a rail callback that matched nothing);
    `timestamp_ms` is the origin record's append time, or the time of arrival.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    original: Headers


def headers(
    reason: str,
    detail: str,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    original: Headers | None = None,
) -> Headers:
    """The six own headers in their fixed order, then the origin record's headers untouched.

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


def parse(record_headers: Headers | None) -> Quarantined:
    """Read what `headers` wrote: the first six headers are ours, all after them are the origin's.

    Raises ValueError when they are missing, out of order or not readable.
    """
    given = list(record_headers or [])
    own = given[: len(OWN_HEADERS)]
    if tuple(name for name, _ in own) != OWN_HEADERS:
        raise ValueError("the quarantine headers are missing or out of order")
    values = [(value or b"").decode() for _, value in own]
    reason, detail, topic, partition, offset, timestamp = values
    if reason not in REASONS:
        raise ValueError(f"unknown quarantine reason {reason!r}")
    return Quarantined(
        reason=reason,
        detail=detail,
        topic=topic,
        partition=int(partition),
        offset=int(offset),
        timestamp_ms=int(timestamp),
        original=given[len(OWN_HEADERS) :],
    )
