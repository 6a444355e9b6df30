"""The Resolve gate: who may do what, until when, and with which approval (domain §4)."""

from __future__ import annotations

from typing import Final

import msgspec

from core.decider import Refusal
from core.header import OperatorHeader
from core.payment.state import Approval, Payment, open_conflicts
from core.refusals import (
    APPROVAL_EXPIRED,
    APPROVAL_MISSING,
    APPROVAL_NOT_FOUND,
    APPROVAL_OTHER_ACTION,
    APPROVAL_OTHER_ATTEMPT,
    APPROVAL_OTHER_OPERATOR,
    APPROVAL_OTHER_PARAMETERS,
    APPROVAL_OTHER_PHASE,
    APPROVAL_PENDING,
    APPROVAL_REFUSED,
    APPROVAL_USED,
    COMMAND_EXPIRED,
    CONFLICT_OPEN,
    MISSING_ROLE,
    refuse,
)
from core.values import Cents, ConflictId, format_amount, person_digest
from core.words import ActionName, ApprovalPhase, FailureReasonName, Role, Verdict

_OPERATORS: Final[frozenset[Role]] = frozenset({"operator", "senior_operator"})
_SENIORS: Final[frozenset[Role]] = frozenset({"senior_operator"})

# The roles that may request and execute each gated action.
ROLES_OF_ACTION: Final[dict[ActionName, frozenset[Role]]] = {
    "RETRY": _OPERATORS,
    "RETRY_UNCERTAIN": _OPERATORS,
    "CANCEL": _OPERATORS,
    "MARK_FAILED": _SENIORS,
    "EXPIRE": _SENIORS,
    "RESOLVE_RECONCILIATION": _SENIORS,
    "RELEASE_EARLY": _SENIORS,
    "REVERSE": _SENIORS,
    "DEBIT_AGAIN": _SENIORS,
}
REPEATERS: Final[frozenset[Role]] = _SENIORS  # may repeat a request that Deposits Core refused
APPROVERS: Final[frozenset[Role]] = frozenset({"approver"})
ADMINS: Final[frozenset[Role]] = frozenset({"admin"})

BEFORE_SENT: Final = "BEFORE_SENT"


class RequiredApproval(msgspec.Struct, frozen=True, kw_only=True):
    """What an action must be approved for; the approval is bound to all of it (AP-04)."""

    action: ActionName
    attempt: int
    amount: Cents
    failure_reason: FailureReasonName | None = None
    conflict_id: ConflictId | None = None
    verdict: Verdict | None = None


def role_missing(operator: OperatorHeader, roles: frozenset[Role]) -> Refusal | None:
    """The refusal if the operator has none of the roles; checked before duplicates (domain §4)."""
    if roles.isdisjoint(operator.roles):
        needed = " or ".join(sorted(roles))
        return refuse(MISSING_ROLE, needed=needed, expected=needed)
    return None


def too_late(operator: OperatorHeader, now: int) -> Refusal | None:
    """The refusal of a command after its notAfter, so that no old action runs after an outage.
    `now` is decidedAt (epoch ms).
    """
    if now <= operator.not_after:
        return None
    return refuse(COMMAND_EXPIRED, not_after=operator.not_after)


def conflict_open(state: Payment) -> Refusal | None:
    """An open conflict blocks (ruling 5)."""
    conflicts = open_conflicts(state)
    return refuse(CONFLICT_OPEN, count=conflicts) if conflicts else None


def phase_of(state: Payment) -> ApprovalPhase:
    """The phase an approval is bound to: CREATED and AUTHORISED are one."""
    now = state.state
    return BEFORE_SENT if now == "CREATED" or now == "AUTHORISED" else now


def is_open(approval: Approval, now: int) -> bool:
    return approval.status in ("REQUESTED", "REFERRED", "APPROVED") and approval.expires_at > now


def find(
    state: Payment, operator: OperatorHeader, required: RequiredApproval, now: int
) -> Approval | Refusal:
    """The named approval, or the oldest that fits; otherwise the refusal that names what the
    closest one lacks.
    """
    if operator.approval_id is not None:
        for approval in state.approvals:
            if approval.id == operator.approval_id:
                return approval_mismatch(state, approval, operator, required, now) or approval
        return refuse(APPROVAL_NOT_FOUND, approval=operator.approval_id)
    refusal: Refusal | None = None
    for approval in state.approvals:
        if approval.action == required.action:
            refusal = approval_mismatch(state, approval, operator, required, now)
            if refusal is None:
                return approval
    return refusal or refuse(APPROVAL_MISSING, action=required.action)


def approval_mismatch(
    state: Payment,
    approval: Approval,
    operator: OperatorHeader,
    required: RequiredApproval,
    now: int,
) -> Refusal | None:
    """Why this approval does not allow the action, or None."""
    name = approval.id
    if approval.action != required.action:
        return refuse(
            APPROVAL_OTHER_ACTION, approval=name, expected=required.action, actual=approval.action
        )
    if approval.status == "USED":
        return refuse(APPROVAL_USED, approval=name)
    if approval.status == "REJECTED":
        return refuse(APPROVAL_REFUSED, approval=name)
    if approval.expires_at <= now:
        return refuse(APPROVAL_EXPIRED, approval=name)
    if approval.status != "APPROVED":
        return refuse(APPROVAL_PENDING, approval=name)
    if approval.requester != person_digest(operator.operator_id):
        return refuse(APPROVAL_OTHER_OPERATOR, approval=name)
    if approval.attempt != required.attempt:
        return refuse(
            APPROVAL_OTHER_ATTEMPT,
            approval=name,
            expected=str(approval.attempt),
            actual=str(required.attempt),
        )
    phase = phase_of(state)
    if approval.phase != phase:
        return refuse(APPROVAL_OTHER_PHASE, approval=name, expected=approval.phase, actual=phase)
    for field, given, needed in (
        ("failureReason", approval.failure_reason, required.failure_reason),
        ("conflictId", approval.conflict_id, required.conflict_id),
        ("verdict", approval.verdict, required.verdict),
        ("amount", approval.amount, required.amount),
    ):
        if given != needed:
            return refuse(
                APPROVAL_OTHER_PARAMETERS,
                approval=name,
                field=field,
                expected=_parameter(given, state),
                actual=_parameter(needed, state),
            )
    return None


def _parameter(value: str | Cents | None, state: Payment) -> str:
    """A parameter as text for a sentence; a number is an amount."""
    return format_amount(value, state.currency) if isinstance(value, int) else str(value)
