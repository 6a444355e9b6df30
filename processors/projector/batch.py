"""Turns one read of all topics into one batch of the read model. Pure except for the codec's
registry.

An unreadable record is skipped and counted, except in the journal, where it would be a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from core import control_records, records
from core.monitoring import Incident
from core.payment import commands as c
from core.payment.events import EVENTS as EVENT_TYPES
from core.payment.state import CorruptHistory
from core.rules import Rules
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.projector import records as make
from processors.projector.events import Changes, EventFold, Lookups
from processors.projector.rows import JournalEvent
from processors.projector.rulings import Rulings
from readmodel import audit_rows, rows
from schemas import topology as t
from schemas.codec import Codec
from schemas.errors import Undecodable

TOPICS: Final = (
    t.EVENTS,
    t.OUTCOMES,
    t.OPERATOR_COMMANDS,
    t.QUARANTINE,
    t.AUDIT,
    t.CONTROL,
    t.CHECKPOINTS,
    t.INCIDENTS,
)
UNDECODABLE: Final = "undecodable"
UNKNOWN: Final = "unknown"
SKIPPED: Final = (UNDECODABLE, UNKNOWN)

_EVENTS: Final = frozenset(EVENT_TYPES)


class Projection:
    """Makes batches; holds the fold's state between them."""

    def __init__(
        self, codec: Codec, lookups: Lookups, rules_of: Callable[[int], Rules], skip: Any
    ) -> None:
        """`skip(topic, why)` is called for each record without a row."""
        self.events = EventFold(lookups, rules_of)
        self.rulings = Rulings(lookups, self._event_of)
        self.control = make.ControlFold()
        self._codec = codec
        self._skip: Callable[[str, str], None] = skip

    def control_before(self, known: Sequence[rows.ControlRow]) -> None:
        """Control records that the model has already, from the first one on."""
        for row in known:
            record = self._codec.decode(t.CONTROL, row.raw)
            self.control.before(row.offset, record, row.at)
            self.rulings.follow(row.offset, record, row.at)

    def follow_rulings(self, read: Iterable[LogRecord]) -> None:
        """Apply the rulings of these control records from now on; `batch` makes their rows.
        Raises RegistryDown, and may then be called again.
        """
        for at in read:
            try:
                record = self._codec.decode(at.topic, at.value, at.headers)
            except Undecodable:
                continue  # skipped and counted when its row would be made
            self.rulings.follow(at.offset, record, at.timestamp_ms)

    def take_out(self) -> tuple[rows.Batch, Changes]:
        """The batch to write first, while `rulings.due()`: it removes FOREIGN records from the
        model. Without rows if there are none.

        Raises CorruptHistory; RegistryDown and ReadModelDown before anything is folded.
        """
        looked, out = self.rulings.look_up()
        batch = rows.Batch()
        changes = self.events.take_out(out, batch) if out.gone else Changes()
        self.rulings.taken_out(looked)
        return batch, changes

    def batch(
        self, read: Mapping[TopicPartition, Sequence[LogRecord]]
    ) -> tuple[rows.Batch, Changes]:
        """The rows of these records; the caller sets `moved`. FOREIGN ones are skipped: the
        rulings among the control records have been followed before.

        Raises CorruptHistory; RegistryDown and ReadModelDown before anything is folded.
        """
        decoded: list[tuple[LogRecord, Any]] = []
        events: list[JournalEvent] = []
        foreign: list[rows.ForeignRow] = []
        for (topic, partition), found in read.items():
            if topic == t.EVENTS:
                for at in found:
                    if self.rulings.obeyed.skips(partition, at.offset, at.value):
                        foreign.append(
                            rows.ForeignRow(
                                partition=partition, offset=at.offset, raw=at.value or b""
                            )
                        )
                    else:
                        events.append(self._event(partition, at))
            elif topic == t.QUARANTINE:
                decoded += [(at, None) for at in found]
            else:
                for at in found:
                    record = self._decoded(at)
                    if record is not None:
                        decoded.append((at, record))
        batch = rows.Batch(foreign_records=foreign)
        changes = self.events.fold(events, batch)
        for at, record in decoded:
            self._add(at, record, batch)
        return batch, changes

    def _event(self, partition: int, at: LogRecord) -> JournalEvent:
        raw = at.value or b""
        try:
            event = self._codec.decode(t.EVENTS, raw, at.headers)
        except Undecodable as error:
            raise CorruptHistory(
                f"journal partition {partition} offset {at.offset} cannot be read: {error.reason}"
            ) from error
        if type(event) not in _EVENTS:
            raise CorruptHistory(
                f"journal partition {partition} offset {at.offset} is a {type(event).__name__}"
            )
        return JournalEvent(partition, at.offset, raw, event)

    def _event_of(self, row: rows.EventRow) -> Any:
        """An event that the model has already."""
        return self._event(row.partition, _record_of(row)).event

    def _decoded(self, at: LogRecord) -> Any:
        try:
            return self._codec.decode(at.topic, at.value, at.headers)
        except Undecodable:
            self._skip(at.topic, UNDECODABLE)
            return None

    def _add(self, at: LogRecord, record: Any, batch: rows.Batch) -> None:
        if at.topic == t.QUARANTINE:
            batch.quarantine.append(make.quarantine_row(at))
        elif at.topic == t.OUTCOMES and isinstance(record, records.Outcome):
            batch.outcomes.append(make.outcome_row(at, record))
        elif at.topic == t.OPERATOR_COMMANDS and isinstance(record, c.OperatorCommand):
            batch.commands.append(
                rows.CommandRow(partition=at.partition, offset=at.offset, raw=at.value or b"")
            )
            row = audit_rows.command_row(at, record)
            if row is None:
                self._skip(at.topic, UNKNOWN)
            else:
                batch.audit.append(row)
        elif at.topic == t.AUDIT and isinstance(record, records.OperatorAudit):
            batch.audit.append(audit_rows.audit_row(at, record))
        elif at.topic == t.CHECKPOINTS and isinstance(record, records.Checkpoint):
            batch.checkpoints.append(make.checkpoint_row(at, record))
        elif at.topic == t.INCIDENTS and isinstance(record, Incident):
            batch.incidents.append(rows.IncidentRow(**msgspec.structs.asdict(record)))
        elif at.topic == t.CONTROL and isinstance(record, control_records.CONTROL_RECORDS):
            self.control.fold(at, record, batch)
        else:
            self._skip(at.topic, UNKNOWN)


def _record_of(row: rows.EventRow) -> LogRecord:
    name = row.payment_intent_id.encode()
    return LogRecord(t.EVENTS, row.partition, row.offset, row.decided_at, name, row.raw, [])
