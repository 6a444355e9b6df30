"""The history of a payment: eight lifecycle events, which alone change the state, and the other
records (those about funds are in `events_funds`).

Field names are the Avro names in snake_case and are a storage format: add (with a default), never
rename. Each record is declared once; tests compare its schema, its bytes and its reader with the
declaration. Times are epoch milliseconds, amounts integer cents, `text` and `details` free text
stored as sent.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from core.header import Recorded
from core.payment.commands import AssignedFrom
from core.payment.events_funds import (
    FundsCaptured,
    FundsCredited,
    FundsDebitForced,
    FundsHeld,
    FundsHoldDeclined,
    FundsHoldTransferred,
    FundsReleased,
    FundsReleaseDeferred,
    FundsRequested,
    FundsRequestFailed,
    FundsReversed,
)
from core.values import NO_CENTS, Cents, ConflictId, ExternalRef, Sealed
from core.words import (
    ActionName,
    ApprovalPhase,
    ConflictKind,
    EndSource,
    EnquiryReason,
    FailureReasonName,
    MessageKind,
    MessageResult,
    Overdue,
    PolicyPhase,
    PolicyStatus,
    ReportKind,
    Verdict,
)

# --- lifecycle ------------------------------------------------------------------------------------


class PaymentIntentCreated(Recorded, frozen=True, kw_only=True):
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


class PaymentAuthorised(Recorded, frozen=True, kw_only=True):
    attempt_id: str
    policy_ref: str
    hold_ref: str
    amount: Cents


class PaymentAttemptCreated(Recorded, frozen=True, kw_only=True):
    """`text` is the operator's reason for a retry, null for the first attempt."""

    attempt_id: str
    external_ref: ExternalRef
    text: str | None


class PaymentSentToRail(Recorded, frozen=True, kw_only=True):
    """Written with the instruction, before the submission; the adapter refuses the instruction
    after `submit_before`.
    """

    attempt_id: str
    external_ref: ExternalRef
    amount: Cents
    currency: str
    submit_before: int


class PaymentAcknowledged(Recorded, frozen=True, kw_only=True):
    """Cleared: the payee's side accepted. Not settled. `implied` if a settlement report came
    first.
    """

    attempt_id: str
    external_ref: ExternalRef
    implied: bool
    rail_message_id: str | None = None
    transaction_id: str | None = None
    code: str | None = None
    via_enquiry: bool = False
    assigned_from: AssignedFrom | None = None


class PaymentSettled(Recorded, frozen=True, kw_only=True):
    """`conflict_id` when a person accepted another amount (verdict AMOUNT_ACCEPTED)."""

    attempt_id: str
    external_ref: ExternalRef
    amount: Cents
    currency: str
    rail_message_id: str | None = None
    transaction_id: str | None = None
    code: str | None = None
    via_enquiry: bool = False
    conflict_id: ConflictId | None = None
    assigned_from: AssignedFrom | None = None


class PaymentFailed(Recorded, frozen=True, kw_only=True):
    """`header.reason` is the failure reason; `source` rail, operator, upstream or system;
    `late_failure` when it came from ACKNOWLEDGED. `submitted_at` and `answered_at` only for the
    technical answer to a submission; for a callback or an enquiry they are null.
    """

    attempt_id: str
    source: EndSource
    retry_safe: bool
    non_payment_certain: bool
    late_failure: bool
    text: str | None = None
    details: str | None = None
    code: str | None = None
    code_table: str | None = None
    customer_id: str | None = None
    rail_message_id: str | None = None
    via_enquiry: bool = False
    assigned_from: AssignedFrom | None = None
    report_kind: ReportKind | None = None
    submitted_at: int | None = None
    answered_at: int | None = None


class PaymentExpired(Recorded, frozen=True, kw_only=True):
    attempt_id: str
    source: EndSource
    non_payment_certain: bool
    text: str | None
    code: str | None = None
    code_table: str | None = None
    rail_message_id: str | None = None
    via_enquiry: bool = False
    assigned_from: AssignedFrom | None = None


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


# --- policy, approvals, the rail's reports, conflicts, messages -----------------------------------


class PolicyChecked(Recorded, frozen=True, kw_only=True):
    policy_ref: str
    verdict: PolicyStatus
    phase: PolicyPhase
    rules_evaluated: tuple[str, ...]
    policy_version: str
    failure_reason: FailureReasonName | None


class ProcessingSuspended(Recorded, frozen=True, kw_only=True):
    """The payment is parked: processing the cause's input met a defect."""

    error: str


class ProcessingResumed(Recorded, frozen=True, kw_only=True):
    requested_by: str
    text: str


class OperatorActionRequested(Recorded, frozen=True, kw_only=True):
    """`header.approval_id` names the approval; `frozen_until` if the request freezes the send."""

    action: ActionName
    requester: str
    phase: ApprovalPhase
    text: str
    expires_at: int
    failure_reason: FailureReasonName | None
    conflict_id: ConflictId | None
    verdict: Verdict | None
    amount: Cents | None
    frozen_until: int | None
    roles: tuple[str, ...] = ()


class ActionDecided(Recorded, frozen=True, kw_only=True):
    """The decision on a request for approval, by Resolve or a person, and the rules evaluated."""

    action: ActionName
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None


class OperatorActionReferred(ActionDecided, frozen=True):
    """A person must decide."""


class OperatorActionApproved(ActionDecided, frozen=True, kw_only=True):
    """The action is allowed until `expires_at`."""

    expires_at: int


class OperatorActionRejected(ActionDecided, frozen=True):
    """By a person or Resolve; by the system if it was not decided in time."""


class PaymentOverdue(Recorded, frozen=True, kw_only=True):
    """`level` ATTENTION or ESCALATED."""

    level: Overdue
    since: int
    deadline: int


class RailEnquiryRequested(Recorded, frozen=True, kw_only=True):
    external_ref: ExternalRef
    why: EnquiryReason
    number: int


class RailStatusReported(Recorded, frozen=True, kw_only=True):
    """A note. `rail_has_it`: the rail, or the adapter's record SUBMITTED, says that the rail has
    the attempt (ruling 3). `retry_safe` false: the rail's reason forbids a retry (ruling 2).
    """

    external_ref: ExternalRef
    kind: ReportKind
    adapter: str
    code: str | None
    amount: Cents | None
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


class NonPaymentConfirmed(Recorded, frozen=True, kw_only=True):
    """`by` names the report or verdict that made non-payment certain. `retry_safe` is false when
    the rail's reason forbids a retry that the recorded failure would allow. Times as in
    PaymentFailed.
    """

    attempt_id: str
    external_ref: ExternalRef
    by: ReportKind
    code: str | None
    code_table: str | None
    rail_message_id: str | None = None
    via_enquiry: bool = False
    retry_safe: bool = True
    assigned_from: AssignedFrom | None = None
    submitted_at: int | None = None
    answered_at: int | None = None


class RecallRequested(Recorded, frozen=True, kw_only=True):
    """`code`: the evidence for the adapter's ALREADY_SUBMITTED (ruling 3)."""

    external_ref: ExternalRef
    code: str | None = None


class RecallAnswered(Recorded, frozen=True, kw_only=True):
    external_ref: ExternalRef
    accepted: bool
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None


class ReconciliationRequired(Recorded, frozen=True, kw_only=True):
    """A conflict: it blocks until a person resolves it. Times as in PaymentFailed."""

    conflict_id: ConflictId
    kind: ConflictKind
    external_ref: ExternalRef | None
    detail: str
    code: str | None = None
    amount: Cents | None = None
    currency: str | None = None
    rail_message_id: str | None = None
    assigned_from: AssignedFrom | None = None
    report_kind: str | None = None
    submitted_at: int | None = None
    answered_at: int | None = None


class ReconciliationResolved(Recorded, frozen=True, kw_only=True):
    """`header.attempt` is the attempt that the verdict is about."""

    conflict_id: ConflictId
    verdict: Verdict
    text: str
    amount: Cents | None


class PaymentReturned(Recorded, frozen=True, kw_only=True):
    """`amount` as reported: one return, or the total so far when it has no message id or comes
    `via_enquiry`. `total`: what has been returned, including this report (ruling 13).
    """

    external_ref: ExternalRef
    amount: Cents
    currency: str
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None
    via_enquiry: bool = False
    total: Cents = NO_CENTS


class CustomerNotificationRequested(Recorded, frozen=True, kw_only=True):
    notification_id: str
    kind: MessageKind


class CustomerNotified(Recorded, frozen=True, kw_only=True):
    notification_id: str
    kind: MessageKind
    result: MessageResult
    channel: str | None
    delivered_at: int | None


OtherEvent = (
    PolicyChecked
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
FundsEvent = (
    FundsRequested
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
)
Event = LifecycleEvent | FundsEvent | OtherEvent

EVENTS: tuple[type[msgspec.Struct], ...] = get_args(Event)
