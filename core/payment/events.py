"""The history of a payment: eight lifecycle events and the records beside them, which never change
the state.

Field names are the Avro names in snake_case and are a storage format: add (with a default), never
rename.
Times are epoch milliseconds, amounts integer cents, `text` and `details` free text stored as sent.
"""

from __future__ import annotations

import msgspec

from core.header import EventHeader
from core.payment.commands import AssignedFrom
from core.values import Overdue, PolicyStatus, RequestStatus, Sealed


class PaymentIntentCreated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    source: str
    idempotency_key: str
    amount: int
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
    amount: int


class PaymentAttemptCreated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`text` is the operator's reason for a retry, null for the first attempt."""

    header: EventHeader
    attempt_id: str
    external_ref: str
    text: str | None


class PaymentSentToRail(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Written with the instruction, before the submission; the adapter refuses the instruction
    after `submit_before`.
    """

    header: EventHeader
    attempt_id: str
    external_ref: str
    amount: int
    currency: str
    submit_before: int


class PaymentAcknowledged(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Cleared: the payee's side accepted. Never settled. `implied` when a settlement report came
    first.
    """

    header: EventHeader
    attempt_id: str
    external_ref: str
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
    external_ref: str
    amount: int
    currency: str
    rail_message_id: str | None
    transaction_id: str | None
    code: str | None
    via_enquiry: bool
    conflict_id: str | None
    assigned_from: AssignedFrom | None


class PaymentFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`header.reason` is the failure reason; `source` rail, operator, upstream or system;
    `late_failure` when it came from ACKNOWLEDGED.
    """

    header: EventHeader
    attempt_id: str
    source: str
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
    report_kind: str | None = None


class PaymentExpired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    attempt_id: str
    source: str
    non_payment_certain: bool
    text: str | None
    code: str | None
    code_table: str | None
    rail_message_id: str | None
    via_enquiry: bool
    assigned_from: AssignedFrom | None


class PolicyChecked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    policy_ref: str
    verdict: PolicyStatus
    phase: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    failure_reason: str | None


class FundsRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`repeat` counts how often the same reference was asked before: 0 for the first time.

    `not_after` (HOLD): Deposits Core never carries it out after that. `hold_funds_ref` (RELEASE):
    the HOLD that was not answered, and `not_after` is that HOLD's.
    """

    header: EventHeader
    operation: str
    funds_ref: str
    amount: int
    currency: str
    repeat: int
    not_after: int | None = None
    hold_funds_ref: str | None = None


class FundsRequestFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`result` REFUSED: certain not to have happened; FAILED: no readable answer, it may have."""

    header: EventHeader
    operation: str
    funds_ref: str
    code: str | None
    details: str | None
    result: RequestStatus = "FAILED"


class FundsHeld(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The balance verification."""

    header: EventHeader
    funds_ref: str
    hold_ref: str
    amount: int
    verified_at: int
    ledger_ref: str | None


class FundsHoldDeclined(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    code: str | None
    details: str | None


class FundsCaptured(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    amount: int
    ledger_ref: str | None


class FundsReleased(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    amount: int
    ledger_ref: str | None


class FundsDebitForced(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    amount: int
    ledger_ref: str | None


class FundsReversed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    amount: int
    ledger_ref: str | None


class FundsCredited(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: str
    amount: int
    ledger_ref: str | None


class FundsReleaseDeferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The hold stays until non-payment is certain for every attempt."""

    header: EventHeader
    amount: int
    why: str


class FundsHoldTransferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    from_attempt: int
    to_attempt: int
    hold_ref: str
    amount: int


class ProcessingSuspended(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The payment is parked: a defect was met at the cause's input."""

    header: EventHeader
    error: str


class ProcessingResumed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    requested_by: str
    text: str


class OperatorActionRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`header.approval_id` names the approval; `frozen_until` when the request holds the send
    back.
    """

    header: EventHeader
    action: str
    requester: str
    phase: str
    text: str
    expires_at: int
    failure_reason: str | None
    conflict_id: str | None
    verdict: str | None
    amount: int | None
    frozen_until: int | None
    roles: tuple[str, ...] = ()


class OperatorActionReferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: str
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None


class OperatorActionApproved(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: str
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None
    expires_at: int


class OperatorActionRejected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: str
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None


class PaymentOverdue(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`level` ATTENTION or ESCALATED."""

    header: EventHeader
    level: Overdue
    since: int
    deadline: int


class RailEnquiryRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    external_ref: str
    why: str
    number: int


class RailStatusReported(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A note. `rail_has_it`: the rail, or our own record SUBMITTED, says that the rail has the
    attempt (ruling 3). `retry_safe` false: the rail's reason forbids a retry (ruling 2).
    """

    header: EventHeader
    external_ref: str
    kind: str
    adapter: str
    code: str | None
    amount: int | None
    currency: str | None
    rail_message_id: str | None
    transaction_id: str | None
    details: str | None
    submitted_at: int | None
    answered_at: int | None
    technical_result: str | None
    via_enquiry: bool
    adapter_stopped: bool
    assigned_from: AssignedFrom | None
    rail_has_it: bool = False
    retry_safe: bool = True


class NonPaymentConfirmed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`by` names the report or verdict that made non-payment certain. `retry_safe` is false when
    the
    rail's reason forbids a retry that the recorded failure would allow.
    """

    header: EventHeader
    attempt_id: str
    external_ref: str
    by: str
    code: str | None
    code_table: str | None
    rail_message_id: str | None = None
    via_enquiry: bool = False
    retry_safe: bool = True
    assigned_from: AssignedFrom | None = None


class RecallRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`code`: what the adapter's ALREADY_SUBMITTED rests on (ruling 3)."""

    header: EventHeader
    external_ref: str
    code: str | None = None


class RecallAnswered(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    external_ref: str
    accepted: bool
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None


class ReconciliationRequired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A conflict: kept, blocking, open until a person resolves it."""

    header: EventHeader
    conflict_id: str
    kind: str
    external_ref: str | None
    detail: str
    code: str | None
    amount: int | None
    currency: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None
    report_kind: str | None = None


class ReconciliationResolved(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`header.attempt` is the attempt the verdict speaks of."""

    header: EventHeader
    conflict_id: str
    verdict: str
    text: str
    amount: int | None


class PaymentReturned(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`amount` as reported: one return, or the total so far when it has no message id or comes
    `via_enquiry`. `total`: what has come back, this report included (ruling 13).
    """

    header: EventHeader
    external_ref: str
    amount: int
    currency: str
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None
    via_enquiry: bool = False
    total: int = 0


class CustomerNotificationRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    notification_id: str
    kind: str


class CustomerNotified(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    notification_id: str
    kind: str
    result: str
    channel: str | None
    delivered_at: int | None


LIFECYCLE_EVENTS: tuple[type[msgspec.Struct], ...] = (
    PaymentIntentCreated,
    PaymentAuthorised,
    PaymentAttemptCreated,
    PaymentSentToRail,
    PaymentAcknowledged,
    PaymentSettled,
    PaymentFailed,
    PaymentExpired,
)
EVENTS: tuple[type[msgspec.Struct], ...] = (
    *LIFECYCLE_EVENTS,
    PolicyChecked,
    FundsRequested,
    FundsRequestFailed,
    FundsHeld,
    FundsHoldDeclined,
    FundsCaptured,
    FundsReleased,
    FundsDebitForced,
    FundsReversed,
    FundsCredited,
    FundsReleaseDeferred,
    FundsHoldTransferred,
    ProcessingSuspended,
    ProcessingResumed,
    OperatorActionRequested,
    OperatorActionReferred,
    OperatorActionApproved,
    OperatorActionRejected,
    PaymentOverdue,
    RailEnquiryRequested,
    RailStatusReported,
    NonPaymentConfirmed,
    RecallRequested,
    RecallAnswered,
    ReconciliationRequired,
    ReconciliationResolved,
    PaymentReturned,
    CustomerNotificationRequested,
    CustomerNotified,
)

Event = (
    PaymentIntentCreated
    | PaymentAuthorised
    | PaymentAttemptCreated
    | PaymentSentToRail
    | PaymentAcknowledged
    | PaymentSettled
    | PaymentFailed
    | PaymentExpired
    | PolicyChecked
    | FundsRequested
    | FundsRequestFailed
    | FundsHeld
    | FundsHoldDeclined
    | FundsCaptured
    | FundsReleased
    | FundsDebitForced
    | FundsReversed
    | FundsCredited
    | FundsReleaseDeferred
    | FundsHoldTransferred
    | ProcessingSuspended
    | ProcessingResumed
    | OperatorActionRequested
    | OperatorActionReferred
    | OperatorActionApproved
    | OperatorActionRejected
    | PaymentOverdue
    | RailEnquiryRequested
    | RailStatusReported
    | NonPaymentConfirmed
    | RecallRequested
    | RecallAnswered
    | ReconciliationRequired
    | ReconciliationResolved
    | PaymentReturned
    | CustomerNotificationRequested
    | CustomerNotified
)
