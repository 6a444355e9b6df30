"""Outcomes of operator commands, as checkpoints cover them: the payment and the hash of each.

MISROUTED ones decided nothing about any payment and are left out.
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
    """`partition` is the journal's, `offset` that on the outcomes topic."""

    partition: int
    offset: int
    payment: str
    hash: bytes


def operator_outcome(
    codec: Codec, record: LogRecord, outcomes_partitions: int
) -> OperatorOutcome | None:
    """None for every other record: of another kind of input, unreadable, or where no engine of ours
    writes it.
    """
    try:
        outcome = codec.decode(OUTCOMES, record.value, record.headers)
    except Undecodable:
        return None
    return of_outcome(record, outcome, outcomes_partitions)


def of_outcome(
    record: LogRecord, outcome: object, outcomes_partitions: int
) -> OperatorOutcome | None:
    """The same of a decoded one."""
    if not isinstance(outcome, Outcome) or outcome.cause.topic != OPERATOR_COMMANDS:
        return None
    journal = outcome.cause.partition
    if outcome.result == MISROUTED or journal % outcomes_partitions != record.partition:
        return None
    digest = hashlib.sha256(record.value or b"").digest()
    return OperatorOutcome(journal, record.offset, outcome.payment_intent_id, digest)
