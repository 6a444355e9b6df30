"""The next request to Deposits Core for one attempt, from the state alone (domain §3).

At most one request about the same money of an attempt is unanswered, so none is taken or given back
twice. Held money and taken money are different money. An ended attempt whose HOLD was not answered
requests its RELEASE by name.
"""

from __future__ import annotations

from typing import Final

from core.payment import events as e
from core.payment.deadlines import hold_window_end
from core.payment.draft import SYSTEM, Draft
from core.payment.funds import (
    UNANSWERED,
    blocking,
    can_release,
    can_settle,
    due_cents,
    held_cents,
    holds_for_nothing,
    is_captured,
    may_request,
    needs_debit_approval,
    unanswered,
)
from core.payment.state import UNSENT, Attempt, FundsRequestStatus, Payment, open_conflicts
from core.values import ApprovalId, Cents, FundsRef, PaymentIntentId, State, funds_ref
from core.words import DeferralReason, OperationName

_UNDER_WAY: Final = frozenset({State.SENT.value, State.ACKNOWLEDGED.value})


def funds_step(draft: Draft, attempt: Attempt) -> bool:
    """Make or defer at most one request; True if an event was appended."""
    if attempt.state in _UNDER_WAY and attempt.outcome is None:
        return False  # its hold waits for the rail's answer
    due = due_cents(attempt)
    waits = blocking(attempt)
    if waits is not None:
        if _release_by_name(draft, attempt, waits):
            return True
        # Money already taken is separate from a hold or its release.
        return due < 0 and _waits_for_hold(attempt) and _give_back(draft, attempt, Cents(-due))
    if attempt.state in UNSENT and attempt.outcome is None:
        return not attempt.funds_requests and not attempt.held and _request_hold(draft, attempt)
    if due > 0 and needs_debit_approval(draft.state, attempt):
        return _release_uncapturable(draft, attempt)
    if due > 0:
        return _release_uncapturable(draft, attempt) or _take(draft, attempt, due)
    if due < 0 and _give_back(draft, attempt, Cents(-due)):
        return True
    held = held_cents(attempt)
    return held > 0 and _release_or_defer(draft, attempt, held)


def _request_hold(draft: Draft, attempt: Attempt) -> bool:
    """Request a hold that Deposits Core never carries out after the window in which it can serve
    the attempt. A retry of an expired payment requests none.
    """
    not_after = hold_window_end(draft.state, draft.rules.windows)
    if not_after <= draft.now:
        return False
    request(draft, attempt, "HOLD", draft.state.amount, not_after=not_after)
    return True


def request(
    draft: Draft,
    attempt: Attempt,
    operation: OperationName,
    amount: Cents,
    *,
    approval_id: ApprovalId | None = None,
    by_person: bool = False,
    not_after: int | None = None,
    hold_funds_ref: FundsRef | None = None,
) -> None:
    """A new request with the next number of its operation, by the system unless a person made
    it.
    """
    number = 1 + sum(1 for ask in attempt.funds_requests if ask.operation == operation)
    actor = None if by_person or approval_id is not None else SYSTEM
    draft.append(
        e.FundsRequested(
            header=draft.header(attempt.number, approval_id=approval_id, actor=actor),
            operation=operation,
            funds_ref=funds_ref(draft.payment_id, attempt.number, operation, number),
            amount=amount,
            currency=draft.state.currency,
            repeat=0,
            not_after=not_after,
            hold_funds_ref=hold_funds_ref,
        )
    )


def repeat(draft: Draft, attempt: Attempt, ask: FundsRequestStatus) -> None:
    """The same request again, under the same reference. A freeze moves a hold's notAfter."""
    not_after = ask.not_after or None
    if ask.operation == "HOLD":
        not_after = max(ask.not_after, hold_window_end(draft.state, draft.rules.windows))
    draft.append(
        e.FundsRequested(
            header=draft.header(attempt.number, actor=SYSTEM),
            operation=ask.operation,
            funds_ref=funds_ref(draft.payment_id, attempt.number, ask.operation, ask.number),
            amount=ask.amount,
            currency=draft.state.currency,
            repeat=ask.repeat + 1,
            not_after=not_after,
            hold_funds_ref=hold_reference(draft.payment_id, attempt, ask.hold_number),
        )
    )


def hold_reference(payment_id: PaymentIntentId, attempt: Attempt, number: int) -> FundsRef | None:
    """The fundsRef of the attempt's HOLD `number`, or None for 0."""
    return funds_ref(payment_id, attempt.number, "HOLD", number) if number else None


def _release_by_name(draft: Draft, attempt: Attempt, waits: FundsRequestStatus) -> bool:
    """Release the hold of an attempt that ended, or was paid, before its HOLD was answered. The
    release names the HOLD and its notAfter, and is repeated until it is answered.
    """
    if waits.operation != "HOLD":
        return False
    if attempt.state in UNSENT and attempt.outcome is None:
        return False
    if any(ask.hold_number == waits.number for ask in attempt.funds_requests):
        return False  # already requested; if refused, it waits for a person
    if open_conflicts(draft.state):
        return False
    request(
        draft,
        attempt,
        "RELEASE",
        waits.amount,
        not_after=waits.not_after or None,
        hold_funds_ref=hold_reference(draft.payment_id, attempt, waits.number),
    )
    return True


def _waits_for_hold(attempt: Attempt) -> bool:
    """Whether every unanswered request is about a hold."""
    return all(
        ask.operation in _HOLDING for ask in attempt.funds_requests if ask.status in UNANSWERED
    )


def _take(draft: Draft, attempt: Attempt, due: Cents) -> bool:
    """A settlement takes its money from a hold first: its own, then that of an attempt that can no
    longer settle. Without a hold it is a forced debit. Captured once per payment.
    """
    state = draft.state
    held = held_cents(attempt)
    if can_capture(state, attempt):
        return _request_if_allowed(draft, attempt, "CAPTURE", min(due, held))
    if held > 0:
        return False  # release it first: the customer's money must not be held and debited at once
    if not is_captured(state):
        for other in state.attempts:
            if other.number == attempt.number or can_settle(other) or other.outcome == "PAID":
                continue
            waits = unanswered(other)
            if waits is not None and waits.operation in _HOLDING:
                return False  # that hold will end: what it covers is not debited in addition
            if waits is None and held_cents(other) > 0:
                transfer(draft, other, attempt)
                return True
    if holds_for_nothing(state, attempt):
        return False  # release that hold first
    return _request_if_allowed(draft, attempt, "DEBIT_FORCED", due)


_HOLDING = frozenset({"HOLD", "RELEASE"})


def can_capture(state: Payment, attempt: Attempt) -> bool:
    """Whether the attempt's own hold can be captured: once per payment."""
    return held_cents(attempt) > 0 and not is_captured(state)


def _release_uncapturable(draft: Draft, attempt: Attempt) -> bool:
    """Release what is still held once the payment was captured: it can never be captured."""
    held = held_cents(attempt)
    if held <= 0 or can_capture(draft.state, attempt) or open_conflicts(draft.state):
        return False
    return _request_if_allowed(draft, attempt, "RELEASE", held)


def transfer(draft: Draft, giver: Attempt, taker: Attempt) -> None:
    """Another attempt takes over this one's hold: no request, the hold is unchanged."""
    draft.append(
        e.FundsHoldTransferred(
            header=draft.header(taker.number),
            from_attempt=giver.number,
            to_attempt=taker.number,
            hold_ref=giver.hold_ref or "",
            amount=held_cents(giver),
        )
    )


def _give_back(draft: Draft, attempt: Attempt, amount: Cents) -> bool:
    """More was taken than the customer bears: money captured under a verdict is reversed, the rest
    credited.
    """
    for each in ("REVERSE", "CREDIT"):
        if not may_request(attempt, each):
            return False  # refused: a person repeats the request
    captured = Cents(attempt.captured - attempt.reversed)
    if attempt.outcome == "NOT_PAID" and captured > 0:
        operation: OperationName = "REVERSE"
        amount = min(amount, captured)
    else:
        operation = "CREDIT"
    return _request_if_allowed(draft, attempt, operation, amount)


def _release_or_defer(draft: Draft, attempt: Attempt, held: Cents) -> bool:
    """Release the hold once no settlement needs it and no conflict is open; until then defer."""
    if open_conflicts(draft.state):
        why: DeferralReason = "a conflict is open"
    elif can_release(draft.state, attempt):
        return _request_if_allowed(draft, attempt, "RELEASE", held)
    elif can_settle(attempt):
        why = "non-payment is not certain"
    else:
        why = "another attempt is not resolved"
    if attempt.funds != "HELD" or attempt.outcome in ("PAID", "RETURNED"):
        return False
    draft.append(
        e.FundsReleaseDeferred(
            header=draft.header(attempt.number, actor=SYSTEM), amount=held, why=why
        )
    )
    return True


def _request_if_allowed(
    draft: Draft, attempt: Attempt, operation: OperationName, amount: Cents
) -> bool:
    if not may_request(attempt, operation):
        return False
    request(draft, attempt, operation, amount)
    return True
