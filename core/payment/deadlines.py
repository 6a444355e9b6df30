"""When a payment next needs a timer, and for what. Each deadline, when due, makes at least one
event.

A timer fails or expires a payment only before SENT; from SENT on it marks it overdue and enquires.
"""

from __future__ import annotations

from typing import Final

from core.payment.state import ENDED, Ask, Attempt, Payment, open_conflicts
from core.rules import Rules, Windows
from core.values import State

CREATED_WINDOW: Final = "CREATED_WINDOW"
AUTHORISED_WINDOW: Final = "AUTHORISED_WINDOW"
EXPIRES_AT: Final = "EXPIRES_AT"
SEND: Final = "SEND"
OVERDUE: Final = "OVERDUE"
ENQUIRY: Final = "ENQUIRY"
FUNDS_REPEAT: Final = "FUNDS_REPEAT"
KINDS: Final = (
    CREATED_WINDOW,
    AUTHORISED_WINDOW,
    EXPIRES_AT,
    SEND,
    OVERDUE,
    ENQUIRY,
    FUNDS_REPEAT,
)

_CREATED: Final = State.CREATED.value
_AUTHORISED: Final = State.AUTHORISED.value
_SENT: Final = State.SENT.value
_ACKNOWLEDGED: Final = State.ACKNOWLEDGED.value


def next_deadline(state: Payment, rules: Rules) -> tuple[int | None, str | None]:
    """(epoch ms, kind) of the earliest thing that time alone will bring, or (None, None)."""
    if state.parked:
        return None, None
    windows = rules.windows
    best: int | None = None
    kind: str | None = None
    now = state.state
    if now in (_SENT, _ACKNOWLEDGED):
        best, kind = _overdue_at(state.attempts[-1], windows), OVERDUE
        if best is None:
            kind = None
    elif now in (_CREATED, _AUTHORISED) and not open_conflicts(state):
        best, kind = _unsent(state, windows)
    for attempt in state.attempts:
        at = next_enquiry_at(attempt, windows)
        if at is not None and (best is None or at < best):
            best, kind = at, ENQUIRY
        for ask in attempt.asks:
            if ask.status != "DONE":
                at = next_repeat_at(ask, windows)
                if at is not None and (best is None or at < best):
                    best, kind = at, FUNDS_REPEAT
    return best, kind


def with_deadline(state: Payment, rules: Rules) -> Payment:
    """The state with its deadline set: what a decision ends with, and what a fold of the journal
    ends with.
    """
    new = state.__copy__()
    new.deadline, new.deadline_kind = next_deadline(state, rules)
    return new


def next_enquiry_at(attempt: Attempt, windows: Windows) -> int | None:
    """When the rail is asked (again) what became of the attempt; 0 is at once, None is never by
    itself.

    Asked for when overdue, and after an end that does not say for certain that nothing was paid.
    """
    if not attempt.sent_at:
        return None
    if attempt.state in ENDED:
        if attempt.certain or attempt.outcome is not None:
            return None
    elif attempt.overdue is None or attempt.certain:
        return None
    waits = windows.enquiry_waits_ms
    done = attempt.enquiry_round
    if done == 0:
        # A withdraw is under way: its answer may make the enquiry needless.
        return attempt.ended_at + waits[0] if attempt.withdraw else 0
    if done > len(waits):
        return None
    return attempt.enquiry_at + waits[done - 1]


def next_repeat_at(ask: Ask, windows: Windows) -> int | None:
    """When a silent or refused instruction to Deposits Core is given again, with the same
    reference.
    """
    if ask.status != "REQUESTED" and ask.status != "FAILED":
        return None
    if ask.operation == "HOLD":
        return None  # the windows end a payment that waits for its hold
    waits = windows.funds_repeat_waits_ms
    if ask.repeat >= len(waits):
        return None
    return ask.asked_at + waits[ask.repeat]


def send_allowed_at(state: Payment) -> int:
    """The earliest time at which nothing but time holds the current attempt back."""
    return max(state.attempts[-1].frozen_until or 0, state.requested_execution_time or 0)


def authorised_window_end(state: Payment, windows: Windows) -> int:
    """From the later of authorised (for a retry: the attempt's start) and
    requestedExecutionTime.
    """
    start = max(state.attempts[-1].started_at, state.requested_execution_time or 0)
    return start + windows.authorised_ms


def overdue_since(attempt: Attempt) -> int:
    return attempt.acknowledged_at if attempt.state == _ACKNOWLEDGED else attempt.sent_at


def _overdue_at(attempt: Attempt, windows: Windows) -> int | None:
    since = overdue_since(attempt)
    if attempt.overdue is None:
        return since + windows.overdue_attention_ms
    if attempt.overdue == "ATTENTION":
        return since + windows.overdue_escalation_ms
    return None


def _unsent(state: Payment, windows: Windows) -> tuple[int, str]:
    attempt = state.attempts[-1]
    if state.state == _CREATED:
        best, kind = state.created_at + windows.created_ms, CREATED_WINDOW
    else:
        best, kind = authorised_window_end(state, windows), AUTHORISED_WINDOW
    expires = state.expires_at
    if expires is not None and expires <= best:
        best, kind = expires, EXPIRES_AT
    if state.state == _AUTHORISED and attempt.funds == "HELD" and attempt.policy == "PASSED":
        at = send_allowed_at(state)
        if state.decided_at < at < best:
            best, kind = at, SEND
    return best, kind
