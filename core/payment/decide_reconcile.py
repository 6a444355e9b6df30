"""A person's verdict on a conflict, and the two gated funds actions: early release and reversal."""

from __future__ import annotations

from typing import Final

from core.decider import Context, Decision, Duplicate, Refusal
from core.header import Actor, OperatorHeader
from core.payment import checks, gate
from core.payment import events as e
from core.payment.commands import (
    DebitFunds,
    ReleaseFunds,
    RepeatFundsRequest,
    ResolveReconciliation,
    ReverseCapture,
)
from core.payment.draft import Draft, decided_at
from core.payment.finish import finish
from core.payment.flow_funds import held_back, request
from core.payment.gate import Wanted
from core.payment.remember import result_key
from core.payment.state import UNSENT, Ask, Attempt, Conflict, Payment, open_conflicts, range_of
from core.refusals import (
    CONFLICT_NOT_OPEN,
    CONFLICT_OPEN,
    FIELD_INVALID,
    FUNDS_PRECONDITION,
    NO_SUCH_ATTEMPT,
    NOT_FOUND,
    VERDICT_NOT_APPLICABLE,
    refuse,
)
from core.transitions import FINAL
from core.values import (
    CURRENCY,
    Action,
    FailureReason,
    FundsOperation,
    State,
    attempt_id,
    external_ref,
)

VERDICTS: Final = frozenset({"SETTLED_AFTER_ALL", "NOT_PAID", "RETURNED", "AMOUNT_ACCEPTED"})
_NO_REVERSE: Final = frozenset({"CAPTURE_REQUESTED", "REVERSE_REQUESTED", "CREDIT_REQUESTED"})


def resolve(state: Payment | None, command: ResolveReconciliation, context: Context) -> Decision:
    """Ends one conflict; what the verdict says of the money follows in the same decision (ruling
    5).
    """
    operator = command.operator
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.needed_text("details", command.details, limit)
    if refusal is None and command.verdict not in VERDICTS:
        refusal = refuse(FIELD_INVALID, field="verdict", problem="is no verdict")
    refusal = refusal or gate.admission(
        operator, gate.ROLES_OF_ACTION[Action.RESOLVE_RECONCILIATION]
    )
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    key = result_key("Q", f"{command.conflict_id}:{command.attempt}:{command.verdict}")
    done = state.results.get(key)
    if done is not None:
        return Duplicate(*range_of(state, done))
    now = decided_at(state, context.now_ms)
    refusal = gate.too_late(operator, now)
    if refusal is not None:
        return refusal
    conflict = find_conflict(state, command.conflict_id)
    if not _is_open(state, conflict, command.conflict_id):
        return refuse(CONFLICT_NOT_OPEN, conflict=command.conflict_id)
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    amount = state.amount if conflict is None else conflict.amount or state.amount
    wanted = Wanted(
        Action.RESOLVE_RECONCILIATION,
        command.attempt,
        amount,
        conflict_id=command.conflict_id,
        verdict=command.verdict,
    )
    approval = gate.find(state, operator, wanted, now)
    if isinstance(approval, Refusal):
        return approval
    problem = _does_not_fit(state, conflict, command)
    if problem is not None:
        return refuse(VERDICT_NOT_APPLICABLE, verdict=command.verdict, problem=problem)

    draft = _draft(state, context, command.header.traceparent, operator, now)
    accepted = command.verdict == "AMOUNT_ACCEPTED"
    draft.append(
        e.ReconciliationResolved(
            draft.header(command.attempt, approval_id=approval.id),
            command.conflict_id,
            command.verdict,
            command.details,
            amount if accepted else None,
        )
    )
    funds_only = conflict is not None and conflict.kind == "FUNDS_CONTRADICTION"
    if command.verdict != "NOT_PAID" and not funds_only:
        _paid_after_all(draft, command, amount if accepted else state.amount)
    return finish(draft)


def release_early(state: Payment | None, command: ReleaseFunds, context: Context) -> Decision:
    """Release a deferred hold before non-payment is certain (domain: money and funds)."""
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
    refusal = gate.too_late(operator, now)
    if refusal is not None:
        return refusal
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    attempt = state.attempts[command.attempt - 1]
    if attempt.funds != "RELEASE_DEFERRED":
        return refuse(
            FUNDS_PRECONDITION,
            attempt=attempt.number,
            expected="RELEASE_DEFERRED",
            actual=attempt.funds,
        )
    conflicts = open_conflicts(state)
    if conflicts:
        return refuse(CONFLICT_OPEN, count=conflicts)
    wanted = Wanted(Action.RELEASE_EARLY, attempt.number, state.amount)
    approval = gate.find(state, operator, wanted, now)
    if isinstance(approval, Refusal):
        return approval

    draft = _draft(state, context, command.header.traceparent, operator, now)
    request(
        draft,
        attempt,
        FundsOperation.RELEASE,
        held_back(attempt),
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
    refusal = gate.too_late(operator, now)
    if refusal is not None:
        return refusal
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    attempt = state.attempts[command.attempt - 1]
    amount = captured_amount(attempt)
    if amount <= 0 or attempt.funds in _NO_REVERSE:
        return refuse(
            FUNDS_PRECONDITION,
            attempt=attempt.number,
            expected="CAPTURED",
            actual=attempt.funds,
        )
    approval = gate.find(state, operator, Wanted(Action.REVERSE, attempt.number, amount), now)
    if isinstance(approval, Refusal):
        return approval

    draft = _draft(state, context, command.header.traceparent, operator, now)
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
    refusal = gate.too_late(operator, now)
    if refusal is not None:
        return refusal
    if not 0 < command.attempt <= len(state.attempts):
        return refuse(NO_SUCH_ATTEMPT, attempt=command.attempt)
    attempt = state.attempts[command.attempt - 1]
    amount = second_debit(state, attempt)
    if amount <= 0:
        return refuse(
            FUNDS_PRECONDITION,
            attempt=attempt.number,
            expected="a second settlement that was not debited",
            actual=attempt.funds,
        )
    approval = gate.find(state, operator, Wanted(Action.DEBIT_AGAIN, attempt.number, amount), now)
    if isinstance(approval, Refusal):
        return approval

    draft = _draft(state, context, command.header.traceparent, operator, now)
    request(draft, attempt, FundsOperation.DEBIT_FORCED, amount, approval_id=approval.id)
    return finish(draft)


def repeat_request(
    state: Payment | None, command: RepeatFundsRequest, context: Context
) -> Decision:
    """A person asks Deposits Core again for what it refused: the operation's next number."""
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
    attempt = state.attempts[command.attempt - 1]
    refused = refused_ask(attempt, command.operation)
    if refused is None:
        return refuse(
            FUNDS_PRECONDITION,
            attempt=attempt.number,
            expected=f"{command.operation} refused",
            actual=attempt.funds,
        )

    draft = _draft(state, context, command.header.traceparent, operator, now)
    request(draft, attempt, command.operation, refused.amount)
    return finish(draft)


def second_debit(state: Payment, attempt: Attempt) -> int:
    """What the rail settled a second time and nobody has debited yet, in cents."""
    others = any(a.outcome == "PAID" for a in state.attempts if a is not attempt)
    if attempt.outcome != "PAID" or not others:
        return 0
    taken = attempt.captured + attempt.debited - attempt.reversed - attempt.credited
    return attempt.settled - attempt.waived - taken


def refused_ask(attempt: Attempt, operation: str) -> Ask | None:
    """The latest instruction of this operation, when Deposits Core refused it."""
    latest = None
    for ask in attempt.asks:
        if ask.operation == operation:
            latest = ask
    return latest if latest is not None and latest.status == "REFUSED" else None


def captured_amount(attempt: Attempt) -> int:
    """What is captured and not given back yet, in cents."""
    taken = attempt.captured + attempt.debited - attempt.reversed - attempt.credited
    return min(taken, attempt.captured - attempt.reversed)


def find_conflict(state: Payment, conflict_id: str | None) -> Conflict | None:
    for conflict in state.conflicts:
        if conflict.id == conflict_id:
            return conflict
    return None


def _is_open(state: Payment, conflict: Conflict | None, conflict_id: str) -> bool:
    """A listed one that is open; or one that is only counted: made, not listed, not resolved."""
    if conflict is not None:
        return conflict.verdict is None
    made = {f"cnf_{n:03d}" for n in range(1, state.conflicts_made + 1)}
    resolved = any(key.startswith(f"Q{conflict_id}:") for key in state.results)
    return state.conflicts_unlisted > 0 and conflict_id in made and not resolved


def _does_not_fit(
    state: Payment, conflict: Conflict | None, command: ResolveReconciliation
) -> str | None:
    accepted = command.verdict == "AMOUNT_ACCEPTED"
    if conflict is None:
        return "the conflict was only counted, its amount is not known" if accepted else None
    if conflict.attempt != command.attempt:
        return f"the conflict is about attempt {conflict.attempt}"
    if conflict.kind == "FUNDS_CONTRADICTION":
        return None if accepted else "a contradiction of Deposits Core takes AMOUNT_ACCEPTED only"
    if not accepted:
        return None
    if conflict.kind != "AMOUNT_DIFFERS" or conflict.report_kind != "SETTLED":
        return "the conflict is not about a settlement of another amount"
    if conflict.amount is None or conflict.currency not in (None, CURRENCY):
        return "the rail named no amount in AUD"
    return None


def _paid_after_all(draft: Draft, command: ResolveReconciliation, amount: int) -> None:
    """The named attempt moved money: settle it when it still can be, and end what would pay
    again.
    """
    named = draft.state.attempts[command.attempt - 1]
    current = draft.state.attempts[-1]
    if named.number == current.number and named.state in (State.SENT, State.ACKNOWLEDGED):
        _settle(draft, named, command.conflict_id, amount)
    elif current.state not in FINAL:
        _end(draft, current)


def _settle(draft: Draft, attempt: Attempt, conflict_id: str, amount: int) -> None:
    reference = external_ref(draft.payment_id, attempt.number)
    if attempt.state == State.SENT:
        draft.append(
            e.PaymentAcknowledged(
                draft.header(attempt.number, State.ACKNOWLEDGED.value),
                attempt_id(attempt.number),
                reference,
                True,
                None,
                None,
                None,
                False,
                None,
            )
        )
    draft.append(
        e.PaymentSettled(
            draft.header(attempt.number, State.SETTLED.value),
            attempt_id(attempt.number),
            reference,
            amount,
            draft.state.currency,
            None,
            None,
            None,
            False,
            conflict_id,
            None,
        )
    )


def _end(draft: Draft, attempt: Attempt) -> None:
    """End an unsent attempt for certain; a sent one is withdrawn, and its fate is enquired
    about.
    """
    unsent = attempt.state in UNSENT
    draft.append(
        e.PaymentFailed(
            draft.header(attempt.number, State.FAILED.value, reason=FailureReason.CANCELLED.value),
            attempt_id(attempt.number),
            "system",
            False,
            unsent or attempt.certain,
            attempt.state == State.ACKNOWLEDGED,
            None,
            None,
            None,
            None,
            None,
            None,
            False,
            None,
        )
    )


def _draft(
    state: Payment,
    context: Context,
    traceparent: str | None,
    operator: OperatorHeader,
    now: int,
) -> Draft:
    return Draft(
        state,
        context,
        state.payment_intent_id,
        Actor("operator", operator.operator_id),
        traceparent,
        now,
    )
