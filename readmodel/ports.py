"""The read model's contract, tested over SQLite and PostgreSQL.

Readers are thread-safe and follow a switch to a rebuilt generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from core.words import (
    ApprovalStatus,
    FailureReasonName,
    MoneyOutcomeName,
    QuarantineReason,
    StateName,
)
from engine.ports import TopicPartition
from readmodel import rows


class Fenced(Exception):
    """An offset differs from the batch's: another projector writes this model."""


class ReadModelDown(Exception):
    """The database does not answer; the message says why. Retry later."""


class Contradiction(Exception):
    """An append-only row already exists with different content: retrying does not help."""


Row = TypeVar("Row")


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """A part of a list. `next` is None at its end."""

    items: list[Row]
    next: str | None


class PaymentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions that are set hold. Times are of creation (epoch ms), `until` exclusive."""

    source: str | None = None
    idempotency_key: str | None = None
    state: StateName | None = None
    money_outcome: MoneyOutcomeName | None = None
    reason: FailureReasonName | None = None
    needs_attention: bool | None = None
    since: int | None = None
    until: int | None = None


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions that are set hold. Times are epoch ms, `until` exclusive."""

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
        """The rows of these payments, as far as they are known."""

    def approvals_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ApprovalRow]:
        """All approvals of these payments."""

    def conflicts_of(self, payment_intent_ids: Sequence[str]) -> Sequence[rows.ConflictRow]:
        """All conflicts of these payments, resolved ones too."""

    def minutes(self, keys: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """Packed figures by (partition, minute)."""

    def events_at(self, partition: int, offsets: Sequence[int]) -> Sequence[rows.EventRow]:
        """The events at these journal offsets, where there are any."""

    def events_of(self, payment_intent_id: str, after: int, limit: int) -> Sequence[rows.EventRow]:
        """The payment's events after sequence `after`, in order."""

    def events_decided(
        self, partition: int, since: int, until: int, after: int, limit: int
    ) -> Sequence[rows.EventRow]:
        """The partition's events decided from `since` to `until` (exclusive, epoch ms), in order of
        offset, after offset `after`. It scans the whole partition: for rare use.
        """

    def apply(self, batch: rows.Batch) -> None:
        """Write the batch in one transaction. Raises Fenced, Contradiction, ReadModelDown.

        The outcome of an operator command completes the audit row of that command (found by its
        partition, offset and command id), whichever of the two comes first.
        """


class Reader(Protocol):
    """The readers' side. Lists are newest first unless stated otherwise; `cursor` is opaque, a
    broken one raises ValueError. Times are epoch ms. Every method raises ReadModelDown.
    """

    def payment(self, payment_intent_id: str) -> rows.PaymentRow | None: ...

    def payments(
        self, wanted: PaymentFilter, limit: int, cursor: str | None
    ) -> Page[rows.PaymentRow]: ...

    def events(self, payment_intent_id: str, after: int, limit: int) -> list[rows.EventRow]:
        """The payment's events after sequence `after`, in order."""

    def events_since(
        self, offsets: Mapping[int, int], limit: int, payment_intent_id: str | None
    ) -> list[rows.EventRow]:
        """Events from these journal offsets on, by partition and in offset order; of one payment,
        or of all for None.
        """

    def event_at(self, topic: str, partition: int, offset: int) -> rows.EventRow | None:
        """The event at this journal offset; for another topic, the first event that the input there
        caused.
        """

    def outcomes(self, payment_intent_id: str, limit: int) -> list[rows.OutcomeRow]:
        """The payment's outcomes in log order."""

    def outcome_of(self, command_id: str) -> rows.OutcomeRow | None: ...

    def violations(
        self, since: int, until: int, limit: int, cursor: str | None
    ) -> Page[rows.OutcomeRow]:
        """Outcomes of inputs of any origin that were refused as INVARIANT_VIOLATION, decided from
        `since` to `until` (exclusive).
        """

    def find(self, value: str, limit: int) -> list[tuple[str, str]]:
        """(kind, paymentIntentId) of all payments with this identifier. Kinds that ignore case
        (externalRef, UETR) are compared without it.
        """

    def approvals(
        self,
        payment_intent_id: str | None,
        status: ApprovalStatus | None,
        limit: int,
        cursor: str | None,
    ) -> Page[rows.ApprovalRow]:
        """Oldest first. In the filter and in the rows, an unused approval whose time is over is
        EXPIRED.
        """

    def conflicts(
        self, payment_intent_id: str | None, open_only: bool, limit: int, cursor: str | None
    ) -> Page[rows.ConflictRow]:
        """Oldest first."""

    def attention(self, limit: int, cursor: str | None) -> Page[rows.PaymentRow]:
        """Payments that need attention, longest waiting first."""

    def quarantine(
        self,
        reason: QuarantineReason | None,
        payment_intent_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[rows.QuarantineRow]: ...

    def quarantined(self, partition: int, offset: int) -> rows.QuarantineRow | None: ...

    def audit(self, wanted: AuditFilter, limit: int, cursor: str | None) -> Page[rows.AuditRow]: ...

    def checkpoint_over(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The checkpoint whose range contains this journal offset."""

    def checkpoint(self, partition: int, number: int) -> rows.CheckpointRow | None: ...

    def last_checkpoint(self, partition: int) -> rows.CheckpointRow | None:
        """The partition's checkpoint with the highest number."""

    def sequence_at(self, payment_intent_id: str, offset: int) -> int:
        """The payment's last sequence up to this journal offset; 0 for none."""

    def checkpoint_over_outcome(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The journal partition's checkpoint whose range of outcomes contains this offset."""

    def command_at(self, partition: int, offset: int) -> rows.CommandRow | None:
        """The operator command at this place."""

    def foreign_record(self, partition: int, offset: int) -> rows.ForeignRow | None:
        """The journal record at this place, if two people ruled it FOREIGN."""

    def leaves(
        self, checkpoint: rows.CheckpointRow, topic: str
    ) -> list[tuple[str, int, bytes, list[bytes]]]:
        """(payment, sequence, hash, raw outcomes of operator commands) of each payment touched in
        the checkpoint's ranges, as of their end, sorted by id; sequence 0 for a payment without an
        event. `topic`: that of the operator commands.
        """

    def control(self, after: int, limit: int) -> list[rows.ControlRow]:
        """Control records after that offset, in log order."""

    def minutes(self, since: int, until: int) -> list[rows.MinuteRow]:
        """Rows of all partitions, epoch minutes `since` to `until` (exclusive), in order."""

    def incidents(self, open_only: bool, limit: int, cursor: str | None) -> Page[rows.IncidentRow]:
        """Newest first."""

    def counts(self) -> Mapping[str, int]:
        """Payments by state under `state:<STATE>`, by money outcome under `money:<OUTCOME>`, and
        those that wait too long for the rail under `overdue:<STATE>:<ATTENTION or ESCALATED>`;
        also `openConflicts`, `attention`, `waitingForPerson`, `parked`, `approvalsReferred` (not
        expired), `quarantined` (not redriven), `bypassed` (payments whose id is not the one that
        their source and key give), `quarantinedLately` (in the last 10 minutes) and
        `violatedLately` (inputs refused as INVARIANT_VIOLATION in the last 5 minutes), the last two
        up to 1,000.
        """

    def projected(self) -> Mapping[TopicPartition, int]:
        """The next offset of each topic partition that this model will read."""
