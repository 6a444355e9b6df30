"""The projector's side: writes a batch and its offsets in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.ports import RecordPosition, TopicPartition
from readmodel import rows
from readmodel.database.session import Cursor, Session
from readmodel.database.statements import decoder, encoder, key_of
from readmodel.database.store import Store
from readmodel.database.texts import from_stored, stored, to_stored
from readmodel.ports import Contradiction, Fenced
from readmodel.tables import METADATA, STRUCTS

REPLACED: Final = (
    "identifiers",
    "approvals",
    "conflicts",
    "audit",
    "control",
    "minutes",
    "incidents",
)
ADDED: Final = (
    *("events", "outcomes", "commands", "quarantine", "checkpoints", "foreign_records"),
)
# Columns that may have changed when the same record is projected again.
CHANGED_LATER: Final = frozenset({"redrive_id"})
COMMAND_LETTER: Final = "o"  # audit rows of operator commands, see rows.AuditRow


class DatabaseWriter:
    """A `ports.Writer` of one generation."""

    def __init__(self, store: Store, generation: int) -> None:
        self.generation = generation
        self._store = store
        self._session = Session(store.writing(generation))
        self._sql = store.statements.named
        self._encode = {table: encoder(table) for table in STRUCTS}
        self._by_key = {table: store.statements.by_key(table) for table in ADDED}
        self._payment: Callable[[Any], rows.PaymentRow] = decoder("payments")
        self._approval: Callable[[Any], rows.ApprovalRow] = decoder("approvals")
        self._conflict: Callable[[Any], rows.ConflictRow] = decoder("conflicts")
        self._event: Callable[[Any], rows.EventRow] = decoder("events")

    def close(self) -> None:
        """Closes the connection."""
        self._session.engine.dispose()

    def offsets(self) -> Mapping[TopicPartition, int]:
        return offsets_in(self._session.all(self._sql["offsets"]))

    def snapshots(self, payment_intent_ids: Sequence[str]) -> Mapping[str, rows.PaymentRow]:
        ids = self._store.any_of([to_stored(each) for each in set(payment_intent_ids)])
        found = map(self._payment, self._session.all(self._sql["snapshots"], {"ids": ids}))
        return {row.payment_intent_id: row for row in found}

    def approvals_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ApprovalRow]:
        ids = self._store.any_of([to_stored(each) for each in set(payment_intent_ids)])
        return [
            self._approval(r) for r in self._session.all(self._sql["approvals_of"], {"ids": ids})
        ]

    def conflicts_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ConflictRow]:
        ids = self._store.any_of([to_stored(each) for each in set(payment_intent_ids)])
        return [
            self._conflict(r) for r in self._session.all(self._sql["conflicts_of"], {"ids": ids})
        ]

    def minutes(self, keys: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        wanted = set(keys)
        requested = {
            "partitions": self._store.any_of(sorted({partition for partition, _ in wanted})),
            "minutes": self._store.any_of(sorted({minute for _, minute in wanted})),
        }
        found = self._session.all(self._sql["minutes_of"], requested)
        return {
            (partition, minute): figures
            for partition, minute, figures in found
            if (partition, minute) in wanted
        }

    def events_at(self, partition: int, offsets: Sequence[int]) -> Sequence[rows.EventRow]:
        requested = {"partition": partition, "offsets": self._store.any_of(sorted(set(offsets)))}
        return [self._event(row) for row in self._session.all(self._sql["events_at"], requested)]

    def events_of(self, payment_intent_id: str, after: int, limit: int) -> Sequence[rows.EventRow]:
        name = to_stored(payment_intent_id)
        requested = {"payment_intent_id": name, "after": after, "limit": limit}
        return [self._event(row) for row in self._session.all(self._sql["events"], requested)]

    def events_decided(
        self, partition: int, since: int, until: int, after: int, limit: int
    ) -> Sequence[rows.EventRow]:
        requested = {
            "partition": partition,
            "since": since,
            "until": until,
            "after": after,
            "limit": limit,
        }
        return [
            self._event(row) for row in self._session.all(self._sql["events_decided"], requested)
        ]

    def apply(self, batch: rows.Batch) -> None:
        with self._store.transaction(self._session, self.generation) as cursor:
            if self._store.replaced(self.generation, cursor):
                raise Fenced(f"generation {self.generation} has been replaced")
            self._move(cursor, batch.moved)
            self._count(cursor, batch)
            self._take_out(cursor, batch)
            self._upsert(cursor, "payments", batch.payments)
            for table in REPLACED:
                self._upsert(cursor, table, getattr(batch, table))
            for table in ADDED:
                self._add(cursor, table, getattr(batch, table))
            self._redrive(cursor, batch.redriven)
            self._complete(cursor, batch)

    def _move(self, cursor: Cursor, moved: list[rows.Moved]) -> None:
        for move in moved:
            place = {
                "topic": to_stored(move.topic),
                "partition": move.partition,
                "before": move.before,
                "after": move.after,
            }
            cursor.execute(self._sql["move_offset"], place)
            if cursor.rowcount == 0 and move.before == 0:
                del place["before"]
                cursor.execute(self._sql["first_offset"], place)
            if cursor.rowcount == 0:
                raise Fenced(
                    f"{move.topic}/{move.partition} is not at {move.before}: another "
                    "projector writes this read model"
                )

    def _count(self, cursor: Cursor, batch: rows.Batch) -> None:
        """Updates the counts: subtracts these payments as they were, adds them as they are now."""
        last = {row.payment_intent_id: row for row in batch.payments}
        touched = last.keys() | {row.payment_intent_id for row in batch.taken_out}
        if not touched:
            return
        change: Counter[str] = Counter(bypassed=batch.bypassed)
        ids = self._store.any_of([to_stored(each) for each in touched])
        cursor.execute(self._sql["counted_before"], {"ids": ids})
        for *facts, number in cursor.fetchall():
            for name in counted_under(*facts):
                change[name] -= number
        for row in last.values():
            for name in counted_under(
                to_stored(row.source),
                row.state,
                row.money_outcome,
                None if row.reason is None else to_stored(row.reason),
                row.needs_attention,
                row.waiting_for_person,
                row.overdue,
                row.parked,
            ):
                change[name] += 1
        changes = [{"name": name, "amount": n} for name, n in sorted(change.items()) if n]
        if changes:
            cursor.executemany(self._sql["add_to_count"], changes)

    def _take_out(self, cursor: Cursor, batch: rows.Batch) -> None:
        """Deletes FOREIGN events, and the rows of their payments that this batch writes anew."""
        if not batch.taken_out:
            return
        for event in batch.taken_out:
            place = {"partition": event.partition, "offset": event.offset}
            cursor.execute(self._sql["take_out_event"], place)
        for row in batch.taken_out_identifiers:
            cursor.execute(self._sql["take_out_identifier"], stored(msgspec.structs.asdict(row)))
        names = {event.payment_intent_id for event in batch.taken_out}
        ids = {"ids": self._store.any_of([to_stored(each) for each in names])}
        cursor.execute(self._sql["take_out_payments"], ids)
        cursor.execute(self._sql["take_out_approvals"], ids)
        cursor.execute(self._sql["take_out_conflicts"], ids)

    def _upsert(self, cursor: Cursor, table: str, given: Sequence[msgspec.Struct]) -> None:
        if given:
            self._store.upsert(cursor, table, list(map(self._encode[table], given)))

    def _add(self, cursor: Cursor, table: str, given: Sequence[msgspec.Struct]) -> None:
        if not given:
            return
        added = self._store.insert(cursor, table, list(map(self._encode[table], given)))
        if added != len(given):
            self._compare(cursor, table, given)

    def _compare(self, cursor: Cursor, table: str, given: Sequence[msgspec.Struct]) -> None:
        """Some rows existed before. Raises Contradiction unless they are equal."""
        keys = key_of(METADATA.tables[table])
        decode = decoder(table)
        fields = set(STRUCTS[table].__struct_fields__) - CHANGED_LATER
        for row in given:
            key = [getattr(row, name) for name in keys]
            place = [to_stored(part) if isinstance(part, str) else part for part in key]
            cursor.execute(self._by_key[table], place)
            found = cursor.fetchone()
            there = None if found is None else decode(found)
            if there is None or any(getattr(there, n) != getattr(row, n) for n in fields):
                raise Contradiction(
                    f"{table} {'/'.join(map(str, key))}: the read model has another row there"
                )

    def _redrive(self, cursor: Cursor, redriven: list[tuple[int, int, str]]) -> None:
        for partition, offset, redrive_id in redriven:
            cursor.execute(
                self._sql["redriven"],
                {"partition": partition, "offset": offset, "redrive_id": to_stored(redrive_id)},
            )

    def _complete(self, cursor: Cursor, batch: rows.Batch) -> None:
        """Copies outcomes of operator commands into their audit rows, whichever came first."""
        endings = [
            ending_of(outcome, f"{COMMAND_LETTER}-{outcome.cause_partition}-{outcome.cause_offset}")
            for outcome in batch.outcomes
            if outcome.command_id is not None
        ]
        for row in batch.audit:
            place = place_of_command(row)
            if place is None:
                continue
            requested = {"command_id": to_stored(row.command_id or ""), **place}
            cursor.execute(self._sql["outcome_for_audit"], requested)
            found = cursor.fetchone()
            if found is not None:
                values = dict(zip(ENDING, found, strict=True))
                endings.append(
                    {"audit_id": row.audit_id, "command_id": requested["command_id"], **values}
                )
        if endings:
            cursor.executemany(self._sql["outcome_to_audit"], endings)


ENDING: Final = ("result", "code", "rule", "sentence", "from_sequence", "to_sequence")


def ending_of(outcome: rows.OutcomeRow, audit_id: str) -> dict[str, Any]:
    """The parameters of `outcome_to_audit`."""
    values = {name: getattr(outcome, name) for name in ("command_id", *ENDING)}
    return {"audit_id": audit_id, **stored(values)}


def place_of_command(row: rows.AuditRow) -> dict[str, int] | None:
    """Partition and offset of the operator command that an audit row is about."""
    letter, _, place = row.audit_id.partition("-")
    if letter != COMMAND_LETTER or row.command_id is None:
        return None
    partition, _, offset = place.partition("-")
    return {"partition": int(partition), "offset": int(offset)}


def counted_under(
    source: str,
    state: str,
    money_outcome: str,
    reason: str | None,
    needs_attention: bool,
    waiting_for_person: bool,
    overdue: str | None,
    parked: bool,
) -> list[str]:
    """The names of the counts that include such a payment."""
    names = [f"source:{source}", f"state:{state}", f"money:{money_outcome}"]
    if reason is not None:
        names.append(f"reason:{reason}")
    if needs_attention:
        names.append("attention")
    if waiting_for_person:
        names.append("waitingForPerson")
    if overdue is not None:
        names.append(f"overdue:{state}:{overdue}")
    if parked:
        names.append("parked")
    return names


def offsets_in(found: Iterable[RecordPosition]) -> dict[TopicPartition, int]:
    """Rows of the offsets table as next offsets by topic and partition."""
    return {(from_stored(topic), partition): following for topic, partition, following in found}
