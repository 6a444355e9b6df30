"""What the read model does, in words: one contract, run over SQLite and PostgreSQL.

Readers are safe for many threads and follow a switch to a rebuilt generation by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from engine.ports import TopicPartition
from readmodel import rows


class Fenced(Exception):
    """An offset stood elsewhere than the batch says: another projector writes this model."""


class ReadModelDown(Exception):
    """The database does not answer; the sentence says why. Ask again later."""


class Contradiction(Exception):
    """A row that is only ever added is there already and says something else: never goes away
    by itself."""


Row = TypeVar("Row")


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """A part of a list. `next` is None at its end."""

    items: list[Row]
    next: str | None


class PaymentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All given conditions hold. Times are of creation, `until` exclusive."""

    source: str | None = None
    idempotency_key: str | None = None
    state: str | None = None
    money_outcome: str | None = None
    reason: str | None = None
    needs_attention: bool | None = None
    since: int | None = None
    until: int | None = None


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All given conditions hold; `until` exclusive."""

    operator_id: str | None = None
    payment_intent_id: str | None = None
    action: str | None = None
    since: int | None = None
    until: int | None = None


class Writer(Protocol):
    """The projector's side, of one generation."""

    def offsets(self) -> Mapping[TopicPartition, int]:
        """Next offset of each topic partition as committed; a missing one is 0."""

    def snapshots(self, payment_intent_ids: Sequence[str]) -> Mapping[str, rows.PaymentRow]:
        """The rows of those that are known."""

    def approvals_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ApprovalRow]:
        """All approvals of these payments."""

    def conflicts_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ConflictRow]:
        """All conflicts of these payments, resolved ones too."""

    def minutes(self, keys: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """Packed figures by (partition, minute)."""

    def events_at(self, partition: int, offsets: Sequence[int]) -> Sequence[rows.EventRow]:
        """The events at those of these journal offsets where one stands."""

    def events_of(self, payment_intent_id: str, after: int, limit: int) -> Sequence[rows.EventRow]:
        """In order of sequence, those after `after`."""

    def events_decided(
        self, partition: int, since: int, until: int, after: int, limit: int
    ) -> Sequence[rows.EventRow]:
        """Those decided from `since` to `until` (exclusive, epoch ms), in order of offset, after
        offset `after`. Reads the partition through: for rare use."""

    def apply(self, batch: rows.Batch) -> None:
        """All of it or nothing, in one transaction. Raises Fenced, Contradiction, ReadModelDown.

        The outcome of an operator command (by its place, with the command's id) completes the audit
        row of that very record, whichever comes first.
        """


class Reader(Protocol):
    """Everybody else's side. Lists are newest first unless said otherwise; `cursor` is opaque, a
    broken one raises ValueError. Raises ReadModelDown.
    """

    def payment(self, payment_intent_id: str) -> rows.PaymentRow | None: ...

    def payments(
        self, wanted: PaymentFilter, limit: int, cursor: str | None
    ) -> Page[rows.PaymentRow]: ...

    def events(self, payment_intent_id: str, after: int, limit: int) -> list[rows.EventRow]:
        """In order of sequence, those after `after`."""

    def events_since(
        self, offsets: Mapping[int, int], limit: int, payment_intent_id: str | None
    ) -> list[rows.EventRow]:
        """Events at or past these journal offsets by partition, per partition in offset order."""

    def event_at(self, topic: str, partition: int, offset: int) -> rows.EventRow | None:
        """The event that is there, or the first one that the input there caused."""

    def outcomes(self, payment_intent_id: str, limit: int) -> list[rows.OutcomeRow]:
        """In log order."""

    def outcome_of(self, command_id: str) -> rows.OutcomeRow | None: ...

    def violations(
        self, since: int, until: int, limit: int, cursor: str | None
    ) -> Page[rows.OutcomeRow]:
        """Inputs that were refused because they would break an invariant, of
        whatever origin, decided from `since` to `until` (exclusive)."""

    def find(self, value: str, limit: int) -> list[tuple[str, str]]:
        """(kind, paymentIntentId) of everything known under this identifier, exactly or by its
        case-insensitive form where the kind has one (externalRef, UETR)."""

    def approvals(
        self, payment_intent_id: str | None, status: str | None, limit: int, cursor: str | None
    ) -> Page[rows.ApprovalRow]:
        """Oldest first. One that could still open something but whose time is over is EXPIRED, in
        the filter and in the rows."""

    def conflicts(
        self, payment_intent_id: str | None, open_only: bool, limit: int, cursor: str | None
    ) -> Page[rows.ConflictRow]:
        """Oldest first."""

    def attention(self, limit: int, cursor: str | None) -> Page[rows.PaymentRow]:
        """Those that need attention, longest waiting first."""

    def quarantine(
        self, reason: str | None, payment_intent_id: str | None, limit: int, cursor: str | None
    ) -> Page[rows.QuarantineRow]: ...

    def quarantined(self, partition: int, offset: int) -> rows.QuarantineRow | None: ...

    def audit(self, wanted: AuditFilter, limit: int, cursor: str | None) -> Page[rows.AuditRow]: ...

    def checkpoint_over(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The checkpoint whose range has this journal offset."""

    def checkpoint(self, partition: int, number: int) -> rows.CheckpointRow | None: ...

    def last_checkpoint(self, partition: int) -> rows.CheckpointRow | None:
        """The one with the highest number."""

    def sequence_at(self, payment_intent_id: str, offset: int) -> int:
        """The payment's last sequence up to this journal offset; 0 for none."""

    def checkpoint_over_outcome(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The checkpoint of the journal partition whose range of outcomes has this offset."""

    def command_at(self, partition: int, offset: int) -> rows.CommandRow | None:
        """The operator's command that is there."""

    def foreign_record(self, partition: int, offset: int) -> rows.ForeignRow | None:
        """The record there that two persons ruled FOREIGN."""

    def leaves(
        self, checkpoint: rows.CheckpointRow, topic: str
    ) -> list[tuple[str, int, bytes, list[bytes]]]:
        """(payment, sequence, hash, raw outcomes of operator commands) of each payment touched in
        its ranges, as of its end, by id; sequence 0 for one without an event. `topic`: the operator
        commands'.
        """

    def control(self, after: int, limit: int) -> list[rows.ControlRow]:
        """In log order, those after that offset."""

    def minutes(self, since: int, until: int) -> list[rows.MinuteRow]:
        """All partitions; minutes since..until (exclusive), in order."""

    def incidents(self, open_only: bool, limit: int, cursor: str | None) -> Page[rows.IncidentRow]:
        """Newest first."""

    def counts(self) -> Mapping[str, int]:
        """Payments by state under `state:<STATE>` and by money outcome under `money:<OUTCOME>`;
        also `openConflicts`, `attention`, `waitingForPerson`, `approvalsReferred` (not expired),
        `quarantined` (not redriven).
        """

    def projected(self) -> Mapping[TopicPartition, int]:
        """Next offset of each topic partition: how far this model is."""
