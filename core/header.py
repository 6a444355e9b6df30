"""Headers inlined in every input and every event. Their bytes are hashed permanently: add, never
rename.
"""

from __future__ import annotations

import msgspec

from core.values import ApprovalId, PaymentIntentId
from core.words import ActorKind, FailureReasonName, StateName


class InputHeader(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`sent_at` (epoch ms) is the producer's clock, for information only; `command_id` finds an
    outcome, it does not deduplicate.
    """

    payment_intent_id: PaymentIntentId
    command_id: str | None = None
    sent_at: int = 0
    traceparent: str | None = None


class OperatorHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts. `not_after` (epoch ms): a command decided later is rejected COMMAND_EXPIRED."""

    operator_id: str
    roles: tuple[str, ...]
    token_id: str
    not_after: int
    approval_id: ApprovalId | None = None


class Cause(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The input that caused an event: its position on the log and the SHA-256 of its raw value."""

    cluster_id: str
    topic: str
    partition: int
    offset: int
    input_hash: bytes
    command_id: str | None = None


class Actor(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """kind: upstream, operator, rail, deposits, resolve, customer, timer, system."""

    kind: ActorKind
    id: str


class EventHeader(msgspec.Struct, gc=False, kw_only=True):
    """`previous_hash` is filled in when the event is encoded: SHA-256 over the previous event's raw
    value bytes.

    `decided_at` in epoch ms; `sequence` from 1 without gap; `attempt` 1 from creation on; `reason`
    is a failure reason of domain §6, free text has separate fields.
    """

    payment_intent_id: PaymentIntentId
    sequence: int
    previous_hash: bytes
    decided_at: int
    cause: Cause
    actor: Actor
    attempt: int
    state_after: StateName
    reason: FailureReasonName | None
    approval_id: ApprovalId | None
    rule_set: int
    traceparent: str | None


class Recorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What every event of the history has."""

    header: EventHeader


class InstructionHeader(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`sequence` is that of the event in whose decision the instruction was given."""

    payment_intent_id: PaymentIntentId
    sequence: int
    decided_at: int
    traceparent: str | None = None
