"""The journal's events as rows of the read model: the same fold as the engine's.

Pure: records and known state in, rows out. A gap, another payment's bytes or a wrong hash raises
CorruptHistory: nothing is guessed, and the batch is not written.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from core.header import EventHeader
from core.payment import events as e
from core.payment import state as payment_state
from core.payment.deadlines import next_deadline
from core.payment.evolve import advance, evolve
from core.payment.state import CorruptHistory
from core.rules import Rules
from core.values import ZERO_HASH, PaymentIntentId, payment_intent_id
from processors.projector.rows import (
    JournalEvent,
    ProjectedPayment,
    approval_row,
    conflict_row,
    event_row,
    identifier_rows,
    payment_row,
)
from readmodel import minutes, rows
from readmodel.minutes import Figures, Latency
from readmodel.ports import Writer

STATES_KEPT_MAX: Final = 4_000  # payments held decoded, about 6 kB each
BUCKETS_KEPT_MAX: Final = 10_000  # minutes held: an hour of 160 partitions


class Lookups(msgspec.Struct, frozen=True):
    """Look-ups of a batch's payments and minutes in the model, from `Writer`."""

    snapshots: Callable[[Sequence[str]], Mapping[str, rows.PaymentRow]]
    approvals_of: Callable[[Sequence[str]], Sequence[rows.ApprovalRow]]
    conflicts_of: Callable[[Sequence[str]], Sequence[rows.ConflictRow]]
    minutes: Callable[[Sequence[tuple[int, int]]], Mapping[tuple[int, int], bytes]]
    events_at: Callable[[int, Sequence[int]], Sequence[rows.EventRow]]
    events_of: Callable[[str, int, int], Sequence[rows.EventRow]]
    events_decided: Callable[[int, int, int, int, int], Sequence[rows.EventRow]]


def lookups_of(writer: Writer) -> Lookups:
    """The look-ups of this writer."""
    return Lookups(**{name: getattr(writer, name) for name in Lookups.__struct_fields__})


Stuck = tuple[str, str]  # state, and ATTENTION or ESCALATED


class Changes(msgspec.Struct):
    """A fold's changes that are counted in metrics, once its batch has been written."""

    latencies: list[Latency] = []
    stuck: dict[Stuck, int] = {}  # by how much the number of payments changed

    def moved(self, before: Stuck | None, after: Stuck | None) -> None:
        """Count one payment that moved from `before` to `after`."""
        if before == after:
            return
        for place, by in ((before, -1), (after, 1)):
            if place is not None:
                self.stuck[place] = self.stuck.get(place, 0) + by


def stuck(state: str, overdue: str | None) -> Stuck | None:
    """Where a payment waits too long for the rail, or None."""
    return None if overdue is None else (state, overdue)


class TakenOut(msgspec.Struct, frozen=True):
    """FOREIGN records that were projected, the remaining events of their payments in order, and the
    minutes in which they were counted.
    """

    gone: Sequence[tuple[rows.EventRow, e.Event]]
    left: Mapping[PaymentIntentId, Sequence[JournalEvent]]
    minutes: Mapping[tuple[int, int], Figures]


class EventFold:
    """Folds journal records into batches; caches recently touched payments."""

    def __init__(self, lookups: Lookups, rules_of: Callable[[int], Rules]) -> None:
        """`rules_of` raises KeyError for a rule set that this release does not carry."""
        self._lookups = lookups
        self._rules_of = rules_of
        self._projected: OrderedDict[str, ProjectedPayment] = OrderedDict()
        self.buckets: OrderedDict[tuple[int, int], Figures] = OrderedDict()

    def fold(self, events: Sequence[JournalEvent], batch: rows.Batch) -> Changes:
        """Add the rows of these events, each partition in log order. Raises CorruptHistory."""
        changes = Changes()
        if not events:
            return changes
        self._load([each.event.header.payment_intent_id for each in events])
        self._load_buckets(events)
        touched: dict[str, Stuck | None] = {}
        minutes_touched: dict[tuple[int, int], None] = {}
        approvals: dict[tuple[str, str], rows.ApprovalRow] = {}
        conflicts: dict[tuple[str, str], rows.ConflictRow] = {}
        for each in events:
            event = each.event
            header: EventHeader = event.header
            name = header.payment_intent_id
            if name not in touched:
                touched[name] = self._stuck(name)
            projected, row = self._next(name, header, each)
            batch.events.append(row)
            if isinstance(event, e.PaymentIntentCreated):
                batch.bypassed += _bypasses(event)
            _collect(projected, event, header, approvals, conflicts, batch.identifiers)
            if minutes.counts(event):
                key = (each.partition, minutes.minute_of(header.decided_at))
                minutes.add(self.buckets[key], event, each.offset)
                minutes_touched[key] = None
                latency = minutes.latency_of(event)
                if latency is not None:
                    changes.latencies.append(latency)
        batch.payments += [payment_row(self._projected[name]) for name in touched]
        batch.approvals += approvals.values()
        batch.conflicts += conflicts.values()
        for key in minutes_touched:
            batch.minutes.append(_minute_row(key, self.buckets[key]))
        for moved, before in touched.items():
            changes.moved(before, self._stuck(moved))
        self._forget()
        return changes

    def take_out(self, out: TakenOut, batch: rows.Batch) -> Changes:
        """Fold the remaining events again, without the removed ones. Raises CorruptHistory if a
        remaining event builds on a removed one.
        """
        self._load(out.left)
        before = {name: self._stuck(name) for name in out.left}
        changes = Changes()
        approvals: dict[tuple[str, str], rows.ApprovalRow] = {}
        conflicts: dict[tuple[str, str], rows.ConflictRow] = {}
        for name, left in out.left.items():
            self._projected.pop(name, None)
            for each in left:
                header: EventHeader = each.event.header
                projected, _ = self._next(name, header, each)
                _collect(projected, each.event, header, approvals, conflicts, batch.identifiers)
            if name in self._projected:
                batch.payments.append(payment_row(self._projected[name]))
            changes.moved(before[name], self._stuck(name))
        kept = set(batch.identifiers)
        batch.taken_out += [row for row, _ in out.gone]
        batch.bypassed -= sum(_bypasses(event) for _, event in out.gone)
        batch.foreign_records += [
            rows.ForeignRow(partition=row.partition, offset=row.offset, raw=row.raw)
            for row, _ in out.gone
        ]
        batch.taken_out_identifiers += [
            row for _, event in out.gone for row in identifier_rows(event) if row not in kept
        ]
        batch.approvals += approvals.values()
        batch.conflicts += conflicts.values()
        for key, figures in out.minutes.items():
            self.buckets[key] = figures
            batch.minutes.append(_minute_row(key, figures))
        self._forget()
        return changes

    def _stuck(self, name: str) -> Stuck | None:
        projected = self._projected.get(name)
        if projected is None:
            return None
        return stuck(projected.payment.state, projected.payment.attempt.overdue)

    # -- what is known ---------------------------------------------------------------------------

    def _load(self, names: Iterable[str]) -> None:
        """Load those of these payments that are not cached."""
        held = self._projected
        missing: dict[str, None] = {}
        for name in names:
            if name in held:
                held.move_to_end(name)
            else:
                missing[name] = None
        if not missing:
            return
        fresh: dict[str, ProjectedPayment] = {}  # stored only once all look-ups have succeeded
        with_approvals: list[str] = []
        with_conflicts: list[str] = []
        for known, row in self._lookups.snapshots(list(missing)).items():
            payment = payment_state.unpack(row.snapshot)
            fresh[known] = ProjectedPayment(
                payment, row.head_hash, row.partition, row.attention_since, {}, {}
            )
            if payment.approvals_made:
                with_approvals.append(known)
            if payment.conflicts_made:
                with_conflicts.append(known)
        if with_approvals:
            for approval in self._lookups.approvals_of(with_approvals):
                fresh[approval.payment_intent_id].approvals[approval.approval_id] = approval
        if with_conflicts:
            for conflict in self._lookups.conflicts_of(with_conflicts):
                fresh[conflict.payment_intent_id].conflicts[conflict.conflict_id] = conflict
        held.update(fresh)

    def _load_buckets(self, events: Sequence[JournalEvent]) -> None:
        wanted = {
            (each.partition, minutes.minute_of(each.event.header.decided_at)): None
            for each in events
        }
        self.load_buckets([key for key in wanted if key not in self.buckets])
        for key in wanted:
            self.buckets.move_to_end(key)

    def load_buckets(self, keys: Sequence[tuple[int, int]]) -> None:
        """Load these minutes: from the model, or empty."""
        if not keys:
            return
        known = self._lookups.minutes(keys)
        for key in keys:
            packed = known.get(key)
            self.buckets[key] = Figures() if packed is None else minutes.unpack(packed)

    def _forget(self) -> None:
        while len(self._projected) > STATES_KEPT_MAX:
            self._projected.popitem(last=False)
        while len(self.buckets) > BUCKETS_KEPT_MAX:
            self.buckets.popitem(last=False)

    # -- one event -------------------------------------------------------------------------------

    def _next(
        self, name: str, header: EventHeader, each: JournalEvent
    ) -> tuple[ProjectedPayment, rows.EventRow]:
        """After CorruptHistory the payment held is unusable, like the whole fold."""
        projected = self._projected.get(name)
        head = ZERO_HASH if projected is None else projected.head
        if header.previous_hash != head:
            raise CorruptHistory(
                f"{_place(each)}: the event before it hashes to {head.hex()}, "
                f"it names {header.previous_hash.hex()}"
            )
        from_state = None
        try:
            if projected is None:
                payment = evolve(None, each.event)
            else:
                # In place: nobody else holds it.
                payment = projected.payment
                from_state = payment.state
                advance(payment, each.event)
        except CorruptHistory as error:
            raise CorruptHistory(f"{_place(each)}: {error}") from error
        # A decision ends with this deadline.
        payment.deadline, payment.deadline_kind = next_deadline(
            payment, self._rules(header.rule_set, each)
        )
        digest = hashlib.sha256(each.raw).digest()
        if projected is None:
            projected = ProjectedPayment(payment, digest, each.partition, None, {}, {})
            self._projected[name] = projected
        else:
            projected.head = digest
        if not payment_state.needs_attention(payment):
            projected.attention_since = None
        elif projected.attention_since is None:
            projected.attention_since = header.decided_at
        return projected, event_row(each, header, from_state, digest)

    def _rules(self, number: int, each: JournalEvent) -> Rules:
        try:
            return self._rules_of(number)
        except KeyError:
            raise CorruptHistory(
                f"{_place(each)}: rule set {number} is not carried by this release"
            ) from None


def _bypasses(event: e.Event) -> bool:
    """Whether this payment's id differs from the one computed from its source and idempotency key:
    only then can one key have two payments (domain §2).
    """
    if not isinstance(event, e.PaymentIntentCreated):
        return False
    return event.header.payment_intent_id != payment_intent_id(event.source, event.idempotency_key)


def _collect(
    projected: ProjectedPayment,
    event: e.Event,
    header: EventHeader,
    approvals: dict[tuple[str, str], rows.ApprovalRow],
    conflicts: dict[tuple[str, str], rows.ConflictRow],
    identifiers: list[rows.IdentifierRow],
) -> None:
    name = header.payment_intent_id
    if header.approval_id is not None:
        approval = approval_row(projected, event, header.approval_id)
        projected.approvals[approval.approval_id] = approval
        approvals[name, approval.approval_id] = approval
    if isinstance(event, (e.ReconciliationRequired, e.ReconciliationResolved)):
        conflict = conflict_row(projected, event)
        projected.conflicts[conflict.conflict_id] = conflict
        conflicts[name, conflict.conflict_id] = conflict
    found = identifier_rows(event)
    if found:
        identifiers += found


def _place(each: JournalEvent) -> str:
    header = each.event.header
    return (
        f"payment {header.payment_intent_id} sequence {header.sequence} at journal partition "
        f"{each.partition} offset {each.offset}"
    )


def _minute_row(key: tuple[int, int], figures: Figures) -> rows.MinuteRow:
    partition, minute = key
    return rows.MinuteRow(partition=partition, minute=minute, figures=minutes.pack(figures))
