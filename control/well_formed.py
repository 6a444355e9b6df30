"""Finds control records that are readable but malformed: lists of different lengths, impossible
numbers. They are refused before their content is considered.
"""

from __future__ import annotations

from typing import Final, assert_never

from core import control_records as records
from core.control_records import (
    RULINGS,
    ActConfirmed,
    ControlRecord,
    DispositionRequested,
    OperatorsActivated,
)

HASH_BYTES: Final = 32
TEXT_CHARACTERS_MAX: Final = 2_000
ID_CHARACTERS_MAX: Final = 200
LIST_MAX: Final = 100_000
_TEXTS: Final = ("reason", "scope")
_IDS: Final = (
    *("actor", "stop_id", "request_id", "payment_intent_id", "topic", "cause", "event_type"),
)


def malformed(record: ControlRecord) -> str | None:
    """What is wrong with the record, or None."""
    for names, most in ((_TEXTS, TEXT_CHARACTERS_MAX), (_IDS, ID_CHARACTERS_MAX)):
        for name in names:
            text = getattr(record, name, None)
            if isinstance(text, str) and len(text) > most:
                return f"{name} has more than {most} characters"
    if not record.actor.strip():
        return "nobody is named"
    match record:
        case records.ClusterRecorded(partitions=count):
            return None if 0 < count <= LIST_MAX else f"{count} partitions"
        case records.SourceMapActivated(number=number, topics=topics, sources=sources):
            if len(topics) != len(sources) or len(set(topics)) != len(topics):
                return f"{len(set(topics))} topics with {len(sources)} lists of sources"
            return _positive(number)
        case records.RuleSetActivated(number=number, sha256=sha256):
            return _positive(number) if len(sha256) == HASH_BYTES else "no SHA-256"
        case OperatorsActivated(number=number, sha256=sha256):
            return _positive(number) if len(sha256) == HASH_BYTES else "no SHA-256"
        case DispositionRequested(ruling=ruling) if ruling not in RULINGS:
            return f"no ruling is named {ruling[:ID_CHARACTERS_MAX]}"
        case DispositionRequested(partition=partition, offset=offset, event_hash=event_hash):
            return _place(min(partition, offset)) if len(event_hash) == HASH_BYTES else "no SHA-256"
        case ActConfirmed(request_offset=offset) | records.ResumeConfirmed(request_offset=offset):
            return _place(offset)
        case records.ResumeRequested(proof_offset=offset):
            return _place(offset)
        case records.ProofPassed(offsets=offsets):
            return None if all(each >= 0 for each in offsets) else "an offset is below zero"
        case records.RedriveRequested(partition=partition, offsets=offsets):
            if not offsets or len(offsets) > LIST_MAX or min((partition, *offsets)) < 0:
                return "it names no quarantined records"
        case records.RedriveDone(request_id=name, redriven=count, refused=refused):
            if not name.strip() or not 0 <= count <= LIST_MAX:
                return f"{count} records put back for request {name!r}"
            if len(refused or "") > TEXT_CHARACTERS_MAX:
                return f"refused has more than {TEXT_CHARACTERS_MAX} characters"
        case records.RecoverRequested(partitions=partitions):
            if any(each < 0 for each in partitions) or len(partitions) > LIST_MAX:
                return "it names a partition below zero, or too many partitions"
        case records.RecoverConfirmed(journal_ends=ends, checkpoints=checkpoints):
            if len(ends) != len(checkpoints):
                return f"{len(ends)} ends with {len(checkpoints)} checkpoints"
        case records.InputAdded() | records.UnparkRequested() | records.RedriveConfirmed():
            return None
        case records.ProcessingStopped():
            return None
        case _:
            assert_never(record)
    return None


def _positive(number: int) -> str | None:
    return None if number > 0 else f"number {number}"


def _place(offset: int) -> str | None:
    return None if offset >= 0 else f"offset {offset}"
