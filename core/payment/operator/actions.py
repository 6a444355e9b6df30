"""Operators' actions on the lifecycle: retry, cancel, mark failed, expire.

The order of the checks is that of core.payment.operator.steps; an action's invariants come last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core.decider import Context, Decision, Refusal
from core.header import OperatorHeader
from core.payment import events as e
from core.payment.commands import CancelPayment, ExpirePayment, MarkPaymentFailed, RetryPayment
from core.payment.draft import Draft
from core.payment.flow import finish, request_notification
from core.payment.flow.funds import transfer
from core.payment.funds import held_cents, unanswered
from core.payment.keys import result_key
from core.payment.operator import checks, gate
from core.payment.operator.gate import RequiredApproval, conflict_open
from core.payment.operator.steps import Passed, Steps, pass_steps
from core.payment.state import UNSENT, Approval, Payment, certain_for_all, was_never_submitted
from core.refusals import (
    ALREADY_PAID,
    ATTEMPT_OUT_OF_ORDER,
    CUSTOMER_MISMATCH,
    DUPLICATE_ATTEMPT,
    FIELD_INVALID,
    FUNDS_PRECONDITION,
    LIMIT_REACHED,
    RETRY_UNCERTAIN,
    RETRY_UNSAFE,
    STATE_PRECONDITION,
    refuse,
)
from core.values import Action, ApprovalId, FailureReason, State, attempt_id, external_ref
from core.words import ActionName, FailureReasonName, StateName

RETRY_STATES: Final[tuple[StateName, ...]] = ("FAILED",)
CANCEL_STATES: Final[tuple[StateName, ...]] = ("CREATED", "AUTHORISED", "SENT")
MARK_FAILED_STATES: Final[tuple[StateName, ...]] = ("SENT", "ACKNOWLEDGED")
EXPIRE_STATES: Final[tuple[StateName, ...]] = ("AUTHORISED", "SENT", "ACKNOWLEDGED")
# Any reason of the table except the two that would bypass other rules (ruling 10).
MARK_FAILED_REASONS: Final = frozenset(FailureReason.__members__) - {"CANCELLED", "EXPIRED"}
_SAFE: Final = frozenset({FailureReason.RAIL.value, FailureReason.TIMEOUT.value})


def _in(states: tuple[StateName, ...]) -> Callable[[Payment, object, int], Refusal | None]:
    """The state step of an action that is allowed in any of these states."""
    return lambda state, command, now: _precondition(state, states)


def _retry_shape(command: RetryPayment, characters_max: int) -> Refusal | None:
    refusal = checks.needed_text("reason", command.reason, characters_max)
    if refusal is None and not checks.is_attempt_id(command.attempt_id):
        return refuse(FIELD_INVALID, field="attemptId", problem="is not like att_002")
    return refusal


def _retry_done(state: Payment, command: RetryPayment, now: int) -> int | None:
    return state.results.get(result_key("R", _number_of(command)))


def _retry_allowed(state: Payment, command: RetryPayment, now: int) -> Refusal | None:
    return _precondition(state, RETRY_STATES) or _funds_unanswered(state)


def _retry_approval(
    state: Payment, command: RetryPayment, operator: OperatorHeader, now: int
) -> Approval | Refusal:
    """RETRY if everything is certain; RETRY_UNCERTAIN allows both. With a plain RETRY the invariant
    decides.
    """
    retry_approval = _find(state, operator, "RETRY", now)
    if isinstance(retry_approval, Approval) and certain_for_all(state):
        return retry_approval
    uncertain_retry = _find(state, operator, "RETRY_UNCERTAIN", now)
    if isinstance(uncertain_retry, Approval):
        return uncertain_retry
    if isinstance(retry_approval, Approval) or certain_for_all(state):
        return retry_approval
    requested = any(a.action == Action.RETRY_UNCERTAIN for a in state.approvals)
    return uncertain_retry if requested else retry_approval


RETRY: Final = Steps(
    shape=_retry_shape,
    roles=gate.ROLES_OF_ACTION["RETRY"],
    done=_retry_done,
    state=_retry_allowed,
    approval=_retry_approval,
)


def retry(state: Payment | None, command: RetryPayment, context: Context) -> Decision:
    """Attempt n+1 of a payment that failed, if a retry is safe and non-payment certain (rulings 2
    and 3).
    """
    passed = pass_steps(RETRY, state, command, context)
    if not isinstance(passed, Passed):
        return passed
    state, number = passed.state, _number_of(command)
    refusal = _retry_invariants(state, number, passed.approval, context)
    if refusal is not None:
        return refusal

    draft = passed.draft()
    certain = certain_for_all(state)
    draft.append(
        e.PaymentAttemptCreated(
            header=draft.header(number, State.AUTHORISED.value, approval_id=passed.approval_id),
            attempt_id=attempt_id(number),
            external_ref=external_ref(state.payment_intent_id, number),
            text=command.reason,
        )
    )
    _take_over_hold(draft, number)
    if certain:  # else a message to the customer might be untrue (domain §11)
        request_notification(draft, draft.state.attempts[-1], "retry_started")
    return finish(draft)


def _number_of(command: RetryPayment) -> int:
    return int(command.attempt_id[4:])


def _cancel_shape(command: CancelPayment, characters_max: int) -> Refusal | None:
    return checks.needed_text("reason", command.reason, characters_max) or checks.optional_text(
        "customerId", command.customer_id, checks.ID_CHARACTERS_MAX
    )


def _cancel_done(state: Payment, command: CancelPayment, now: int) -> int | None:
    key = f"{len(state.attempts)}:{command.customer_id or ''}"
    return state.results.get(result_key("C", key))


def _cancel_approval(
    state: Payment, command: CancelPayment, operator: OperatorHeader, now: int
) -> Approval | Refusal:
    return _find(state, operator, "CANCEL", now)


CANCEL: Final = Steps(
    shape=_cancel_shape,
    roles=gate.ROLES_OF_ACTION["CANCEL"],
    done=_cancel_done,
    state=_in(CANCEL_STATES),
    approval=_cancel_approval,
)


def cancel(state: Payment | None, command: CancelPayment, context: Context) -> Decision:
    """Fail a payment in CREATED, AUTHORISED or SENT as CANCELLED; in SENT the adapter is asked to
    withdraw (ruling 8).
    """
    passed = pass_steps(CANCEL, state, command, context)
    if not isinstance(passed, Passed):
        return passed
    customer_id = passed.state.customer_id
    if None not in (command.customer_id, customer_id) and command.customer_id != customer_id:
        return refuse(CUSTOMER_MISMATCH)

    draft = passed.draft()
    _fail(
        draft,
        FailureReason.CANCELLED.value,
        passed.approval_id,
        retry_safe=False,
        text=command.reason,
        customer_id=command.customer_id,
    )
    return finish(draft)


def _mark_failed_shape(command: MarkPaymentFailed, characters_max: int) -> Refusal | None:
    refusal = checks.needed_text("details", command.details, characters_max)
    if refusal is None and command.reason not in MARK_FAILED_REASONS:
        return refuse(
            FIELD_INVALID, field="reason", problem="is no reason that mark-failed may give"
        )
    return refusal


def _mark_failed_done(state: Payment, command: MarkPaymentFailed, now: int) -> int | None:
    return state.results.get(result_key("M", f"{len(state.attempts)}:{command.reason}"))


def _mark_failed_approval(
    state: Payment, command: MarkPaymentFailed, operator: OperatorHeader, now: int
) -> Approval | Refusal:
    return _find(state, operator, "MARK_FAILED", now, command.reason)


MARK_FAILED: Final = Steps(
    shape=_mark_failed_shape,
    roles=gate.ROLES_OF_ACTION["MARK_FAILED"],
    done=_mark_failed_done,
    state=_in(MARK_FAILED_STATES),
    approval=_mark_failed_approval,
)


def mark_failed(state: Payment | None, command: MarkPaymentFailed, context: Context) -> Decision:
    """Fail the payment on an operator's word, which does not make non-payment certain (rulings 3
    and 10).
    """
    passed = pass_steps(MARK_FAILED, state, command, context)
    if not isinstance(passed, Passed):
        return passed

    draft = passed.draft()
    _fail(
        draft,
        command.reason,
        passed.approval_id,
        retry_safe=command.reason in _SAFE,
        details=command.details,
    )
    return finish(draft)


def _expire_shape(command: ExpirePayment, characters_max: int) -> Refusal | None:
    return checks.optional_text("reason", command.reason, characters_max)


def _expire_done(state: Payment, command: ExpirePayment, now: int) -> int | None:
    return state.results.get(result_key("E", len(state.attempts)))


def _expire_approval(
    state: Payment, command: ExpirePayment, operator: OperatorHeader, now: int
) -> Approval | Refusal | None:
    if state.state in UNSENT:
        return None
    return _find(state, operator, "EXPIRE", now)


EXPIRE: Final = Steps(
    shape=_expire_shape,
    roles=gate.ROLES_OF_ACTION["EXPIRE"],
    done=_expire_done,
    state=_in(EXPIRE_STATES),
    approval=_expire_approval,
)


def expire(
    state: Payment | None, command: ExpirePayment, operator: OperatorHeader, context: Context
) -> Decision:
    """Expire the payment for an operator. From SENT on it needs an approval (ruling 7)."""
    passed = pass_steps(EXPIRE, state, command, context, operator)
    if not isinstance(passed, Passed):
        return passed

    draft = passed.draft()
    attempt = passed.state.attempts[-1]
    draft.append(
        e.PaymentExpired(
            header=draft.header(
                attempt.number,
                State.EXPIRED.value,
                reason=State.EXPIRED.value,
                approval_id=passed.approval_id,
            ),
            attempt_id=attempt_id(attempt.number),
            source="operator",
            non_payment_certain=attempt.certain or was_never_submitted(attempt),
            text=command.reason,
        )
    )
    return finish(draft)


def _fail(
    draft: Draft,
    reason: FailureReasonName,
    approval_id: ApprovalId | None,
    *,
    retry_safe: bool,
    text: str | None = None,
    details: str | None = None,
    customer_id: str | None = None,
) -> None:
    attempt = draft.state.attempts[-1]
    draft.append(
        e.PaymentFailed(
            header=draft.header(
                attempt.number, State.FAILED.value, reason=reason, approval_id=approval_id
            ),
            attempt_id=attempt_id(attempt.number),
            source="operator",
            retry_safe=retry_safe,
            non_payment_certain=attempt.certain or was_never_submitted(attempt),
            late_failure=attempt.state == State.ACKNOWLEDGED,
            text=text,
            details=details,
            customer_id=customer_id,
        )
    )


def _find(
    state: Payment,
    operator: OperatorHeader,
    action: ActionName,
    now: int,
    failure_reason: FailureReasonName | None = None,
) -> Approval | Refusal:
    """The approval of an action on the current attempt, for the payment's amount."""
    required = RequiredApproval(
        action=action,
        attempt=len(state.attempts),
        amount=state.amount,
        failure_reason=failure_reason,
    )
    return gate.find(state, operator, required, now)


def _precondition(state: Payment, states: tuple[StateName, ...]) -> Refusal | None:
    """The state the action needs, and no open conflict (ruling 5)."""
    if state.state not in states:
        return refuse(STATE_PRECONDITION, expected=" or ".join(states), actual=state.state)
    return conflict_open(state)


def _funds_unanswered(state: Payment) -> Refusal | None:
    """The refusal while Deposits Core has not answered an earlier request: it may still hold the
    customer's money, so the new hold could be declined or hold it twice (ruling 2). A paid payment
    is refused as ALREADY_PAID instead.
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


def _retry_invariants(
    state: Payment, number: int, approval: Approval | None, context: Context
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
    uncertain_allowed = approval is not None and approval.action == Action.RETRY_UNCERTAIN
    if not uncertain_allowed and not certain_for_all(state):
        uncertain = next(a for a in state.attempts if not a.certain)
        return refuse(RETRY_UNCERTAIN, attempt=uncertain.number)
    if made >= context.rules.limits.attempts_max:
        return refuse(LIMIT_REACHED, count=made, what="attempts")
    return None


def _take_over_hold(draft: Draft, number: int) -> None:
    """A hold not yet released serves the new attempt; otherwise the flow requests a new one."""
    state = draft.state
    for earlier in state.attempts[:-1]:
        if held_cents(earlier) == state.amount and unanswered(earlier) is None:
            transfer(draft, earlier, state.attempts[number - 1])
            return
