"""What Deposits Core is asked next for one attempt, from the attempt's sums and fate alone."""

from __future__ import annotations

from core.payment import events as e
from core.payment.draft import SYSTEM, Draft
from core.payment.state import (
    ENDED,
    UNSENT,
    Ask,
    Attempt,
    Payment,
    certain_for_all,
    open_conflicts,
)
from core.values import FundsOperation, funds_ref


def funds_step(draft: Draft, attempt: Attempt) -> bool:
    """Ask for, or defer, at most one thing; True when something was appended (domain: money and
    funds).
    """
    if _waits(attempt):
        return False
    left = attempt.held - attempt.captured - attempt.released
    outcome = attempt.outcome
    if outcome == "PAID":
        return _paid(draft, attempt, left)
    if outcome == "RETURNED":
        return _returned(draft, attempt, left)
    if outcome == "NOT_PAID":
        return _give_back(draft, attempt) or _let_go(draft, attempt, left)
    if attempt.state in ENDED:
        return left > 0 and _let_go(draft, attempt, left)
    if attempt.funds == "NONE" and attempt.state in UNSENT:
        request(draft, attempt, FundsOperation.HOLD, draft.state.amount)
        return True
    return False


def _waits(attempt: Attempt) -> bool:
    """An answer is awaited, or a refused instruction will be repeated; a refused hold is
    given up.
    """
    for ask in attempt.asks:
        status = ask.status
        if status == "REQUESTED" or (status == "FAILED" and ask.operation != "HOLD"):
            return True
    return False


def request(
    draft: Draft,
    attempt: Attempt,
    operation: str,
    amount: int,
    *,
    approval_id: str | None = None,
) -> None:
    """A new instruction with the next number of its kind. One that a person's approval allows is
    the person's.
    """
    number = 1 + sum(1 for ask in attempt.asks if ask.operation == operation)
    actor = SYSTEM if approval_id is None else None
    draft.append(
        e.FundsRequested(
            draft.header(attempt.number, approval_id=approval_id, actor=actor),
            str(operation),
            funds_ref(draft.payment_id, attempt.number, operation, number),
            amount,
            draft.state.currency,
            0,
        )
    )


def repeat(draft: Draft, attempt: Attempt, ask: Ask) -> None:
    """The same instruction again, under the same reference."""
    draft.append(
        e.FundsRequested(
            draft.header(attempt.number, actor=SYSTEM),
            ask.operation,
            funds_ref(draft.payment_id, attempt.number, ask.operation, ask.number),
            ask.amount,
            draft.state.currency,
            ask.repeat + 1,
        )
    )


def held_back(attempt: Attempt) -> int:
    """What is still held for the attempt, in cents."""
    return attempt.held - attempt.captured - attempt.released


def _taken(attempt: Attempt) -> int:
    """What the customer has paid so far for this attempt, in cents."""
    return attempt.captured + attempt.debited - attempt.reversed - attempt.credited


def _paid(draft: Draft, attempt: Attempt, left: int) -> bool:
    """Capture once per payment; what no hold covers any more is debited; what is too much goes
    back.
    """
    due = attempt.settled - attempt.waived - _taken(attempt)
    if due > 0:
        if left > 0 and not _captured_somewhere(draft.state):
            request(draft, attempt, FundsOperation.CAPTURE, min(due, left))
        else:
            request(draft, attempt, FundsOperation.DEBIT_FORCED, due)
        return True
    if due < 0:
        request(draft, attempt, FundsOperation.CREDIT, -due)
        return True
    return _let_rest_go(draft, attempt, left)


def _returned(draft: Draft, attempt: Attempt, left: int) -> bool:
    """The money came back to the bank: so it does to the customer, once."""
    taken = _taken(attempt)
    if taken > 0:
        request(draft, attempt, FundsOperation.CREDIT, taken)
        return True
    return _let_rest_go(draft, attempt, left)


def _let_rest_go(draft: Draft, attempt: Attempt, left: int) -> bool:
    if left <= 0 or open_conflicts(draft.state):
        return False
    request(draft, attempt, FundsOperation.RELEASE, left)
    return True


def _give_back(draft: Draft, attempt: Attempt) -> bool:
    """A verdict says nothing was paid: what was captured is reversed, what was debited is
    credited.
    """
    taken = _taken(attempt)
    if taken <= 0:
        return False
    captured = min(taken, attempt.captured - attempt.reversed)
    if captured > 0:
        request(draft, attempt, FundsOperation.REVERSE, captured)
    else:
        request(draft, attempt, FundsOperation.CREDIT, taken)
    return True


def _let_go(draft: Draft, attempt: Attempt, left: int) -> bool:
    """Release once non-payment is certain for every attempt and nothing contradicts it; until then
    defer.
    """
    if left <= 0:
        return False
    if open_conflicts(draft.state):
        why = "a conflict is open"
    elif not certain_for_all(draft.state):
        why = "non-payment is not certain for every attempt"
    else:
        request(draft, attempt, FundsOperation.RELEASE, left)
        return True
    if attempt.funds != "HELD":
        return False
    draft.append(e.FundsReleaseDeferred(draft.header(attempt.number, actor=SYSTEM), left, why))
    return True


def _captured_somewhere(state: Payment) -> bool:
    return any(ask.operation == "CAPTURE" for attempt in state.attempts for ask in attempt.asks)
