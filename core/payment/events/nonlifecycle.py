"""The other records of the history: policy, approvals, the rail's reports, conflicts, messages."""

from __future__ import annotations

import msgspec

from core.header import EventHeader
from core.payment.commands import AssignedFrom
from core.values import NO_CENTS, Cents, ConflictId, ExternalRef
from core.words import (
    ActionName,
    ApprovalPhase,
    ConflictKind,
    FailureReasonName,
    MessageKind,
    MessageResult,
    Overdue,
    PolicyPhase,
    PolicyStatus,
    ReportKind,
    Verdict,
)


class PolicyChecked(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    policy_ref: str
    verdict: PolicyStatus
    phase: PolicyPhase
    rules_evaluated: tuple[str, ...]
    policy_version: str
    failure_reason: FailureReasonName | None


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


class OperatorActionReferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: ActionName
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None


class OperatorActionApproved(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: ActionName
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    text: str | None
    expires_at: int


class OperatorActionRejected(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    action: ActionName
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
    external_ref: ExternalRef
    why: str
    number: int


class RailStatusReported(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A note. `rail_has_it`: the rail, or our own record SUBMITTED, says that the rail has the
    attempt (ruling 3). `retry_safe` false: the rail's reason forbids a retry (ruling 2).
    """

    header: EventHeader
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


class NonPaymentConfirmed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`by` names the report or verdict that made non-payment certain. `retry_safe` is false when
    the
    rail's reason forbids a retry that the recorded failure would allow.
    """

    header: EventHeader
    attempt_id: str
    external_ref: ExternalRef
    by: ReportKind
    code: str | None
    code_table: str | None
    rail_message_id: str | None = None
    via_enquiry: bool = False
    retry_safe: bool = True
    assigned_from: AssignedFrom | None = None


class RecallRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`code`: what the adapter's ALREADY_SUBMITTED rests on (ruling 3)."""

    header: EventHeader
    external_ref: ExternalRef
    code: str | None = None


class RecallAnswered(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    external_ref: ExternalRef
    accepted: bool
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None


class ReconciliationRequired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A conflict: kept, blocking, open until a person resolves it."""

    header: EventHeader
    conflict_id: ConflictId
    kind: ConflictKind
    external_ref: ExternalRef | None
    detail: str
    code: str | None
    amount: Cents | None
    currency: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None
    report_kind: str | None = None


class ReconciliationResolved(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`header.attempt` is the attempt the verdict speaks of."""

    header: EventHeader
    conflict_id: ConflictId
    verdict: Verdict
    text: str
    amount: Cents | None


class PaymentReturned(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`amount` as reported: one return, or the total so far when it has no message id or comes
    `via_enquiry`. `total`: what has come back, this report included (ruling 13).
    """

    header: EventHeader
    external_ref: ExternalRef
    amount: Cents
    currency: str
    code: str | None
    rail_message_id: str | None
    assigned_from: AssignedFrom | None = None
    via_enquiry: bool = False
    total: Cents = NO_CENTS


class CustomerNotificationRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    notification_id: str
    kind: MessageKind


class CustomerNotified(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
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
