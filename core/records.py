"""Records other than a payment's history: outcomes, the lifecycle record, checkpoints, audit, the
adapter's own record. Those of the control topic are in `control_records`.

Times are epoch milliseconds.
"""

from __future__ import annotations

import msgspec

from core.header import Cause
from core.values import Cents, ExternalRef, PaymentIntentId
from core.words import (
    FailureReasonName,
    FundsStatus,
    MoneyOutcomeName,
    OutcomeResult,
    Overdue,
    RefusalCode,
    StateName,
    SubmissionPhase,
)

STATE_VERSION = 1  # of the snapshot inside PaymentLifecycle
SENTENCE_MAX = 1_000  # characters


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an input: ACCEPTED, DUPLICATE, REJECTED, NO_EFFECT, MISROUTED or
    QUARANTINED.

    `code` and `rule` name a refusal; `from_sequence`..`to_sequence` the events it made, or, for a
    duplicate, those of the first result.
    """

    payment_intent_id: PaymentIntentId
    cause: Cause
    input_type: str
    result: OutcomeResult
    code: RefusalCode | None
    rule: str | None
    sentence: str | None
    first_difference: str | None
    decided_at: int
    rule_set: int
    from_sequence: int
    to_sequence: int
    state: StateName | None
    money_outcome: MoneyOutcomeName | None
    expected: str | None = None
    actual: str | None = None


class PaymentLifecycle(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The compacted record of a payment: public fields by name, and the engine's packed `snapshot`.

    A restore reads only the first two fields. `head_hash` is the SHA-256 of the last event's raw
    value.
    """

    at_rest: bool
    deadline: int | None
    payment_intent_id: PaymentIntentId
    state_version: int
    sequence: int
    head_hash: bytes
    last_lifecycle_event: str
    state: StateName
    money_outcome: MoneyOutcomeName
    reason: FailureReasonName | None
    attempt: int
    external_ref: ExternalRef | None
    amount: Cents
    currency: str
    funds: FundsStatus
    open_conflicts: int
    overdue: Overdue | None
    waiting_for_person: bool
    rule_set: int
    decided_at: int
    snapshot: bytes


# --- proof ----------------------------------------------------------------------------------------


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The verifier's signed statement about journal offsets `from_offset`..`to_offset` (inclusive)
    of one partition, and about the outcomes of its operator commands among the offsets
    `from_outcome`..`to_outcome`. An empty range ends one before it begins.

    `signature` is Ed25519 over the checkpoint's Avro bytes with an empty signature; leaves as in
    RFC 6962.
    """

    partition: int
    number: int
    leaf_version: int
    from_offset: int
    to_offset: int
    outcomes_partition: int
    from_outcome: int
    to_outcome: int
    leaves: int
    merkle_root: bytes
    previous_checkpoint: (
        bytes  # SHA-256 of the previous checkpoint's raw value, 32 zero bytes for number 1
    )
    signed_at: int
    key_id: str
    signature: bytes


# --- audit ----------------------------------------------------------------------------------------


class OperatorAudit(msgspec.Struct, frozen=True, kw_only=True):
    """An API request that did not become a command: refused at the edge, an export, a view of
    personal data, a refused sign-in. Commands are audited by their own record.

    `operator_id` is the authenticated principal, `anonymous` when there was none. `status` is the
    HTTP status answered; `detail` is further information as JSON text. It never holds tokens,
    account numbers or names of parties.
    """

    audit_id: str
    at: int
    operator_id: str
    roles: tuple[str, ...]
    action: str
    method: str
    path: str
    status: int
    token_id: str | None = None
    client_id: str | None = None
    payment_intent_id: str | None = None
    reason: str | None = None
    approval_id: str | None = None
    code: str | None = None
    rule: str | None = None
    sentence: str | None = None
    command_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    detail: str | None = None


# --- rail adapter ---------------------------------------------------------------------------------


class RailSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """The rail adapter's own record of one externalRef.

    phase SUBMITTING is written (acks=all) before the HTTP call; then SUBMITTED, REFUSED, WITHDRAWN,
    NOT_SUBMITTED.
    """

    external_ref: ExternalRef
    payment_intent_id: PaymentIntentId
    phase: SubmissionPhase
    submit_before: int
    at: int
    tries: int
    rail_ref: str | None = None
    technical_result: str | None = None
