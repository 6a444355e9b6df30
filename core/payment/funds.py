"""One attempt's money: sums and predicates, from the state alone (domain §3).

    held      = what Deposits Core holds for the attempt and has neither captured nor released
    taken     = captured + debited by force - given back (reversed, credited)
    borne     = what the customer owes for the attempt: what the rail settled, less what it returned
                or a person waived (ruling 13)
    resolved  = certainly unpaid, or paid and its money taken, or returned and given back

The invariant behind every decision: taken + held never exceeds what has settled plus what may still
settle. All amounts are integer cents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.values import NO_CENTS, Cents

if TYPE_CHECKING:
    from core.payment.state import Attempt, FundsRequestStatus, Payment

UNANSWERED: Final = frozenset({"REQUESTED", "FAILED"})  # FAILED: no readable answer yet
_HOLDING: Final = frozenset({"HOLD", "RELEASE"})
_TAKING: Final = frozenset({"CAPTURE", "DEBIT_FORCED"})
REQUESTS_MAX: Final = 99  # of one operation for one attempt: its number has two digits
_ENDED: Final = frozenset({"FAILED", "EXPIRED"})
_UNSENT: Final = frozenset({"CREATED", "AUTHORISED"})


def held_cents(attempt: Attempt) -> Cents:
    """What is still held for the attempt."""
    return Cents(attempt.held - attempt.captured - attempt.released)


def taken_cents(attempt: Attempt) -> Cents:
    """What the customer has paid so far for this attempt."""
    return Cents(attempt.captured + attempt.debited - attempt.reversed - attempt.credited)


def returned_cents(attempt: Attempt) -> Cents:
    """What the rail has returned: the sum over return ids, or the highest total reported (ruling
    13).
    """
    return max(attempt.returns_sum, attempt.returns_total)


def borne_cents(attempt: Attempt) -> Cents:
    """What the customer bears for the attempt (ruling 13)."""
    if attempt.outcome != "PAID" and attempt.outcome != "RETURNED":
        return NO_CENTS
    return Cents(max(0, attempt.settled - max(returned_cents(attempt), attempt.waived)))


def due_cents(attempt: Attempt) -> Cents:
    """The amount still to be taken from the customer; negative: to be given back."""
    return Cents(borne_cents(attempt) - taken_cents(attempt))


def unanswered(attempt: Attempt) -> FundsRequestStatus | None:
    """The first request that waits for Deposits Core's answer."""
    for ask in attempt.funds_requests:
        if ask.status in UNANSWERED:
            return ask
    return None


def blocking(attempt: Attempt) -> FundsRequestStatus | None:
    """The first unanswered request that the next one must wait for. A release by name of a hold
    that certainly does not exist does not block: there is no hold to release.
    """
    for ask in attempt.funds_requests:
        if ask.status in UNANSWERED and not (
            ask.hold_number and held_cents(attempt) <= 0 and _not_made(attempt, ask.hold_number)
        ):
            return ask
    return None


def _not_made(attempt: Attempt, hold_number: int) -> bool:
    return any(
        ask.operation == "HOLD"
        and ask.number == hold_number
        and ask.status in ("DECLINED", "REFUSED")
        for ask in attempt.funds_requests
    )


def latest(attempt: Attempt, operation: str) -> FundsRequestStatus | None:
    """The latest request of one operation."""
    found = None
    for ask in attempt.funds_requests:
        if ask.operation == operation:
            found = ask
    return found


def may_request(attempt: Attempt, operation: str) -> bool:
    """Whether the flow may make the operation's next request: a refused one waits for a person, who
    can repeat it. A release by name is different: once the hold is known to exist, it is released
    by its own reference.
    """
    last = latest(attempt, operation)
    if last is None:
        return True
    if last.status == "REFUSED" and not (last.hold_number and held_cents(attempt) > 0):
        return False
    return last.number < REQUESTS_MAX


def can_settle(attempt: Attempt) -> bool:
    """Whether the rail may still settle the attempt: it is in progress, or ended uncertainly."""
    if attempt.outcome is not None:
        return False
    return attempt.state not in _ENDED or not attempt.certain


def needs_debit_approval(state: Payment, attempt: Attempt) -> bool:
    """Whether this is a second settlement whose debit no person has approved (ruling 5).

    If the first settlement is denied, the second settlement whose money was requested first needs
    no approval; if none was requested, the lowest attempt.
    """
    if not attempt.second_settlement or attempt.debit_approved or attempt.outcome != "PAID":
        return False
    was_asked = _was_taking_asked(attempt)
    for other in state.attempts:
        if other.outcome == "PAID" and other.number != attempt.number:
            is_first = not other.second_settlement or other.debit_approved
            if is_first or _was_taking_asked(other):
                return True
            if other.number < attempt.number and not was_asked:
                return True
    return False


def _was_taking_asked(attempt: Attempt) -> bool:
    return any(ask.operation in _TAKING for ask in attempt.funds_requests)


def is_resolved(attempt: Attempt) -> bool:
    """Whether nothing more will be taken or given back for the attempt, whatever the rail
    reports.
    """
    outcome = attempt.outcome
    if outcome is None:
        return attempt.state in _ENDED and attempt.certain
    if any(a.status in UNANSWERED and a.operation not in _HOLDING for a in attempt.funds_requests):
        return False
    return due_cents(attempt) == 0


def is_captured(state: Payment) -> bool:
    """Whether a capture was made or requested for any attempt: once per payment. A refused one does
    not count.
    """
    for attempt in state.attempts:
        last = latest(attempt, "CAPTURE")
        if attempt.captured or (last is not None and last.status != "REFUSED"):
            return True
    return False


def serves_itself(attempt: Attempt) -> bool:
    """Whether the attempt's own settlement needs its hold: it may settle, or its money is not taken
    yet. Money to be given back needs no hold.
    """
    return can_settle(attempt) or due_cents(attempt) > 0


def holds_for_nothing(state: Payment, attempt: Attempt) -> bool:
    """Whether another attempt still has a hold that no settlement needs. That hold ends before this
    attempt's money is debited, or the customer's money would be held and debited at once.
    """
    return any(
        held_cents(other) > 0 and not serves_itself(other)
        for other in state.attempts
        if other.number != attempt.number
    )


def can_release(state: Payment, attempt: Attempt) -> bool:
    """Whether no settlement needs the attempt's hold: its own does not, and every other attempt is
    resolved or needs no hold, or the payment was already captured.
    """
    if serves_itself(attempt):
        return False
    if is_captured(state):
        return True
    return all(
        other.number == attempt.number or is_resolved(other) or _needs_no_hold(state, other)
        for other in state.attempts
    )


def _needs_no_hold(state: Payment, attempt: Attempt) -> bool:
    """Whether the attempt has its own hold, or a forced debit that a person approves."""
    return has_own_hold(attempt) or needs_debit_approval(state, attempt)


def has_own_hold(attempt: Attempt) -> bool:
    """Whether the attempt has, or has requested, its own hold: it needs no other attempt's."""
    if held_cents(attempt) > 0:
        return True
    return any(a.operation == "HOLD" and a.status in UNANSWERED for a in attempt.funds_requests)


def waits_for_repeat(attempt: Attempt) -> FundsRequestStatus | None:
    """A request that Deposits Core refused although it is still needed: a person can repeat it."""
    for ask in attempt.funds_requests:
        if ask.status == "REFUSED":
            break
    else:
        return None  # the usual case, found cheaply
    due = due_cents(attempt)
    needed = {
        "HOLD": attempt.state in _UNSENT and not attempt.held,
        "CAPTURE": due > 0,
        "DEBIT_FORCED": due > 0,
        "REVERSE": due < 0,
        "CREDIT": due < 0,
        "RELEASE": held_cents(attempt) > 0,
    }
    for operation, is_needed in needed.items():
        last = latest(attempt, operation) if is_needed else None
        if last is not None and last.status == "REFUSED":
            return last
    return None


def is_silent(ask: FundsRequestStatus) -> bool:
    """Whether Deposits Core's answer is overdue: the adapter got none within its tries, or the
    request was repeated because none came within the rules' first wait.
    """
    return ask.status == "FAILED" or (ask.status == "REQUESTED" and ask.repeat > 0)


def is_forced(ask: FundsRequestStatus) -> bool:
    """Whether a forced debit is in progress: it raises attention even if nothing is wrong."""
    return ask.operation == "DEBIT_FORCED" and ask.status in UNANSWERED
