"""Resolve's answers: the policy check of an attempt, and its decision on an operator's request."""

from __future__ import annotations

from typing import get_args

from core import closed_sets
from core.decider import Context, Decision, Unmatched
from core.header import Actor
from core.payment import events as e
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.deadlines import WAITS_FOR_DECISION
from core.payment.draft import Draft, decided_at, draft_of, duplicate_of
from core.payment.flow import finish
from core.payment.operator import checks
from core.payment.state import UNSENT, Approval, Payment, was_never_submitted
from core.refusals import (
    APPROVAL_CLOSED,
    APPROVAL_UNKNOWN,
    APPROVER_IS_REQUESTER,
    FIELD_INVALID,
    TOO_LATE_FOR_CHECK,
    VERDICT_SUPERSEDED,
    no_effect,
    refuse,
)
from core.values import (
    Action,
    ApprovalId,
    FailureReason,
    State,
    attempt_id,
    person_digest,
    policy_ref,
)
from core.words import ApprovalAnswer, EndSource, FailureReasonName

_DECLINE_REASONS = frozenset(get_args(closed_sets.DeclineReason))
_POLICY_ANSWERS = frozenset(get_args(closed_sets.PolicyAnswer))
_ANSWERS = frozenset(get_args(closed_sets.ApprovalAnswer))


def policy_verdict(state: Payment | None, command: PolicyVerdict, context: Context) -> Decision:
    """The answer to an attempt's policy check; declined ends the attempt (domain §1, ruling 1)."""
    verdict = command.verdict
    if verdict not in _POLICY_ANSWERS:
        return refuse(FIELD_INVALID, field="verdict", problem="is not PASSED or DECLINED")
    reason = command.failure_reason
    if verdict == "DECLINED" and (reason is None or reason not in _DECLINE_REASONS):
        return refuse(
            FIELD_INVALID, field="failureReason", problem="is not FRAUD or INVALID_ACCOUNT"
        )
    if state is None:
        return Unmatched("a policy verdict for an unknown payment")
    number = _attempt_of(state, command.policy_ref)
    if number is None:
        return Unmatched("a policy verdict for a check that was not asked")
    attempt = state.attempts[number - 1]
    if attempt.policy != "REQUESTED":
        if attempt.policy == verdict:
            return duplicate_of(state, attempt.policy_from)
        return no_effect(VERDICT_SUPERSEDED)
    if number != len(state.attempts) or state.state not in UNSENT:
        return no_effect(TOO_LATE_FOR_CHECK)

    actor = Actor(kind="resolve", id=command.policy_version)
    draft = draft_of(state, context, actor, command.header)
    draft.append(
        e.PolicyChecked(
            header=draft.header(number),
            policy_ref=command.policy_ref,
            verdict=verdict,
            phase="CREATE" if number == 1 else "RETRY",
            rules_evaluated=command.rules_evaluated,
            policy_version=command.policy_version,
            failure_reason=reason if verdict == "DECLINED" else None,
        )
    )
    if verdict == "DECLINED" and reason is not None:
        fail_unsent(draft, number, reason, "system")
    return finish(draft)


def fail_unsent(
    draft: Draft,
    number: int,
    reason: FailureReasonName,
    source: EndSource,
    *,
    code: str | None = None,
    details: str | None = None,
) -> None:
    """End an attempt that was not sent: its non-payment is certain, unless there is evidence that
    the rail has it. Only TIMEOUT is safe to retry.
    """
    draft.append(
        e.PaymentFailed(
            header=draft.header(number, State.FAILED.value, reason=reason),
            attempt_id=attempt_id(number),
            source=source,
            retry_safe=reason == FailureReason.TIMEOUT.value,
            non_payment_certain=was_never_submitted(draft.state.attempts[number - 1]),
            late_failure=False,
            details=details,
            code=code,
        )
    )


def approval_decision(
    state: Payment | None, command: ApprovalDecision, context: Context
) -> Decision:
    """Resolve's APPROVED, REJECTED or REFERRED. RETRY_UNCERTAIN is for a person: Resolve's approval
    of it counts as REFERRED.
    """
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text(
        "decidedBy", command.decided_by, checks.ID_CHARACTERS_MAX
    ) or checks.optional_text("reason", command.reason, limit)
    if refusal is not None:
        return refusal
    if command.verdict not in _ANSWERS:
        return refuse(
            FIELD_INVALID, field="verdict", problem="is not APPROVED, REJECTED or REFERRED"
        )
    if state is None:
        return Unmatched("a decision for an unknown payment")
    approval = find_approval(state, command.approval_id)
    if approval is None:
        return no_effect(APPROVAL_UNKNOWN)
    verdict = command.verdict
    if verdict == "APPROVED" and approval.action == Action.RETRY_UNCERTAIN:
        verdict = "REFERRED"
    if approval.decision == verdict and not approval.by_person:
        return duplicate_of(state, approval.decided_from)
    now = decided_at(state, context.now_ms)
    if approval.status not in WAITS_FOR_DECISION or approval.expires_at <= now:
        return no_effect(APPROVAL_CLOSED)
    if verdict == "APPROVED" and person_digest(command.decided_by) == approval.requester:
        return no_effect(APPROVER_IS_REQUESTER)

    actor = Actor(kind="resolve", id=command.decided_by)
    draft = draft_of(state, context, actor, command.header, now)
    append_decision(
        draft,
        approval,
        verdict,
        command.decided_by,
        command.rules_evaluated,
        command.policy_version,
        command.reason,
    )
    return finish(draft)


def append_decision(
    draft: Draft,
    approval: Approval,
    verdict: ApprovalAnswer,
    decided_by: str,
    rules_evaluated: tuple[str, ...],
    policy_version: str,
    text: str | None,
) -> None:
    """Record the decision, with the rules evaluated (AP-08). An approval starts its validity."""
    header = draft.header(approval.attempt, approval_id=approval.id)
    if verdict == "APPROVED":
        draft.append(
            e.OperatorActionApproved(
                header=header,
                action=approval.action,
                decided_by=decided_by,
                rules_evaluated=rules_evaluated,
                policy_version=policy_version,
                text=text,
                expires_at=draft.now + draft.rules.windows.approval_ms,
            )
        )
        return
    kind = e.OperatorActionReferred if verdict == "REFERRED" else e.OperatorActionRejected
    draft.append(
        kind(
            header=header,
            action=approval.action,
            decided_by=decided_by,
            rules_evaluated=rules_evaluated,
            policy_version=policy_version,
            text=text,
        )
    )


def find_approval(state: Payment, approval_id: ApprovalId) -> Approval | None:
    for approval in state.approvals:
        if approval.id == approval_id:
            return approval
    return None


def _attempt_of(state: Payment, reference: str) -> int | None:
    """The attempt that the check belongs to: nearly always the current one."""
    for number in range(len(state.attempts), 0, -1):
        if policy_ref(state.payment_intent_id, number) == reference:
            return number
    return None
