"""Outcomes of operator commands, as checkpoints cover them: the payment and the hash of each.

A MISROUTED command decided nothing about any payment, so its outcome is left out.
"""

from __future__ import annotations

import hashlib

import msgspec

from core.records import Outcome
from engine.records import LogRecord
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import OPERATOR_COMMANDS, OUTCOMES

MISROUTED = "MISROUTED"


class OperatorOutcome(msgspec.Struct, frozen=True, gc=False):
    """`partition` is the journal's, `offset` the one on the outcomes topic, `hash` the SHA-256 of
    the raw outcome.
    """

    partition: int
    offset: int
    payment: str
    hash: bytes


def operator_outcome(
    codec: Codec, record: LogRecord, outcomes_partitions: int
) -> OperatorOutcome | None:
    """The operator outcome in a record. None for outcomes of other inputs, unreadable records, and
    records on a partition to which the engine does not write them.
    """
    try:
        outcome = codec.decode(OUTCOMES, record.value, record.headers)
    except Undecodable:
        return None
    return of_outcome(record, outcome, outcomes_partitions)


def of_outcome(
    record: LogRecord, outcome: object, outcomes_partitions: int
) -> OperatorOutcome | None:
    """As `operator_outcome`, for a record that was decoded already."""
    if not isinstance(outcome, Outcome) or outcome.cause.topic != OPERATOR_COMMANDS:
        return None
    journal = outcome.cause.partition
    if outcome.result == MISROUTED or journal % outcomes_partitions != record.partition:
        return None
    digest = hashlib.sha256(record.value or b"").digest()
    return OperatorOutcome(journal, record.offset, outcome.payment_intent_id, digest)
