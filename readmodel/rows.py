"""Rows of the read model: what the projector writes and everybody else reads. Plain values.

Times are epoch milliseconds, amounts integer cents. `raw` is a record's value as it is on the
log. Nothing here knows SQL; `tables.py` holds the same names as columns.
"""

from __future__ import annotations

import msgspec


class PaymentRow(msgspec.Struct, frozen=True):
    """A payment's state after the event at `sequence`. `snapshot` is the packed state, from
    which attempts, approvals and conflicts can be read with `core.payment.state.unpack`.
    """

    payment_intent_id: str
    source: str
    idempotency_key: str
    state: str
    reason: str | None
    money_outcome: str
    amount: int
    currency: str
    attempt: int
    external_ref: str | None
    funds: str
    sequence: int
    head_hash: bytes
    created_at: int
    decided_at: int
    last_lifecycle_event: str
    overdue: str | None
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


class EventRow(msgspec.Struct, frozen=True):
    """One event of the journal; `hash` is SHA-256 of `raw`, `from_state` the state before it."""

    payment_intent_id: str
    sequence: int
    partition: int
    offset: int
    type: str
    decided_at: int
    from_state: str | None
    state: str
    attempt: int
    cause_topic: str
    cause_partition: int
    cause_offset: int
    command_id: str | None
    approval_id: str | None
    hash: bytes
    raw: bytes


class IdentifierRow(msgspec.Struct, frozen=True):
    """Something a payment can be found by. `kind`: externalRef, railMessageId, transactionId."""

    kind: str
    value: str
    payment_intent_id: str


class ApprovalRow(msgspec.Struct, frozen=True):
    """`status` REQUESTED, REFERRED, APPROVED, REJECTED or USED; EXPIRED is computed by readers."""

    payment_intent_id: str
    approval_id: str
    action: str
    attempt: int
    phase: str
    requester: str
    text: str
    status: str
    requested_at: int
    expires_at: int
    decided_at: int | None
    decided_by: str | None
    failure_reason: str | None
    conflict_id: str | None
    verdict: str | None
    amount: int | None


class ConflictRow(msgspec.Struct, frozen=True):
    """Open while `verdict` is None."""

    payment_intent_id: str
    conflict_id: str
    kind: str
    attempt: int
    detail: str
    opened_at: int
    resolved_at: int | None
    verdict: str | None


class OutcomeRow(msgspec.Struct, frozen=True):
    """What became of an input that has an outcome record."""

    partition: int
    offset: int
    payment_intent_id: str
    cause_topic: str
    cause_partition: int
    cause_offset: int
    command_id: str | None
    input_type: str
    result: str
    code: str | None
    rule: str | None
    sentence: str | None
    decided_at: int
    from_sequence: int
    to_sequence: int
    raw: bytes


class QuarantineRow(msgspec.Struct, frozen=True):
    """A quarantined record. `value` and `headers` untouched; `redrive_id` of the last request that
    was carried out for it.
    """

    partition: int
    offset: int
    reason: str
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


class AuditRow(msgspec.Struct, frozen=True):
    """One thing that somebody asked for. `audit_id` is `<topic letter>-<partition>-<offset>`: o for
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
    result: str | None
    code: str | None
    rule: str | None
    sentence: str | None
    from_sequence: int | None
    to_sequence: int | None
    detail: str | None  # JSON of what else is known: format, reference, method, path, status


class CommandRow(msgspec.Struct, frozen=True):
    """An operator's command as it is on its topic: evidence packs hold those not executed."""

    partition: int
    offset: int
    raw: bytes


class ForeignRow(msgspec.Struct, frozen=True):
    """A record of the journal that two persons ruled FOREIGN: no event, kept for evidence packs."""

    partition: int
    offset: int
    raw: bytes


class CheckpointRow(msgspec.Struct, frozen=True):
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
    log_offset: int  # where the checkpoint itself stands
    raw: bytes


class ControlRow(msgspec.Struct, frozen=True):
    """A control record: its type's name and its raw value, for lists and incident summaries."""

    offset: int
    type: str
    at: int
    actor: str | None
    raw: bytes
    refused: str | None  # the rule by which nobody obeys it


class MinuteRow(msgspec.Struct, frozen=True):
    """The figures of one partition and minute, whole: `figures` is the packed struct of
    `readmodel.minutes`, `minute` is epoch minutes of `decidedAt`.
    """

    partition: int
    minute: int
    figures: bytes


class IncidentRow(msgspec.Struct, frozen=True):
    """An incident of the monitor as it was last: OPEN or RESOLVED. See core.monitoring.Incident."""

    incident_id: str
    rule: str
    status: str
    part: int
    whole: int
    limit_per_mille: int | None
    limit_ms: int | None
    since: int
    opened_at: int
    resolved_at: int | None


class Moved(msgspec.Struct, frozen=True):
    """A topic partition's next offset: compare-and-set from `before` (0 at first) to `after`."""

    topic: str
    partition: int
    before: int
    after: int


class Batch(msgspec.Struct):
    """What one projector transaction writes. Rows with a key that exists replace it, but events,
    outcomes, commands, checkpoints and quarantine are only ever added.
    """

    moved: list[Moved] = []
    # FOREIGN records that were projected before two persons ruled so: their events go, and all rows
    # of their payments but other events and identifiers are as in this batch, or gone.
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
