"""Rows of the read model: what the projector writes and readers read. Plain values.

Times are epoch milliseconds, amounts integer cents. `raw` is a record's value as it is on the
log. Nothing here knows SQL; `tables.py` makes columns of the same names.
"""

from __future__ import annotations

import msgspec

from core.values import ApprovalId, Cents, ConflictId, ExternalRef, PaymentIntentId
from core.words import (
    ActionName,
    ApprovalPhase,
    ApprovalStatus,
    AuditResult,
    ConflictKind,
    FailureReasonName,
    FundsStatus,
    IncidentRule,
    IncidentStatus,
    MoneyOutcomeName,
    OutcomeResult,
    Overdue,
    QuarantineReason,
    RefusalCode,
    StateName,
    Verdict,
)


class PaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payment's state after the event at `sequence`. `snapshot` is the packed state, from
    which attempts, approvals and conflicts can be read with `core.payment.state.unpack`.
    """

    payment_intent_id: PaymentIntentId
    source: str
    idempotency_key: str
    state: StateName
    reason: FailureReasonName | None
    money_outcome: MoneyOutcomeName
    amount: Cents
    currency: str
    attempt: int
    external_ref: ExternalRef | None
    funds: FundsStatus
    sequence: int
    head_hash: bytes
    created_at: int
    decided_at: int
    last_lifecycle_event: str
    overdue: Overdue | None
    open_conflicts: int
    needs_attention: bool
    attention_since: int | None
    waiting_for_person: bool
    parked: bool
    end_to_end_id: str
    service: str
    uetr: str | None
    customer_id: str | None
    rule_set: int
    partition: int
    snapshot: bytes


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the journal; `hash` is SHA-256 of `raw`, `from_state` the state before it."""

    payment_intent_id: PaymentIntentId
    sequence: int
    partition: int
    offset: int
    type: str
    decided_at: int
    from_state: StateName | None
    state: StateName
    attempt: int
    cause_topic: str
    cause_partition: int
    cause_offset: int
    command_id: str | None
    approval_id: ApprovalId | None
    hash: bytes
    raw: bytes


class IdentifierRow(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that finds a payment. `kind`: externalRef, railMessageId, transactionId."""

    kind: str
    value: str
    payment_intent_id: PaymentIntentId


class ApprovalRow(msgspec.Struct, frozen=True, kw_only=True):
    """`status` REQUESTED, REFERRED, APPROVED, REJECTED or USED; EXPIRED is computed by readers."""

    payment_intent_id: PaymentIntentId
    approval_id: ApprovalId
    action: ActionName
    attempt: int
    phase: ApprovalPhase
    requester: str
    text: str
    status: ApprovalStatus
    requested_at: int
    expires_at: int
    decided_at: int | None
    decided_by: str | None
    failure_reason: FailureReasonName | None
    conflict_id: ConflictId | None
    verdict: Verdict | None
    amount: Cents | None


class ConflictRow(msgspec.Struct, frozen=True, kw_only=True):
    """Open while `verdict` is None."""

    payment_intent_id: PaymentIntentId
    conflict_id: ConflictId
    kind: ConflictKind
    attempt: int
    detail: str
    opened_at: int
    resolved_at: int | None
    verdict: Verdict | None


class OutcomeRow(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome record of an input (domain §5)."""

    partition: int
    offset: int
    payment_intent_id: PaymentIntentId
    cause_topic: str
    cause_partition: int
    cause_offset: int
    command_id: str | None
    input_type: str
    result: OutcomeResult
    code: RefusalCode | None
    rule: str | None
    sentence: str | None
    decided_at: int
    from_sequence: int
    to_sequence: int
    raw: bytes


class QuarantineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A quarantined record, `value` and `headers` unchanged. `redrive_id`: the last redrive request
    that was carried out for it.
    """

    partition: int
    offset: int
    reason: QuarantineReason
    detail: str
    origin_topic: str
    origin_partition: int
    origin_offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: bytes  # msgpack of [(name, value)]
    payment_intent_id: str | None
    redrive_id: str | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One audited request. `audit_id` is `<topic letter>-<partition>-<offset>`: o for
    operator commands, a for the audit topic, c for control. `result` is None until the outcome of
    a command is known; ACCEPTED, DUPLICATE, REJECTED, NO_EFFECT, QUARANTINED, REFUSED (at the
    edge) or DONE.
    """

    audit_id: str
    at: int
    operator_id: str
    roles: str  # comma separated
    token_id: str | None
    action: str
    payment_intent_id: str | None
    reason: str | None
    approval_id: str | None
    command_id: str | None
    result: AuditResult | None
    code: str | None
    rule: str | None
    sentence: str | None
    from_sequence: int | None
    to_sequence: int | None
    detail: str | None  # JSON of what else is known: format, reference, method, path, status


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """An operator command as it is on its topic: evidence packs contain those not executed."""

    partition: int
    offset: int
    raw: bytes


class ForeignRow(msgspec.Struct, frozen=True, kw_only=True):
    """A journal record that two people ruled FOREIGN: not an event, kept for evidence packs."""

    partition: int
    offset: int
    raw: bytes


class CheckpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A signed checkpoint of the verifier: it covers journal offsets from..to of the partition, and
    the outcomes of its operator commands in an outcomes partition.
    """

    partition: int
    number: int
    from_offset: int
    to_offset: int
    outcomes_partition: int
    from_outcome: int
    to_outcome: int
    log_offset: int  # the checkpoint's own offset
    raw: bytes


class ControlRow(msgspec.Struct, frozen=True, kw_only=True):
    """A control record: its type's name and its raw value, for lists and incident summaries."""

    offset: int
    type: str
    at: int
    actor: str | None
    raw: bytes
    refused: str | None  # the rule by which it was refused


class MinuteRow(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one partition and minute: `figures` is the packed struct of
    `readmodel.minutes`, `minute` is the epoch minute of `decidedAt`.
    """

    partition: int
    minute: int
    figures: bytes


class IncidentRow(msgspec.Struct, frozen=True, kw_only=True):
    """The latest status of a monitor's incident: OPEN or RESOLVED. See core.monitoring.Incident."""

    incident_id: str
    rule: IncidentRule
    status: IncidentStatus
    part: int
    whole: int
    limit_per_mille: int | None
    limit_ms: int | None
    since: int
    opened_at: int
    resolved_at: int | None


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A topic partition's next offset: compare-and-set from `before` (0 at first) to `after`."""

    topic: str
    partition: int
    before: int
    after: int


class Batch(msgspec.Struct, kw_only=True):
    """What one projector transaction writes. A row replaces the one of its key; but events,
    outcomes, commands, checkpoints, quarantine and FOREIGN records are only added.
    """

    moved: list[Moved] = []
    # Change in the number of payments whose id is not the one their key gives (MET-10).
    bypassed: int = 0
    # FOREIGN records that were projected before the ruling. Their events are deleted. The other
    # rows of their payments, except events and identifiers, are those of this batch, or deleted.
    taken_out: list[EventRow] = []
    taken_out_identifiers: list[IdentifierRow] = []
    payments: list[PaymentRow] = []
    events: list[EventRow] = []
    identifiers: list[IdentifierRow] = []
    approvals: list[ApprovalRow] = []
    conflicts: list[ConflictRow] = []
    outcomes: list[OutcomeRow] = []
    quarantine: list[QuarantineRow] = []
    redriven: list[tuple[int, int, str]] = []  # quarantine partition, offset, redrive id
    audit: list[AuditRow] = []
    commands: list[CommandRow] = []
    foreign_records: list[ForeignRow] = []
    checkpoints: list[CheckpointRow] = []
    control: list[ControlRow] = []
    minutes: list[MinuteRow] = []
    incidents: list[IncidentRow] = []
