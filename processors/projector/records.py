"""Everything beside the journal as rows of the read model: outcomes, operators' commands, the audit
topic, control, quarantine, checkpoints.

Pure. Text that came from outside stays as it is: the database's side makes it storable.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control import quarantine
from control.acts import Refusal
from control.fold import Control
from control.requests import ask
from core import records
from core.records import ActConfirmed, DispositionRequested, OperatorsActivated
from core.values import payment_id_of_external_ref
from engine.clients.partition_errors import Passed
from engine.records import LogRecord
from readmodel import audit_rows, rows

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1
PAYMENT_ID: Final = re.compile(rb"pi_[a-z2-7]{26}")

# -- outcomes ---


def outcome_row(at: LogRecord, outcome: records.Outcome) -> rows.OutcomeRow:
    """What became of an input."""
    cause = outcome.cause
    return rows.OutcomeRow(
        at.partition,
        at.offset,
        outcome.payment_intent_id,
        cause.topic,
        cause.partition,
        cause.offset,
        cause.command_id,
        outcome.input_type,
        outcome.result,
        outcome.code,
        outcome.rule,
        outcome.sentence,
        outcome.decided_at,
        outcome.from_sequence,
        outcome.to_sequence,
        at.value or b"",
    )


# -- control ---

_NOT_SHOWN: Final = frozenset(
    {
        *("recorded_at", "activated_at", "stopped_at", "requested_at", "confirmed_at"),
        *("passed_at", "done_at", "actor", "reason", "signature", "content"),
    }
)
_CONTROL_ACTIONS: Final[dict[type, str]] = {
    records.RuleSetActivated: "ACTIVATE_RULES",
    records.ProcessingStopped: "STOP",
    records.ResumeRequested: "REQUEST_RESUME",
    records.ResumeConfirmed: "CONFIRM_RESUME",
    records.RedriveRequested: "REQUEST_REDRIVE",
    records.RedriveConfirmed: "CONFIRM_REDRIVE",
    records.RecoverRequested: "REQUEST_RECOVER",
    records.RecoverConfirmed: "CONFIRM_RECOVER",
    records.UnparkRequested: "REQUEST_RESUME_PROCESSING",
    records.SourceMapActivated: "ACTIVATE_SOURCES",
    records.InputAdded: "ADD_INPUT",
    OperatorsActivated: "ACTIVATE_OPERATORS",
    DispositionRequested: "REQUEST_DISPOSITION",
    ActConfirmed: "CONFIRM",
}


class ControlFold:
    """Folds control as those do who obey it, so that the audit says what a record brought about.

    It has to see the topic from its first record on.
    """

    def __init__(self) -> None:
        self._control = Control(_undecoded)
        self._redrives: dict[str, records.RedriveRequested] = {}

    def partitions(self) -> int | None:
        """Partitions of the journal as recorded for life, once they are."""
        return None if self._control.cluster is None else self._control.cluster.partitions

    def passed_over(self) -> Passed:
        """Batches that nobody can read and two persons passed over."""
        return self._control.passed_over()

    def before(self, offset: int, record: object, appended_at: int) -> Refusal | None:
        """A record that the model has already; why nobody obeys it, or None."""
        refusal = self._control.apply_record(offset, record, appended_at)
        if isinstance(record, records.RedriveRequested) and refusal is None:
            ask(self._redrives, record.request_id, record)
        return refusal

    def fold(self, at: LogRecord, record: Any, batch: rows.Batch) -> None:
        """Add the rows of one record."""
        refusal = self.before(at.offset, record, at.timestamp_ms)
        actor, name = getattr(record, "actor", None), type(record).__name__
        batch.control.append(
            rows.ControlRow(
                at.offset, name, at.timestamp_ms, actor, at.value or b"",
                None if refusal is None else refusal.rule,
            )
        )  # fmt: skip
        if isinstance(record, records.RedriveDone) and refusal is None:
            batch.redriven += self._redriven(record)
        action = _CONTROL_ACTIONS.get(type(record))
        if action is not None:
            batch.audit.append(_control_audit(at, record, action, refusal))

    def _redriven(self, done: records.RedriveDone) -> list[tuple[int, int, str]]:
        """What was put back: all of them; of a request refused on its way, the first."""
        request = self._redrives.get(done.request_id)
        if request is None:
            return []
        name = done.request_id
        offsets = sorted(set(request.offsets))
        if done.refused is not None:
            offsets = offsets[: max(0, done.redriven)]
        return [(request.partition, offset, name) for offset in offsets]


def _undecoded(topic: str, value: bytes) -> object:
    raise ValueError("records are given decoded")


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
        checkpoint.partition,
        checkpoint.number,
        checkpoint.from_offset,
        checkpoint.to_offset,
        checkpoint.outcomes_partition,
        checkpoint.from_outcome,
        checkpoint.to_outcome,
        at.offset,
        at.value or b"",
    )
