"""The eight lifecycle events: the only ones that change the state."""

from __future__ import annotations

import msgspec

from core.header import EventHeader
from core.payment.commands import AssignedFrom
from core.values import Cents, ConflictId, ExternalRef, Sealed
from core.words import EndSource, ReportKind


class PaymentIntentCreated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    source: str
    idempotency_key: str
    amount: Cents
    currency: str
    parties: Sealed
    end_to_end_id: str
    service: str
    uetr: str | None
    customer_id: str | None
    requested_execution_time: int | None
    expires_at: int | None


class PaymentAuthorised(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    attempt_id: str
    policy_ref: str
    hold_ref: str
    amount: Cents


class PaymentAttemptCreated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`text` is the operator's reason for a retry, null for the first attempt."""

    header: EventHeader
    attempt_id: str
    external_ref: ExternalRef
    text: str | None


class PaymentSentToRail(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Written with the instruction, before the submission; the adapter refuses the instruction
    after `submit_before`.
    """

    header: EventHeader
    attempt_id: str
    external_ref: ExternalRef
    amount: Cents
    currency: str
    submit_before: int


class PaymentAcknowledged(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cleared: the payee's side accepted. Never settled. `implied` when a settlement report came
    first.
    """

    header: EventHeader
    attempt_id: str
    external_ref: ExternalRef
    implied: bool
    rail_message_id: str | None
    transaction_id: str | None
    code: str | None
    via_enquiry: bool
    assigned_from: AssignedFrom | None


class PaymentSettled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`conflict_id` when a person accepted another amount (verdict AMOUNT_ACCEPTED)."""

    header: EventHeader
    attempt_id: str
    external_ref: ExternalRef
    amount: Cents
    currency: str
    rail_message_id: str | None
    transaction_id: str | None
    code: str | None
    via_enquiry: bool
    conflict_id: ConflictId | None
    assigned_from: AssignedFrom | None


class PaymentFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`header.reason` is the failure reason; `source` rail, operator, upstream or system;
    `late_failure` when it came from ACKNOWLEDGED.
    """

    header: EventHeader
    attempt_id: str
    source: EndSource
    retry_safe: bool
    non_payment_certain: bool
    late_failure: bool
    text: str | None
    details: str | None
    code: str | None
    code_table: str | None
    customer_id: str | None
    rail_message_id: str | None
    via_enquiry: bool
    assigned_from: AssignedFrom | None
    report_kind: ReportKind | None = None


class PaymentExpired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    attempt_id: str
    source: EndSource
    non_payment_certain: bool
    text: str | None
    code: str | None
    code_table: str | None
    rail_message_id: str | None
    via_enquiry: bool
    assigned_from: AssignedFrom | None


LifecycleEvent = (
    PaymentIntentCreated
    | PaymentAuthorised
    | PaymentAttemptCreated
    | PaymentSentToRail
    | PaymentAcknowledged
    | PaymentSettled
    | PaymentFailed
    | PaymentExpired
)
