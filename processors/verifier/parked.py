"""Whether a quarantined record is the input that a ProcessingSuspended names."""

from __future__ import annotations

import hashlib

from control import quarantine
from core.header import Cause
from engine.records import LogRecord


def is_parked(record: LogRecord, cause: Cause) -> bool:
    """Whether it is PARKED, from that position, with those bytes."""
    try:
        found = quarantine.parse(record.headers)
    except ValueError:
        return False
    if (found.reason, found.topic, found.partition, found.offset) != (
        quarantine.PARKED, cause.topic, cause.partition, cause.offset,
    ):  # fmt: skip
        return False
    if found.reference is not None:
        return found.reference.value_sha256 == cause.input_hash
    return hashlib.sha256(record.value or b"").digest() == cause.input_hash
