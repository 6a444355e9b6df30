"""Inputs of a payment: commands of upstream systems and operators, reports of outside systems, due
timers.

Field names are the Avro names in snake_case. Times are epoch milliseconds, amounts integer cents.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from core.header import InputHeader, OperatorHeader
from core.values import ApprovalId, Cents, ConflictId, ExternalRef, FundsRef, Sealed
from core.words import (
    ActionName,
    ApprovalAnswer,
    DeadlineKind,
    FailureReasonName,
    FundsResult,
    MessageKind,
    MessageResult,
    OperationName,
    PolicyAnswer,
    PolicyPhase,
    ReportKind,
    Verdict,
)


class CreatePayment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: InputHeader
    source: str
    idempotency_key: str
    amount: Cents
    currency: str
    parties: Sealed
    end_to_end_id: str
    service: str
    uetr: str | None = None
    customer_id: str | None = None
    requested_execution_time: int | None = None
    expires_at: int | None = None


class ExpirePayment(msgspec.Struct, frozen=True, kw_only=True):
    """`operator` is null on an upstream topic, and required on the operators' topic."""

    header: InputHeader
    operator: OperatorHeader | None = None
    reason: str | None = None


class _OfOperator(msgspec.Struct, frozen=True, kw_only=True):
    header: InputHeader
    operator: OperatorHeader


class _OnAttempt(_OfOperator, frozen=True, kw_only=True):
    attempt: int
    reason: str


class RequestApproval(_OfOperator, frozen=True, kw_only=True):
    """Request Resolve's approval of `action`, which will be bound to these parameters."""

    action: ActionName
    reason: str
    attempt: int | None = None
    failure_reason: FailureReasonName | None = None
    conflict_id: ConflictId | None = None
    verdict: Verdict | None = None
    amount: Cents | None = None


class RetryPayment(_OfOperator, frozen=True, kw_only=True):
    attempt_id: str
    reason: str


class CancelPayment(_OfOperator, frozen=True, kw_only=True):
    reason: str
    customer_id: str | None = None


class MarkPaymentFailed(_OfOperator, frozen=True, kw_only=True):
    reason: FailureReasonName
    details: str


class ResolveReconciliation(_OfOperator, frozen=True, kw_only=True):
    conflict_id: ConflictId
    attempt: int
    verdict: Verdict
    details: str
    amount: Cents | None = None  # RETURNED states what came back


class ReleaseFunds(_OnAttempt, frozen=True, kw_only=True):
    """Release a deferred hold before non-payment is certain (action RELEASE_EARLY)."""


class ReverseCapture(_OnAttempt, frozen=True, kw_only=True):
    """Give the captured funds of an attempt back (action REVERSE)."""


class DebitFunds(_OnAttempt, frozen=True, kw_only=True):
    """Debit the customer for a second settlement of the payment (action DEBIT_AGAIN)."""


class RepeatFundsRequest(_OfOperator, frozen=True, kw_only=True):
    """Repeat a request that Deposits Core refused, under the operation's next number."""

    attempt: int
    operation: OperationName
    reason: str


class DecideApproval(_OfOperator, frozen=True, kw_only=True):
    """A person's decision on an approval that Resolve referred. `verdict` APPROVED or REJECTED."""

    approval_id: ApprovalId
    verdict: ApprovalAnswer
    reason: str


class ResumeProcessing(_OfOperator, frozen=True, kw_only=True):
    """Resume a parked payment; `operator` confirms the request of `requested_by` (dual control)."""

    requested_by: str
    reason: str


class AssignedFrom(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Where an unmatched report came from and which two people assigned it to this payment."""

    topic: str
    partition: int
    offset: int
    sha256: bytes
    requested_by: str
    confirmed_by: str


class RailReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the rail, or its adapter, reports about one attempt. `code` is the raw rail code; core
    maps it with `adapter`'s table.
    """

    header: InputHeader
    external_ref: ExternalRef
    kind: ReportKind
    adapter: str
    code: str | None = None
    amount: Cents | None = None
    currency: str | None = None
    rail_message_id: str | None = None
    transaction_id: str | None = None
    details: str | None = None
    submitted_at: int | None = None
    answered_at: int | None = None
    technical_result: str | None = None
    via_enquiry: bool = False
    adapter_stopped: bool = False
    assigned_from: AssignedFrom | None = None


class DepositsResult(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Deposits Core's answer for one funds reference.

    `result` HELD, CAPTURED, RELEASED, DEBITED, REVERSED or CREDITED: done. DECLINED: the account
    does not allow the hold. REFUSED: certainly not carried out. NEVER_HELD: the hold that a
    RELEASE names was never carried out and never will be. FAILED: no readable answer; it may have
    been carried out.
    """

    header: InputHeader
    funds_ref: FundsRef
    operation: OperationName
    result: FundsResult
    amount: Cents
    hold_ref: str | None = None
    ledger_ref: str | None = None
    verified_at: int | None = None
    code: str | None = None
    details: str | None = None


class PolicyVerdict(msgspec.Struct, frozen=True, kw_only=True):
    header: InputHeader
    policy_ref: str
    verdict: PolicyAnswer
    phase: PolicyPhase
    rules_evaluated: tuple[str, ...]
    policy_version: str
    failure_reason: FailureReasonName | None = None


class ApprovalDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Resolve's answer: APPROVED, REJECTED or REFERRED (a person must decide)."""

    header: InputHeader
    approval_id: ApprovalId
    verdict: ApprovalAnswer
    decided_by: str
    rules_evaluated: tuple[str, ...]
    policy_version: str
    reason: str | None = None


class NotificationResult(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The notification service's confirmation. `result` DELIVERED or UNDELIVERABLE."""

    header: InputHeader
    notification_id: str
    kind: MessageKind
    result: MessageResult
    delivered_at: int | None = None
    channel: str | None = None


class TimerDue(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A deadline that has passed, written by the engine and read back."""

    header: InputHeader
    kind: DeadlineKind
    deadline: int


UpstreamCommand = CreatePayment | ExpirePayment
OperatorCommand = (
    RequestApproval
    | RetryPayment
    | CancelPayment
    | MarkPaymentFailed
    | ExpirePayment
    | ResolveReconciliation
    | ReleaseFunds
    | ReverseCapture
    | DebitFunds
    | RepeatFundsRequest
    | DecideApproval
    | ResumeProcessing
)
Report = RailReport | DepositsResult | PolicyVerdict | ApprovalDecision | NotificationResult
Input = UpstreamCommand | OperatorCommand | Report | TimerDue

INPUTS: tuple[type[msgspec.Struct], ...] = get_args(Input)
