"""A person's funds actions: early release, reversal and a second debit, each behind an approval;
and repeating a request that Deposits Core refused, which needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, assert_never

from core.decider import Context, Decision, Refusal
from core.header import OperatorHeader
from core.payment.commands import DebitFunds, ReleaseFunds, RepeatFundsRequest, ReverseCapture
from core.payment.deadlines import hold_window_end
from core.payment.flow import finish
from core.payment.flow.funds import can_capture, hold_reference, request
from core.payment.funds import (
    REQUESTS_MAX,
    due_cents,
    held_cents,
    holds_for_nothing,
    latest,
    needs_debit_approval,
    taken_cents,
    unanswered,
)
from core.payment.keys import result_key
from core.payment.operator import checks, gate
from core.payment.operator.gate import RequiredApproval, conflict_open
from core.payment.operator.steps import Passed, Steps, pass_steps
from core.payment.state import UNSENT, Approval, Attempt, Payment
from core.refusals import FIELD_INVALID, FUNDS_PRECONDITION, LIMIT_REACHED, NO_SUCH_ATTEMPT, refuse
from core.values import FUNDS_LETTER, NO_CENTS, Cents
from core.words import ActionName, OperationName

# Actions that give back or take money of one attempt.
FundsAction = Literal["RELEASE_EARLY", "REVERSE", "DEBIT_AGAIN"]
FUNDS_ACTIONS: Final[dict[ActionName, FundsAction]] = {
    "RELEASE_EARLY": "RELEASE_EARLY",
    "REVERSE": "REVERSE",
    "DEBIT_AGAIN": "DEBIT_AGAIN",
}
_Gated = ReleaseFunds | ReverseCapture | DebitFunds


def _reason_given(command: _Gated, characters_max: int) -> Refusal | None:
    return checks.needed_text("reason", command.reason, characters_max)


def _gated(
    action: FundsAction, letter: str, amount_of: Callable[[Payment, Attempt], Cents]
) -> Steps[_Gated]:
    """The steps of a gated funds action: once per attempt, if its funds allow it, approved for the
    amount. Only a reversal is allowed while a conflict is open.
    """

    def done(state: Payment, command: _Gated, now: int) -> int | None:
        return state.results.get(result_key(letter, command.attempt))

    def allowed(state: Payment, command: _Gated, now: int) -> Refusal | None:
        refusal = funds_precondition(state, action, command.attempt)
        if refusal is None and action != "REVERSE":
            return conflict_open(state)
        return refusal

    def approval(
        state: Payment, command: _Gated, operator: OperatorHeader, now: int
    ) -> Approval | Refusal:
        amount = amount_of(state, state.attempts[command.attempt - 1])
        required = RequiredApproval(action=action, attempt=command.attempt, amount=amount)
        return gate.find(state, operator, required, now)

    return Steps(
        shape=_reason_given,
        roles=gate.ROLES_OF_ACTION[action],
        done=done,
        state=allowed,
        approval=approval,
    )


def second_debit(state: Payment, attempt: Attempt) -> Cents:
    """What a second settlement would take from the customer, in cents; 0 when it needs no
    approval.
    """
    if not needs_debit_approval(state, attempt):
        return NO_CENTS
    return max(NO_CENTS, due_cents(attempt))


def captured_amount(attempt: Attempt) -> Cents:
    """What is captured and not given back yet, in cents."""
    return min(taken_cents(attempt), _not_reversed(attempt))


def _not_reversed(attempt: Attempt) -> Cents:
    return Cents(attempt.captured - attempt.reversed)


def _captured(state: Payment, attempt: Attempt) -> Cents:
    return captured_amount(attempt)


def _whole_amount(state: Payment, attempt: Attempt) -> Cents:
    return state.amount


RELEASE_EARLY: Final = _gated("RELEASE_EARLY", "L", _whole_amount)
REVERSE: Final = _gated("REVERSE", "V", _captured)
DEBIT_AGAIN: Final = _gated("DEBIT_AGAIN", "D", second_debit)


def release_early(state: Payment | None, command: ReleaseFunds, context: Context) -> Decision:
    """Release a deferred hold before non-payment is certain (domain §3)."""
    passed = pass_steps(RELEASE_EARLY, state, command, context)
    if not isinstance(passed, Passed):
        return passed

    draft, attempt = passed.draft(), passed.state.attempts[command.attempt - 1]
    held = held_cents(attempt)
    request(draft, attempt, "RELEASE", held, approval_id=passed.approval_id)
    return finish(draft)


def reverse_capture(state: Payment | None, command: ReverseCapture, context: Context) -> Decision:
    """Give captured funds back (OP-20): gated, and once per attempt."""
    passed = pass_steps(REVERSE, state, command, context)
    if not isinstance(passed, Passed):
        return passed

    draft, attempt = passed.draft(), passed.state.attempts[command.attempt - 1]
    amount = captured_amount(attempt)
    request(draft, attempt, "REVERSE", amount, approval_id=passed.approval_id)
    return finish(draft)


def debit_again(state: Payment | None, command: DebitFunds, context: Context) -> Decision:
    """Debit the customer for a second settlement of the payment: gated (ruling 5)."""
    passed = pass_steps(DEBIT_AGAIN, state, command, context)
    if not isinstance(passed, Passed):
        return passed

    draft, attempt = passed.draft(), passed.state.attempts[command.attempt - 1]
    operation: OperationName = "DEBIT_FORCED"
    amount = second_debit(passed.state, attempt)
    if can_capture(passed.state, attempt):
        operation, amount = "CAPTURE", min(amount, held_cents(attempt))
    request(draft, attempt, operation, amount, approval_id=passed.approval_id)
    return finish(draft)


def _repeat_shape(command: RepeatFundsRequest, characters_max: int) -> Refusal | None:
    refusal = checks.needed_text("reason", command.reason, characters_max)
    if refusal is None and command.operation not in FUNDS_LETTER:
        return refuse(FIELD_INVALID, field="operation", problem="is not one of Deposits Core's")
    return refusal


def _repeat_allowed(state: Payment, command: RepeatFundsRequest, now: int) -> Refusal | None:
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    return conflict_open(state)


REPEAT: Final = Steps(
    shape=_repeat_shape,
    roles=gate.REPEATERS,
    state=_repeat_allowed,
)


def repeat_request(
    state: Payment | None, command: RepeatFundsRequest, context: Context
) -> Decision:
    """A person repeats a request that Deposits Core refused: the operation's next number, for the
    amount needed now. It moves only money that the record requires, so it needs no approval.
    """
    passed = pass_steps(REPEAT, state, command, context)
    if not isinstance(passed, Passed):
        return passed
    state = passed.state
    attempt = state.attempts[command.attempt - 1]
    operation = command.operation
    refused = latest(attempt, operation)
    amount = _needed_now(state, attempt, operation)
    window_end = hold_window_end(state, context.rules.windows)
    if operation == "HOLD" and window_end <= passed.now:
        amount = NO_CENTS  # it would never be carried out
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

    draft = passed.draft()
    not_after = window_end if operation == "HOLD" else None
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


def _needed_now(state: Payment, attempt: Attempt, operation: OperationName) -> Cents:
    """The amount that the operation must move now, in cents: 0 if it is not needed, or if another
    request of the attempt is unanswered.
    """
    waits = unanswered(attempt)
    due = due_cents(attempt)
    if waits is not None:
        by_name = operation == "RELEASE" and waits.operation == "HOLD"
        return waits.amount if by_name else NO_CENTS
    match operation:
        case "RELEASE":
            # A hold that a settlement needs is not released.
            serves = due > 0 and can_capture(state, attempt)
            return NO_CENTS if serves else held_cents(attempt)
        case "HOLD":
            waiting = attempt.state in UNSENT and held_cents(attempt) <= 0
            return state.amount if waiting else NO_CENTS
        case "CAPTURE":
            return min(due, held_cents(attempt)) if can_capture(state, attempt) else NO_CENTS
        case "DEBIT_FORCED":
            return NO_CENTS if held_cents(attempt) else due
        case "REVERSE":
            return min(Cents(-due), _not_reversed(attempt))
        case "CREDIT":
            return Cents(-due)
        case _:
            assert_never(operation)


def funds_precondition(state: Payment, action: FundsAction, number: int) -> Refusal | None:
    """What a gated funds action requires of the attempt's funds. While a request of the attempt is
    unanswered, no other is made or approved.
    """
    if not 0 < number <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=number)
    attempt = state.attempts[number - 1]
    match action:
        case "RELEASE_EARLY":
            good, expected = attempt.funds == "RELEASE_DEFERRED", "RELEASE_DEFERRED"
        case "REVERSE":
            # Nothing is given back while more is still to be taken.
            settled_up = due_cents(attempt) <= 0
            good, expected = captured_amount(attempt) > 0 and settled_up, "CAPTURED"
        case "DEBIT_AGAIN":
            releases = holds_for_nothing(state, attempt) or (
                held_cents(attempt) > 0 and not can_capture(state, attempt)
            )
            good = second_debit(state, attempt) > 0 and not releases
            expected = "a second settlement that is not debited, with nothing held"
        case _:
            assert_never(action)
    waits = unanswered(attempt)
    if good and waits is None:
        return None
    actual = attempt.funds if waits is None else f"{waits.operation} not answered"
    return refuse(FUNDS_PRECONDITION, attempt=number, expected=expected, actual=actual)
