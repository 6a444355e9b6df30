"""A person's funds actions: early release, reversal and a second debit, each behind an approval;
and asking Deposits Core again for what it refused, which needs none.
"""

from __future__ import annotations

from core.decider import Context, Decision, Duplicate, Refusal
from core.payment.commands import DebitFunds, ReleaseFunds, RepeatFundsRequest, ReverseCapture
from core.payment.deadlines import hold_window_end
from core.payment.draft import decided_at, operator_draft
from core.payment.flow import finish
from core.payment.flow.funds import can_capture, hold_reference, request
from core.payment.funds import (
    REQUESTS_MAX,
    borne_cents,
    held_cents,
    holds_for_nothing,
    latest,
    needs_debit_approval,
    taken_cents,
    unanswered,
)
from core.payment.keys import result_key
from core.payment.operator import checks, gate
from core.payment.operator.gate import RequiredApproval
from core.payment.state import UNSENT, Attempt, Payment, open_conflicts, range_of
from core.refusals import (
    CONFLICT_OPEN,
    FIELD_INVALID,
    FUNDS_PRECONDITION,
    LIMIT_REACHED,
    NO_SUCH_ATTEMPT,
    NOT_FOUND,
    refuse,
)
from core.values import Action, FundsOperation


def release_early(state: Payment | None, command: ReleaseFunds, context: Context) -> Decision:
    """Release a deferred hold before non-payment is certain (domain §3)."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("reason", command.reason, limit) or gate.admission(
        operator, gate.ROLES_OF_ACTION[Action.RELEASE_EARLY]
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    done = state.results.get(result_key("L", command.attempt))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or funds_precondition(
        state, Action.RELEASE_EARLY, command.attempt
    )
    if refusal is not None:
        return refusal
    conflicts = open_conflicts(state)
    if conflicts:
        return refuse(CONFLICT_OPEN, count=conflicts)
    attempt = state.attempts[command.attempt - 1]
    required = RequiredApproval(Action.RELEASE_EARLY, attempt.number, state.amount)
    approval = gate.find(state, operator, required, now)
    if isinstance(approval, Refusal):
        return approval

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    request(
        draft,
        attempt,
        FundsOperation.RELEASE,
        held_cents(attempt),
        approval_id=approval.id,
    )
    return finish(draft)


def reverse_capture(state: Payment | None, command: ReverseCapture, context: Context) -> Decision:
    """Give captured funds back (OP-20): gated, and once per attempt."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("reason", command.reason, limit) or gate.admission(
        operator, gate.ROLES_OF_ACTION[Action.REVERSE]
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    done = state.results.get(result_key("V", command.attempt))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or funds_precondition(
        state, Action.REVERSE, command.attempt
    )
    if refusal is not None:
        return refusal
    attempt = state.attempts[command.attempt - 1]
    amount = captured_amount(attempt)
    approval = gate.find(
        state, operator, RequiredApproval(Action.REVERSE, attempt.number, amount), now
    )
    if isinstance(approval, Refusal):
        return approval

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    request(draft, attempt, FundsOperation.REVERSE, amount, approval_id=approval.id)
    return finish(draft)


def debit_again(state: Payment | None, command: DebitFunds, context: Context) -> Decision:
    """Debit the customer for a second settlement of the payment: gated (ruling 5)."""
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("reason", command.reason, limit) or gate.admission(
        operator, gate.ROLES_OF_ACTION[Action.DEBIT_AGAIN]
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    done = state.results.get(result_key("D", command.attempt))
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now) or funds_precondition(
        state, Action.DEBIT_AGAIN, command.attempt
    )
    if refusal is not None:
        return refusal
    conflicts = open_conflicts(state)
    if conflicts:
        return refuse(CONFLICT_OPEN, count=conflicts)
    attempt = state.attempts[command.attempt - 1]
    amount = second_debit(state, attempt)
    approval = gate.find(
        state, operator, RequiredApproval(Action.DEBIT_AGAIN, attempt.number, amount), now
    )
    if isinstance(approval, Refusal):
        return approval

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    if can_capture(state, attempt):
        operation, amount = FundsOperation.CAPTURE, min(amount, held_cents(attempt))
    else:
        operation = FundsOperation.DEBIT_FORCED
    request(draft, attempt, operation, amount, approval_id=approval.id)
    return finish(draft)


def repeat_request(
    state: Payment | None, command: RepeatFundsRequest, context: Context
) -> Decision:
    """A person asks Deposits Core again for what it refused: the operation's next number, for what
    is needed now. It moves no money that the record does not call for, so it needs no approval.
    """
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("reason", command.reason, limit)
    if refusal is None and command.operation not in FundsOperation.__members__:
        refusal = refuse(FIELD_INVALID, field="operation", problem="is not one of Deposits Core's")
    refusal = refusal or gate.admission(operator, gate.REPEATERS)
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now)
    if refusal is not None:
        return refusal
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    conflicts = open_conflicts(state)
    if conflicts:
        return refuse(CONFLICT_OPEN, count=conflicts)
    attempt = state.attempts[command.attempt - 1]
    operation = command.operation
    refused = latest(attempt, operation)
    amount = _needed_now(state, attempt, operation)
    window_end = hold_window_end(state, context.rules.windows)
    if operation == FundsOperation.HOLD and window_end <= now:
        amount = 0  # nobody would carry it out any more
    if refused is None or refused.status != "REFUSED" or amount <= 0:
        return refuse(
            FUNDS_PRECONDITION,
            attempt=attempt.number,
            expected=f"a {operation} that was refused and is still needed",
            actual=attempt.funds,
        )
    again = sum(1 for each in state.attempts for ask in each.funds_requests if ask.number > 1)
    if again >= REQUESTS_MAX or refused.number >= REQUESTS_MAX:
        return refuse(LIMIT_REACHED, count=again, what="requests made again")

    draft = operator_draft(state, context, command.header.traceparent, operator, now)
    not_after = window_end if operation == FundsOperation.HOLD else None
    by_name = refused.hold_number if held_cents(attempt) <= 0 else 0
    request(
        draft,
        attempt,
        operation,
        amount,
        by_person=True,
        not_after=(refused.not_after or None) if by_name else not_after,
        hold_funds_ref=hold_reference(draft.payment_id, attempt, by_name),
    )
    return finish(draft)


def _needed_now(state: Payment, attempt: Attempt, operation: str) -> int:
    """What the operation would have to move now, in cents: 0 when it is not needed, or when another
    request of the attempt waits for its answer.
    """
    waits = unanswered(attempt)
    due = borne_cents(attempt) - taken_cents(attempt)
    if waits is not None:
        by_name = operation == FundsOperation.RELEASE and waits.operation == FundsOperation.HOLD
        return waits.amount if by_name else 0
    match operation:
        case FundsOperation.RELEASE:
            # A hold that a settlement takes its money from is not given up.
            return 0 if due > 0 and can_capture(state, attempt) else held_cents(attempt)
        case FundsOperation.HOLD:
            waiting = attempt.state in UNSENT and held_cents(attempt) <= 0
            return state.amount if waiting else 0
        case FundsOperation.CAPTURE:
            return min(due, held_cents(attempt)) if can_capture(state, attempt) else 0
        case FundsOperation.DEBIT_FORCED:
            return 0 if held_cents(attempt) else due
        case FundsOperation.REVERSE:
            return min(-due, attempt.captured - attempt.reversed)
        case _:
            return -due


def funds_precondition(state: Payment, action: str, number: int) -> Refusal | None:
    """What the funds of the named attempt must be for a gated funds action. While a request of the
    attempt waits for its answer, no other is made or approved.
    """
    if not 0 < number <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=number)
    attempt = state.attempts[number - 1]
    match action:
        case Action.RELEASE_EARLY:
            good, expected = attempt.funds == "RELEASE_DEFERRED", "RELEASE_DEFERRED"
        case Action.REVERSE:
            # Nothing is given up while more is still to be taken.
            settled_up = taken_cents(attempt) >= borne_cents(attempt)
            good, expected = captured_amount(attempt) > 0 and settled_up, "CAPTURED"
        case _:
            releases = holds_for_nothing(state, attempt) or (
                held_cents(attempt) > 0 and not can_capture(state, attempt)
            )
            good = second_debit(state, attempt) > 0 and not releases
            expected = "a second settlement that is not debited, with nothing held"
    waits = unanswered(attempt)
    if good and waits is None:
        return None
    actual = attempt.funds if waits is None else f"{waits.operation} not answered"
    return refuse(FUNDS_PRECONDITION, attempt=number, expected=expected, actual=actual)


def second_debit(state: Payment, attempt: Attempt) -> int:
    """What a second settlement would take from the customer, in cents; 0 when it needs no
    approval.
    """
    if not needs_debit_approval(state, attempt):
        return 0
    return max(0, borne_cents(attempt) - taken_cents(attempt))


def captured_amount(attempt: Attempt) -> int:
    """What is captured and not given back yet, in cents."""
    return min(taken_cents(attempt), attempt.captured - attempt.reversed)
