"""All topics except the journal as rows of the read model: outcomes, operators' commands, the audit
topic, control, quarantine, checkpoints.

Pure. Outside text is unchanged here; the writer makes it storable.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control import quarantine
from control.acts.actors import Refusal
from control.fold import Control
from control.requests import ask
from core import control_records, records
from core.control_records import (
    ActConfirmed,
    ControlRecord,
    DispositionRequested,
    OperatorsActivated,
)
from core.values import payment_id_of_external_ref
from engine.clients.partition_errors import Passed
from engine.records import LogRecord
from processors.projector.rulings import undecoded
from readmodel import audit_rows, rows

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1
PAYMENT_ID: Final = re.compile(rb"pi_[a-z2-7]{26}")

# -- outcomes ---


def outcome_row(at: LogRecord, outcome: records.Outcome) -> rows.OutcomeRow:
    """The outcome of an input."""
    cause = outcome.cause
    return rows.OutcomeRow(
        partition=at.partition,
        offset=at.offset,
        payment_intent_id=outcome.payment_intent_id,
        cause_topic=cause.topic,
        cause_partition=cause.partition,
        cause_offset=cause.offset,
        command_id=cause.command_id,
        input_type=outcome.input_type,
        result=outcome.result,
        code=outcome.code,
        rule=outcome.rule,
        sentence=outcome.sentence,
        decided_at=outcome.decided_at,
        from_sequence=outcome.from_sequence,
        to_sequence=outcome.to_sequence,
        raw=at.value or b"",
    )


# -- control ---

_NOT_SHOWN: Final = frozenset(
    {
        *("recorded_at", "activated_at", "stopped_at", "requested_at", "confirmed_at"),
        *("passed_at", "done_at", "actor", "reason", "signature", "content"),
    }
)
_CONTROL_ACTIONS: Final[dict[type, str]] = {
    control_records.RuleSetActivated: "ACTIVATE_RULES",
    control_records.ProcessingStopped: "STOP",
    control_records.ResumeRequested: "REQUEST_RESUME",
    control_records.ResumeConfirmed: "CONFIRM_RESUME",
    control_records.RedriveRequested: "REQUEST_REDRIVE",
    control_records.RedriveConfirmed: "CONFIRM_REDRIVE",
    control_records.RecoverRequested: "REQUEST_RECOVER",
    control_records.RecoverConfirmed: "CONFIRM_RECOVER",
    control_records.UnparkRequested: "REQUEST_RESUME_PROCESSING",
    control_records.SourceMapActivated: "ACTIVATE_SOURCES",
    control_records.InputAdded: "ADD_INPUT",
    OperatorsActivated: "ACTIVATE_OPERATORS",
    DispositionRequested: "REQUEST_DISPOSITION",
    ActConfirmed: "CONFIRM",
}


class ControlFold:
    """Folds control like the processes that obey it, so that the audit shows each record's effect.

    It must read the topic from its first record.
    """

    def __init__(self) -> None:
        self._control = Control(undecoded)
        self._redrives: dict[str, control_records.RedriveRequested] = {}

    def partitions(self) -> int | None:
        """Partitions of the journal as recorded, once they are."""
        return None if self._control.cluster is None else self._control.cluster.partitions

    def passed_over(self) -> Passed:
        """Unreadable batches skipped under dual control."""
        return self._control.passed_over()

    def before(self, offset: int, record: ControlRecord, appended_at: int) -> Refusal | None:
        """A record that the model already has; why it was refused, or None."""
        refusal = self._control.apply_record(offset, record, appended_at)
        if isinstance(record, control_records.RedriveRequested) and refusal is None:
            ask(self._redrives, record.request_id, record)
        return refusal

    def fold(self, at: LogRecord, record: Any, batch: rows.Batch) -> None:
        """Add the rows of one record."""
        refusal = self.before(at.offset, record, at.timestamp_ms)
        actor, name = getattr(record, "actor", None), type(record).__name__
        batch.control.append(
            rows.ControlRow(
                offset=at.offset,
                type=name,
                at=at.timestamp_ms,
                actor=actor,
                raw=at.value or b"",
                refused=None if refusal is None else refusal.rule,
            )
        )
        if isinstance(record, control_records.RedriveDone) and refusal is None:
            batch.redriven += self._redriven(record)
        action = _CONTROL_ACTIONS.get(type(record))
        if action is not None:
            batch.audit.append(_control_audit(at, record, action, refusal))

    def _redriven(self, done: control_records.RedriveDone) -> list[tuple[int, int, str]]:
        """The records that were put back, as (partition, offset, request id): all of the request's,
        or only the first ones if it was refused midway.
        """
        request = self._redrives.get(done.request_id)
        if request is None:
            return []
        name = done.request_id
        offsets = sorted(set(request.offsets))
        if done.refused is not None:
            offsets = offsets[: max(0, done.redriven)]
        return [(request.partition, offset, name) for offset in offsets]


def _control_audit(
    at: LogRecord, record: Any, action: str, refusal: Refusal | None
) -> rows.AuditRow:
    about: str | None = getattr(record, "payment_intent_id", None)
    extra = {
        name: _plain(getattr(record, name))
        for name in record.__struct_fields__
        if name not in _NOT_SHOWN and getattr(record, name) is not None
    }
    return rows.AuditRow(
        audit_id=f"c-{at.partition}-{at.offset}",
        at=at.timestamp_ms,
        operator_id=record.actor,
        roles="",
        token_id=None,
        action=action,
        payment_intent_id=(payment_id_of_external_ref(about or "") or about),
        reason=getattr(record, "reason", None),
        approval_id=None,
        command_id=None,
        result=audit_rows.DONE if refusal is None else audit_rows.REFUSED,
        code=None,
        rule=None if refusal is None else refusal.rule,
        sentence=None if refusal is None else refusal.sentence,
        from_sequence=None,
        to_sequence=None,
        detail=audit_rows.detail(extra),
    )


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


# -- quarantine and checkpoints ---


def quarantine_row(at: LogRecord) -> rows.QuarantineRow:
    """A quarantined record; one whose headers are not ours is kept as UNDECODABLE."""
    try:
        why = quarantine.parse(at.headers)
        if not -1 <= why.offset <= INT64_MAX or not -1 <= why.partition <= INT32_MAX:
            raise ValueError("its origin is no place on a log")
    except ValueError:
        why = quarantine.Quarantined(
            reason=quarantine.UNDECODABLE,
            detail="its own headers cannot be read",
            topic="",
            partition=-1,
            offset=-1,
            timestamp_ms=at.timestamp_ms,
            original=[],
        )
    return rows.QuarantineRow(
        partition=at.partition,
        offset=at.offset,
        reason=why.reason,
        detail=why.detail,
        origin_topic=why.topic,
        origin_partition=why.partition,
        origin_offset=why.offset,
        at=at.timestamp_ms,
        key=at.key,
        value=at.value,
        headers=msgspec.msgpack.encode(at.headers),
        payment_intent_id=_payment_of_key(at.key),
    )


def _payment_of_key(key: bytes | None) -> str | None:
    if key is None or PAYMENT_ID.fullmatch(key) is None:
        return None
    return key.decode()


def checkpoint_row(at: LogRecord, checkpoint: records.Checkpoint) -> rows.CheckpointRow:
    """A checkpoint and where it is."""
    return rows.CheckpointRow(
        partition=checkpoint.partition,
        number=checkpoint.number,
        from_offset=checkpoint.from_offset,
        to_offset=checkpoint.to_offset,
        outcomes_partition=checkpoint.outcomes_partition,
        from_outcome=checkpoint.from_outcome,
        to_outcome=checkpoint.to_outcome,
        log_offset=at.offset,
        raw=at.value or b"",
    )
