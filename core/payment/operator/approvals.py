"""Operators' requests for an approval, and a person's decision on one that Resolve referred."""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Refusal
from core.payment import events as e
from core.payment.commands import DecideApproval, RequestApproval
from core.payment.deadlines import WAITS_FOR_DECISION
from core.payment.flow import finish, outstanding
from core.payment.inputs.policy import append_decision, find_approval
from core.payment.operator import checks, gate
from core.payment.operator.actions import (
    CANCEL_STATES,
    MARK_FAILED_REASONS,
    MARK_FAILED_STATES,
    RETRY_STATES,
)
from core.payment.operator.funds_actions import (
    FUNDS_ACTIONS,
    captured_amount,
    funds_precondition,
    second_debit,
)
from core.payment.operator.reconcile import (
    does_not_fit,
    find_conflict,
    is_open,
    verdict_amount,
    verdict_shape,
)
from core.payment.operator.steps import Passed, Steps, pass_steps
from core.payment.state import Payment
from core.refusals import (
    APPROVAL_DECIDED,
    APPROVAL_EXPIRED,
    APPROVAL_NOT_FOUND,
    ATTEMPT_NOT_CURRENT,
    CONFLICT_NOT_OPEN,
    FIELD_INVALID,
    FIELD_MISSING,
    LIMIT_REACHED,
    NO_SUCH_ATTEMPT,
    NOT_REFERRED,
    SELF_APPROVAL,
    STATE_PRECONDITION,
    refuse,
)
from core.values import Action, Cents, approval_id, attempt_id, person_digest
from core.words import ActionName, StateName

# The states in which each action can be requested; the others depend on conflicts and funds.
_STATES_OF_ACTION: dict[ActionName, tuple[StateName, ...]] = {
    "RETRY": RETRY_STATES,
    "RETRY_UNCERTAIN": RETRY_STATES,
    "CANCEL": CANCEL_STATES,
    "MARK_FAILED": MARK_FAILED_STATES,
    "EXPIRE": MARK_FAILED_STATES,
}
_RETRIES = frozenset({Action.RETRY.value, Action.RETRY_UNCERTAIN.value})


def _requested_before(state: Payment, command: RequestApproval, now: int) -> int | None:
    """An identical open request of the same person."""
    attempt = bound_attempt(state, command)
    amount = command.amount or bound_amount(state, command, attempt)
    phase = gate.phase_of(state)
    requester = person_digest(command.operator.operator_id)
    for known in state.approvals:
        if (
            gate.is_open(known, now)
            and known.action == command.action
            and known.attempt == attempt
            and known.phase == phase
            and known.failure_reason == command.failure_reason
            and known.conflict_id == command.conflict_id
            and known.verdict == command.verdict
            and known.amount == amount
            and known.requester == requester
        ):
            return known.requested_from
    return None


def _request_allowed(state: Payment, command: RequestApproval, now: int) -> Refusal | None:
    return _precondition(state, command, bound_attempt(state, command))


def request(state: Payment | None, command: RequestApproval, context: Context) -> Decision:
    """Record the request and pass it to Resolve. A CANCEL before SENT freezes the send."""
    operator = command.operator
    steps = Steps(
        shape=_shape,
        roles=gate.ROLES_OF_ACTION.get(command.action, frozenset()),
        done=_requested_before,
        state=_request_allowed,
    )
    passed = pass_steps(steps, state, command, context)
    if not isinstance(passed, Passed):
        return passed
    state, now = passed.state, passed.now
    opened = sum(1 for known in state.approvals if gate.is_open(known, now))
    if opened >= context.rules.limits.approvals_open_max:
        return refuse(LIMIT_REACHED, count=opened, what="open approvals")
    if state.approvals_made >= context.rules.limits.approvals_max:
        return refuse(LIMIT_REACHED, count=state.approvals_made, what="approvals")

    attempt = bound_attempt(state, command)
    amount = command.amount or bound_amount(state, command, attempt)
    phase = gate.phase_of(state)
    windows = context.rules.windows
    expires_at = now + windows.approval_request_ms
    frozen_until = None
    if (
        command.action == Action.CANCEL
        and phase == gate.BEFORE_SENT
        and state.attempts[-1].frozen_by is None
    ):
        frozen_until = min(now + windows.freeze_ms_max, expires_at)
    draft = passed.draft()
    if phase == gate.BEFORE_SENT and frozen_until is None:
        # The send is not frozen: a due send goes first, and the request's phase is SENT.
        outstanding(draft)
        phase = gate.phase_of(draft.state)
    draft.append(
        e.OperatorActionRequested(
            header=draft.header(attempt, approval_id=approval_id(state.approvals_made + 1)),
            action=command.action,
            requester=operator.operator_id,
            phase=phase,
            text=command.reason,
            expires_at=expires_at,
            failure_reason=command.failure_reason,
            conflict_id=command.conflict_id,
            verdict=command.verdict,
            amount=amount,
            frozen_until=frozen_until,
            roles=operator.roles,
        )
    )
    return finish(draft)


def _decision_shape(command: DecideApproval, characters_max: int) -> Refusal | None:
    refusal = checks.needed_text("reason", command.reason, characters_max)
    if refusal is None and command.verdict not in ("APPROVED", "REJECTED"):
        return refuse(FIELD_INVALID, field="verdict", problem="is not APPROVED or REJECTED")
    return refusal


def _decided_before(state: Payment, command: DecideApproval, now: int) -> int | None:
    approval = find_approval(state, command.approval_id)
    if approval is not None and approval.by_person and approval.decision == command.verdict:
        return approval.decided_from
    return None


def _decision_allowed(state: Payment, command: DecideApproval, now: int) -> Refusal | None:
    name = command.approval_id
    approval = find_approval(state, name)
    if approval is None:
        return refuse(APPROVAL_NOT_FOUND, approval=name)
    if approval.status == "EXPIRED" or (
        approval.status in WAITS_FOR_DECISION and approval.expires_at <= now
    ):
        return refuse(APPROVAL_EXPIRED, approval=name)
    if approval.status not in WAITS_FOR_DECISION:
        return refuse(APPROVAL_DECIDED, approval=name, actual=approval.status)
    if approval.status != "REFERRED":
        return refuse(NOT_REFERRED, approval=name, expected="REFERRED", actual=approval.status)
    if person_digest(command.operator.operator_id) == approval.requester:
        return refuse(SELF_APPROVAL)
    action = FUNDS_ACTIONS.get(approval.action)
    if command.verdict == "APPROVED" and action is not None:
        return funds_precondition(state, action, approval.attempt)
    return None


DECIDE: Final = Steps(
    shape=_decision_shape,
    roles=gate.APPROVERS,
    done=_decided_before,
    state=_decision_allowed,
)


def decide_approval(state: Payment | None, command: DecideApproval, context: Context) -> Decision:
    """A second person's decision on a referred request; approver and requester differ (AP-05)."""
    operator = command.operator
    passed = pass_steps(DECIDE, state, command, context)
    if not isinstance(passed, Passed):
        return passed
    approval = find_approval(passed.state, command.approval_id)
    assert approval is not None, "the state step finds it"

    draft = passed.draft()
    append_decision(
        draft,
        approval,
        command.verdict,
        operator.operator_id,
        ("decided by a person",),
        "person",
        command.reason,
    )
    return finish(draft)


def bound_attempt(state: Payment, command: RequestApproval) -> int:
    """The attempt the approval is bound to: the current one unless another is named; for a retry
    the failed one.
    """
    current = len(state.attempts)
    if command.attempt is None:
        conflict = find_conflict(state, command.conflict_id)
        return current if conflict is None else conflict.attempt
    if command.action in _RETRIES and command.attempt == current + 1:
        return current
    return command.attempt


def bound_amount(state: Payment, command: RequestApproval, attempt: int) -> Cents:
    """The amount that the action would move: the conflict's, the captured, else the payment's."""
    if command.action == Action.RESOLVE_RECONCILIATION:
        conflict = find_conflict(state, command.conflict_id)
        return verdict_amount(state, conflict, command.verdict, command.amount)
    if command.action == Action.REVERSE and 0 < attempt <= len(state.attempts):
        return captured_amount(state.attempts[attempt - 1])
    if command.action == Action.DEBIT_AGAIN and 0 < attempt <= len(state.attempts):
        return second_debit(state, state.attempts[attempt - 1])
    return state.amount


def _precondition(state: Payment, command: RequestApproval, attempt: int) -> Refusal | None:
    if not 0 < attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=attempt)
    states = _STATES_OF_ACTION.get(command.action)
    if states is not None:
        if state.state not in states:
            return refuse(STATE_PRECONDITION, expected=" or ".join(states), actual=state.state)
        if attempt != len(state.attempts):
            current, named = attempt_id(len(state.attempts)), attempt_id(attempt)
            return refuse(ATTEMPT_NOT_CURRENT, expected=current, actual=named)
        return None
    if command.action == Action.RESOLVE_RECONCILIATION:
        conflict_id, verdict = command.conflict_id, command.verdict
        if conflict_id is None or verdict is None or not is_open(state, conflict_id):
            return refuse(CONFLICT_NOT_OPEN, conflict=conflict_id)
        return does_not_fit(state, conflict_id, attempt, verdict, command.amount)
    return funds_precondition(state, FUNDS_ACTIONS[command.action], attempt)


def _shape(command: RequestApproval, characters_max: int) -> Refusal | None:
    if command.action not in gate.ROLES_OF_ACTION:
        return refuse(FIELD_INVALID, field="action", problem="is no gated action")
    refusal = checks.needed_text("reason", command.reason, characters_max)
    if refusal is not None:
        return refusal
    if command.amount is not None and command.amount <= 0:
        return refuse(FIELD_INVALID, field="amount", problem="is not above zero")
    marks = command.action == Action.MARK_FAILED
    if marks and command.failure_reason not in MARK_FAILED_REASONS:
        return refuse(
            FIELD_INVALID, field="failureReason", problem="is no reason that mark-failed may give"
        )
    if not marks and command.failure_reason is not None:
        return refuse(FIELD_INVALID, field="failureReason", problem="belongs to MARK_FAILED only")
    resolves = command.action == Action.RESOLVE_RECONCILIATION
    if resolves:
        if not command.conflict_id:
            return refuse(FIELD_MISSING, field="conflictId")
        refusal = verdict_shape(command.verdict, command.amount)
        if refusal is not None:
            return refusal
        return checks.optional_text("conflictId", command.conflict_id, checks.ID_CHARACTERS_MAX)
    if command.conflict_id is not None or command.verdict is not None:
        return refuse(
            FIELD_INVALID, field="conflictId", problem="belongs to RESOLVE_RECONCILIATION only"
        )
    return None
