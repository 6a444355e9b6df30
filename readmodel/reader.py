"""The readers' side: reads the current generation, and follows when another becomes current."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Select

from core.words import ApprovalStatus, QuarantineReason
from engine.clock import Clock
from engine.ports import TopicPartition
from readmodel import lists, rows
from readmodel.database.session import Session
from readmodel.database.statements import decoder
from readmodel.database.store import Store
from readmodel.database.texts import stored, to_stored
from readmodel.lists import Condition, Listing, checked
from readmodel.ports import AuditFilter, Page, PaymentFilter, ReadModelDown
from readmodel.tables import STRUCTS
from readmodel.writer import offsets_in

Row = TypeVar("Row", bound=msgspec.Struct)

FOLLOW_S: Final = 0.5  # between two looks at which generation is current
QUARANTINE_MS: Final = 10 * 60_000  # how far the alert QuarantineGrows looks back
VIOLATION_MS: Final = 5 * 60_000  # how far InvariantViolation looks back


class DatabaseReader:
    """A `ports.Reader`, safe for many threads."""

    def __init__(self, store: Store, clock: Clock, journal: str) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._sql = store.statements.named
        self._decode = {struct: decoder(name) for name, struct in STRUCTS.items()}
        self._payment: Callable[[Any], rows.PaymentRow] = self._decode[rows.PaymentRow]
        self._turn = threading.Lock()
        self._session: Session | None = None
        self._generation = 0
        self._looked_s = float("-inf")

    def close(self) -> None:
        """Closes the connections that are not in use."""
        with self._turn:
            if self._session is not None:
                self._session.close()
            self._session = None
            self._generation = 0
            self._looked_s = float("-inf")

    @property
    def generation(self) -> int:
        """The generation that it reads now."""
        self._current()
        return self._generation

    def payment(self, payment_intent_id: str) -> rows.PaymentRow | None:
        found = self._current().one(
            self._sql["payment"], {"payment_intent_id": to_stored(payment_intent_id)}
        )
        return None if found is None else self._payment(found)

    def payments(
        self, wanted: PaymentFilter, limit: int, cursor: str | None
    ) -> Page[rows.PaymentRow]:
        conditions = lists.payment_conditions(wanted, self._widths(wanted))
        return self._page(lists.PAYMENT_LIST, conditions, limit, cursor)

    def events(self, payment_intent_id: str, after: int, limit: int) -> list[rows.EventRow]:
        return self._rows(
            "events", rows.EventRow, payment_intent_id=payment_intent_id, after=after, limit=limit
        )

    def events_since(
        self, offsets: Mapping[int, int], limit: int, payment_intent_id: str | None
    ) -> list[rows.EventRow]:
        found: list[rows.EventRow] = []
        for partition, from_offset in sorted(offsets.items()):
            rest = checked(limit) - len(found)
            if rest == 0:
                break
            requested: dict[str, Any] = {
                "partition": partition,
                "from_offset": from_offset,
                "limit": rest,
            }
            if payment_intent_id is None:
                found += self._rows("events_since", rows.EventRow, **requested)
            else:
                requested["payment_intent_id"] = payment_intent_id
                found += self._rows("payment_events_since", rows.EventRow, **requested)
        return found

    def event_at(self, topic: str, partition: int, offset: int) -> rows.EventRow | None:
        if topic == self._journal:
            return self._row("event_at_place", rows.EventRow, partition=partition, offset=offset)
        return self._row(
            "event_caused_at", rows.EventRow, topic=topic, partition=partition, offset=offset
        )

    def outcomes(self, payment_intent_id: str, limit: int) -> list[rows.OutcomeRow]:
        return self._rows(
            "outcomes", rows.OutcomeRow, payment_intent_id=payment_intent_id, limit=limit
        )

    def outcome_of(self, command_id: str) -> rows.OutcomeRow | None:
        return self._row("outcome_of", rows.OutcomeRow, command_id=command_id)

    def violations(
        self, since: int, until: int, limit: int, cursor: str | None
    ) -> Page[rows.OutcomeRow]:
        conditions = lists.violation_conditions(since, until)
        return self._page(lists.VIOLATION_LIST, conditions, limit, cursor)

    def find(self, value: str, limit: int) -> list[tuple[str, str]]:
        requested = {
            "value": to_stored(value),
            "small": to_stored(value.lower()),
            "capitals": to_stored(value.upper()),
            "limit": checked(limit),
        }
        return [(kind, each) for kind, each in self._current().all(self._sql["find"], requested)]

    def approvals(
        self,
        payment_intent_id: str | None,
        status: ApprovalStatus | None,
        limit: int,
        cursor: str | None,
    ) -> Page[rows.ApprovalRow]:
        now = self._clock.now_ms()
        conditions = lists.approval_conditions(payment_intent_id, status, now)
        page = self._page(lists.APPROVAL_LIST, conditions, limit, cursor)
        return Page([lists.as_of(row, now) for row in page.items], page.next)

    def conflicts(
        self, payment_intent_id: str | None, open_only: bool, limit: int, cursor: str | None
    ) -> Page[rows.ConflictRow]:
        conditions = lists.conflict_conditions(payment_intent_id, open_only)
        return self._page(lists.CONFLICT_LIST, conditions, limit, cursor)

    def attention(self, limit: int, cursor: str | None) -> Page[rows.PaymentRow]:
        conditions = lists.payment_conditions(PaymentFilter(needs_attention=True), {})
        return self._page(lists.ATTENTION_LIST, conditions, limit, cursor)

    def quarantine(
        self,
        reason: QuarantineReason | None,
        payment_intent_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[rows.QuarantineRow]:
        conditions = lists.quarantine_conditions(reason, payment_intent_id)
        return self._page(lists.QUARANTINE_LIST, conditions, limit, cursor)

    def quarantined(self, partition: int, offset: int) -> rows.QuarantineRow | None:
        return self._row("quarantined", rows.QuarantineRow, partition=partition, offset=offset)

    def audit(self, wanted: AuditFilter, limit: int, cursor: str | None) -> Page[rows.AuditRow]:
        return self._page(lists.AUDIT_LIST, lists.audit_conditions(wanted), limit, cursor)

    def checkpoint_over(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        return self._row("checkpoint_over", rows.CheckpointRow, partition=partition, offset=offset)

    def checkpoint(self, partition: int, number: int) -> rows.CheckpointRow | None:
        return self._row("checkpoint", rows.CheckpointRow, partition=partition, number=number)

    def last_checkpoint(self, partition: int) -> rows.CheckpointRow | None:
        return self._row("last_checkpoint", rows.CheckpointRow, partition=partition)

    def sequence_at(self, payment_intent_id: str, offset: int) -> int:
        requested = {"payment_intent_id": to_stored(payment_intent_id), "offset": offset}
        return int(self._current().one(self._sql["sequence_at"], requested)[0])

    def checkpoint_over_outcome(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        requested = {"partition": partition, "offset": offset}
        return self._row("checkpoint_over_outcome", rows.CheckpointRow, **requested)

    def command_at(self, partition: int, offset: int) -> rows.CommandRow | None:
        return self._row("command_at", rows.CommandRow, partition=partition, offset=offset)

    def foreign_record(self, partition: int, offset: int) -> rows.ForeignRow | None:
        requested = {"partition": partition, "offset": offset}
        return self._row("foreign_record", rows.ForeignRow, **requested)

    def leaves(
        self, checkpoint: rows.CheckpointRow, topic: str
    ) -> list[tuple[str, int, bytes, list[bytes]]]:
        database = self._current()
        requested: dict[str, Any] = msgspec.structs.asdict(checkpoint) | {"topic": topic}
        heads: dict[str, tuple[int, bytes]] = {}
        for payment, sequence, head in database.all(self._sql["leaves"], requested):
            heads[payment] = (sequence, head)
        outcomes: dict[str, list[bytes]] = {
            payment: [] for payment, _ in database.all(self._sql["answered"], requested)
        }
        quiet = self._ids([each for each in outcomes if each not in heads])
        for payment, sequence, head in database.all(
            self._sql["heads_of"], requested | {"ids": quiet}
        ):
            heads[payment] = (sequence, head)
        touched = sorted(heads.keys() | outcomes.keys())
        ids = {"ids": self._ids(touched)}
        for payment, raw in database.all(self._sql["answered_of"], requested | ids):
            outcomes.setdefault(payment, []).append(raw)
        return [
            (payment, *heads.get(payment, (0, bytes(32))), outcomes.get(payment, []))
            for payment in touched
        ]

    def _ids(self, payment_intent_ids: Sequence[str]) -> object:
        return self._store.any_of([to_stored(each) for each in payment_intent_ids])

    def control(self, after: int, limit: int) -> list[rows.ControlRow]:
        return self._rows("control", rows.ControlRow, after=after, limit=limit)

    def minutes(self, since: int, until: int) -> list[rows.MinuteRow]:
        return self._rows("minutes", rows.MinuteRow, since=since, until=until)

    def incidents(self, open_only: bool, limit: int, cursor: str | None) -> Page[rows.IncidentRow]:
        conditions = lists.incident_conditions(open_only)
        return self._page(lists.INCIDENT_LIST, conditions, limit, cursor)

    def counts(self) -> Mapping[str, int]:
        now = self._clock.now_ms()
        since = {
            "quarantined_after": now - QUARANTINE_MS,
            "violated_after": now - VIOLATION_MS,
        }
        found = self._current().all(self._sql["counts"], {"now": now, **since})
        return {"attention": 0, "waitingForPerson": 0, "bypassed": 0, **dict(found)}

    def projected(self) -> Mapping[TopicPartition, int]:
        return offsets_in(self._current().all(self._sql["offsets"]))

    def _widths(self, wanted: PaymentFilter) -> Mapping[str, int]:
        """How many payments fulfil each condition, where there are several to choose from."""
        given = lists.payment_fields(wanted)
        if len(given) < 2 or "idempotency_key" in given:
            return {}
        names = [lists.count_of(field, value) for field, value in given.items()]
        requested = {"names": self._store.any_of(names)}
        return dict(self._current().all(self._sql["counts_named"], requested))

    def _rows(self, query: str, struct: type[Row], **requested: Any) -> list[Row]:
        if "limit" in requested:
            checked(requested["limit"])
        found = self._current().all(self._sql[query], stored(requested))
        decode: Callable[[Any], Row] = self._decode[struct]
        return [decode(row) for row in found]

    def _row(self, query: str, struct: type[Row], **requested: Any) -> Row | None:
        found = self._current().one(self._sql[query], stored(requested))
        decode: Callable[[Any], Row] = self._decode[struct]
        return None if found is None else decode(found)

    def _page(
        self, listing: Listing, conditions: Sequence[Condition], limit: int, cursor: str | None
    ) -> Page[Any]:
        session = self._current()
        sql, requested = compiled(listing.page(conditions, limit, cursor), session)
        decode = self._decode[STRUCTS[listing.table.name]]
        items, following = listing.cut([decode(row) for row in session.all(sql, requested)], limit)
        return Page(items, following)

    def _current(self) -> Session:
        """Connections to the current generation; looks for a newer one every FOLLOW_S."""
        session = self._session
        if session is not None and self._clock.monotonic_s() - self._looked_s < FOLLOW_S:
            return session
        with self._turn:
            return self._follow()

    def _follow(self) -> Session:
        generation = self._store.current()
        if generation == 0:
            raise ReadModelDown("there is no read model yet: the projector makes it")
        if self._session is None or generation != self._generation:
            before, self._session = (
                self._session,
                Session(self._store.reading(generation), keeps=True),
            )
            self._generation = generation
            if before is not None:
                before.close()
        self._looked_s = self._clock.monotonic_s()
        return self._session


def compiled(wanted: Select[Any], session: Session) -> tuple[str, Mapping[str, Any]]:
    """The select's text and parameters for the driver."""
    made = wanted.compile(
        dialect=session.engine.dialect, compile_kwargs={"render_postcompile": True}
    )
    return made.string, made.params
