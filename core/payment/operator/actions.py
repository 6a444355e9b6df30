"""Operators' actions on the lifecycle: retry, cancel, mark failed, expire.

Order of checks: shape, role, done before, known payment, still valid, state, approval, invariant.
"""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Duplicate, Refusal
from core.header import OperatorHeader
from core.payment import events as e
from core.payment.commands import (
    CancelPayment,
    ExpirePayment,
    MarkPaymentFailed,
    RetryPayment,
)
from core.payment.draft import Draft, decided_at, operator_draft
from core.payment.flow import finish, request_notification
from core.payment.flow.funds import transfer
from core.payment.funds import held_cents, unanswered
from core.payment.keys import result_key
from core.payment.operator import checks, gate
from core.payment.operator.gate import RequiredApproval
from core.payment.state import (
    UNSENT,
    Approval,
    Payment,
    certain_for_all,
    open_conflicts,
    range_of,
    was_never_submitted,
)
from core.refusals import (
    ALREADY_PAID,
    ATTEMPT_OUT_OF_ORDER,
    CONFLICT_OPEN,
    CUSTOMER_MISMATCH,
    DUPLICATE_ATTEMPT,
    FIELD_INVALID,
    FUNDS_PRECONDITION,
    LIMIT_REACHED,
    NOT_FOUND,
    RETRY_UNCERTAIN,
    RETRY_UNSAFE,
    STATE_PRECONDITION,
    refuse,
)
from core.values import (
    Action,
    FailureReason,
    State,
    attempt_id,
    external_ref,
)

RETRY_STATES: Final = ("FAILED",)
CANCEL_STATES: Final = ("CREATED", "AUTHORISED", "SENT")
MARK_FAILED_STATES: Final = ("SENT", "ACKNOWLEDGED")
EXPIRE_STATES: Final = ("AUTHORISED", "SENT", "ACKNOWLEDGED")
# Any reason of the table but the two that would be back doors (ruling 10).
MARK_FAILED_REASONS: Final = frozenset(FailureReason.__members__) - {"CANCELLED", "EXPIRED"}
_SAFE: Final = frozenset({FailureReason.RAIL.value, FailureReason.TIMEOUT.value})


def retry(state: Payment | None, command: RetryPayment, context: Context) -> Decision:
    """Attempt n+1 of a payment that failed, safely and for certain (rulings 2 and 3)."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("reason", command.reason, limit)
    if refusal is None and not checks.is_attempt_id(command.attempt_id):
        refusal = refuse(FIELD_INVALID, field="attemptId", problem="is not like att_002")
    refusal = refusal or gate.admission(operator, gate.ROLES_OF_ACTION[Action.RETRY])
    if refusal is not None:
        return refusal
    number = int(command.attempt_id[4:])
    done = None if state is None else state.results.get(result_key("R", number))
    if state is not None and done is not None:
        return Duplicate(*range_of(state, done))
    if state is None:
        return refuse(NOT_FOUND)
    now = decided_at(state, context.now_ms)
    refusal = (
        gate.too_late(operator, now)
        or _precondition(state, RETRY_STATES)
        or _funds_unanswered(state)
    )
    if refusal is not None:
        return refusal
    approval = _retry_approval(state, operator, now)
    if isinstance(approval, Refusal):
        return approval
    refusal = _retry_invariants(state, number, approval, context)
    if refusal is not None:
        return refusal

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    certain = certain_for_all(state)
    draft.append(
        e.PaymentAttemptCreated(
            header=draft.header(number, State.AUTHORISED.value, approval_id=approval.id),
            attempt_id=attempt_id(number),
            external_ref=external_ref(state.payment_intent_id, number),
            text=command.reason,
        )
    )
    _take_over_hold(draft, number)
    if certain:  # else nobody can say in certain words what this attempt is
        request_notification(draft, draft.state.attempts[-1], "retry_started")
    return finish(draft)


def cancel(state: Payment | None, command: CancelPayment, context: Context) -> Decision:
    """Ends CREATED, AUTHORISED or SENT; in SENT the adapter is asked to withdraw (ruling 8)."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = (
        checks.needed_text("reason", command.reason, limit)
        or checks.optional_text("customerId", command.customer_id, checks.ID_CHARACTERS_MAX)
        or gate.admission(operator, gate.ROLES_OF_ACTION[Action.CANCEL])
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    number = len(state.attempts)
    done = state.results.get(result_key("C", f"{number}:{command.customer_id or ''}"))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or _precondition(state, CANCEL_STATES)
    if refusal is not None:
        return refusal
    required = RequiredApproval(Action.CANCEL, number, state.amount)
    approval = gate.find(state, operator, required, now)
    if isinstance(approval, Refusal):
        return approval
    if None not in (command.customer_id, state.customer_id) and (
        command.customer_id != state.customer_id
    ):
        return refuse(CUSTOMER_MISMATCH)

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    _fail(
        draft,
        FailureReason.CANCELLED.value,
        approval,
        retry_safe=False,
        text=command.reason,
        details=None,
        customer_id=command.customer_id,
    )
    return finish(draft)


def mark_failed(state: Payment | None, command: MarkPaymentFailed, context: Context) -> Decision:
    """An operator's word, never certain by itself (rulings 3 and 10)."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("details", command.details, limit)
    if refusal is None and command.reason not in MARK_FAILED_REASONS:
        refusal = refuse(
            FIELD_INVALID, field="reason", problem="is no reason that mark-failed may give"
        )
    refusal = refusal or gate.admission(operator, gate.ROLES_OF_ACTION[Action.MARK_FAILED])
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    number = len(state.attempts)
    done = state.results.get(result_key("M", f"{number}:{command.reason}"))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or _precondition(state, MARK_FAILED_STATES)
    if refusal is not None:
        return refusal
    required = RequiredApproval(
        Action.MARK_FAILED, number, state.amount, failure_reason=command.reason
    )
    approval = gate.find(state, operator, required, now)
    if isinstance(approval, Refusal):
        return approval

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    _fail(
        draft,
        command.reason,
        approval,
        retry_safe=command.reason in _SAFE,
        text=None,
        details=command.details,
        customer_id=None,
    )
    return finish(draft)


def expire(
    state: Payment | None, command: ExpirePayment, operator: OperatorHeader, context: Context
) -> Decision:
    """From SENT on it needs an approval, like mark-failed (ruling 7)."""
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.optional_text("reason", command.reason, limit) or gate.admission(
        operator, gate.ROLES_OF_ACTION[Action.EXPIRE]
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    number = len(state.attempts)
    done = state.results.get(result_key("E", number))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or _precondition(state, EXPIRE_STATES)
    if refusal is not None:
        return refusal
    approval_id = None
    if state.state not in UNSENT:
        approval = gate.find(
            state, operator, RequiredApproval(Action.EXPIRE, number, state.amount), now
        )
        if isinstance(approval, Refusal):
            return approval
        approval_id = approval.id

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    attempt = state.attempts[-1]
    draft.append(
        e.PaymentExpired(
            header=draft.header(
                number,
                State.EXPIRED.value,
                reason=State.EXPIRED.value,
                approval_id=approval_id,
            ),
            attempt_id=attempt_id(number),
            source="operator",
            non_payment_certain=attempt.certain or was_never_submitted(attempt),
            text=command.reason,
            code=None,
            code_table=None,
            rail_message_id=None,
            via_enquiry=False,
            assigned_from=None,
        )
    )
    return finish(draft)


def _fail(
    draft: Draft,
    reason: str,
    approval: Approval,
    *,
    retry_safe: bool,
    text: str | None,
    details: str | None,
    customer_id: str | None,
) -> None:
    attempt = draft.state.attempts[-1]
    draft.append(
        e.PaymentFailed(
            header=draft.header(
                attempt.number, State.FAILED.value, reason=reason, approval_id=approval.id
            ),
            attempt_id=attempt_id(attempt.number),
            source="operator",
            retry_safe=retry_safe,
            non_payment_certain=attempt.certain or was_never_submitted(attempt),
            late_failure=attempt.state == State.ACKNOWLEDGED,
            text=text,
            details=details,
            code=None,
            code_table=None,
            customer_id=customer_id,
            rail_message_id=None,
            via_enquiry=False,
            assigned_from=None,
        )
    )


def _precondition(state: Payment, states: tuple[str, ...]) -> Refusal | None:
    """The state the action needs, and no open conflict (ruling 5)."""
    if state.state not in states:
        return refuse(STATE_PRECONDITION, expected=" or ".join(states), actual=state.state)
    conflicts = open_conflicts(state)
    return refuse(CONFLICT_OPEN, count=conflicts) if conflicts else None


def _funds_unanswered(state: Payment) -> Refusal | None:
    """Whether Deposits Core has not answered an earlier request: what it holds of the customer's
    money is not known, and could decline the new hold or stand beside it (ruling 2). What was paid
    is never sent again, whatever is unanswered.
    """
    if any(attempt.outcome in ("PAID", "RETURNED") for attempt in state.attempts):
        return None
    for attempt in state.attempts:
        waits = unanswered(attempt)
        if waits is not None:
            return refuse(
                FUNDS_PRECONDITION,
                attempt=attempt.number,
                expected="every request answered",
                actual=f"{waits.operation} not answered",
            )
    return None


def _retry_approval(state: Payment, operator: OperatorHeader, now: int) -> Approval | Refusal:
    """RETRY when all is certain; RETRY_UNCERTAIN opens either. A RETRY alone is judged by the
    invariant.
    """
    number = len(state.attempts)
    retry_approval = gate.find(
        state, operator, RequiredApproval(Action.RETRY, number, state.amount), now
    )
    if isinstance(retry_approval, Approval) and certain_for_all(state):
        return retry_approval
    uncertain_retry = gate.find(
        state, operator, RequiredApproval(Action.RETRY_UNCERTAIN, number, state.amount), now
    )
    if isinstance(uncertain_retry, Approval):
        return uncertain_retry
    if isinstance(retry_approval, Approval) or certain_for_all(state):
        return retry_approval
    return (
        uncertain_retry
        if any(a.action == Action.RETRY_UNCERTAIN for a in state.approvals)
        else retry_approval
    )


def _retry_invariants(
    state: Payment, number: int, approval: Approval, context: Context
) -> Refusal | None:
    made = len(state.attempts)
    last = state.attempts[-1]
    for attempt in state.attempts:
        if attempt.outcome in ("PAID", "RETURNED"):
            return refuse(ALREADY_PAID, attempt=attempt.number)
    if number <= made:
        return refuse(DUPLICATE_ATTEMPT, attempt=attempt_id(number))
    if number != made + 1:
        return refuse(
            ATTEMPT_OUT_OF_ORDER, expected=attempt_id(made + 1), actual=attempt_id(number)
        )
    if not state.authorised_at:
        return refuse(RETRY_UNSAFE, reason=last.reason, detail=": the payment was never authorised")
    if not last.retry_safe:
        return refuse(RETRY_UNSAFE, reason=last.reason, detail="")
    if approval.action != Action.RETRY_UNCERTAIN and not certain_for_all(state):
        uncertain = next(a for a in state.attempts if not a.certain)
        return refuse(RETRY_UNCERTAIN, attempt=uncertain.number)
    if made >= context.rules.limits.attempts_max:
        return refuse(LIMIT_REACHED, count=made, what="attempts")
    return None


def _take_over_hold(draft: Draft, number: int) -> None:
    """A hold not yet released serves the new attempt; else the flow asks for one anew."""
    state = draft.state
    for earlier in state.attempts[:-1]:
        if held_cents(earlier) == state.amount and unanswered(earlier) is None:
            transfer(draft, earlier, state.attempts[number - 1])
            return
