"""When a payment next needs a timer, and for what. Each deadline, when due, makes at least one
event.

A timer fails or expires a payment only before SENT; from SENT on it marks it overdue and enquires
(rulings 7 and 12). All times are epoch milliseconds.
"""

from __future__ import annotations

from typing import Final

from core.payment.funds import UNANSWERED
from core.payment.state import ENDED, UNSENT, Attempt, FundsRequestStatus, Payment, open_conflicts
from core.rules import Rules, Windows
from core.values import State
from core.words import DeadlineKind

CREATED_WINDOW: Final = "CREATED_WINDOW"
AUTHORISED_WINDOW: Final = "AUTHORISED_WINDOW"
EXPIRES_AT: Final = "EXPIRES_AT"
SEND: Final = "SEND"
OVERDUE: Final = "OVERDUE"
ENQUIRY: Final = "ENQUIRY"
FUNDS_REPEAT: Final = "FUNDS_REPEAT"
APPROVAL: Final = "APPROVAL"
KINDS: Final[tuple[DeadlineKind, ...]] = (
    CREATED_WINDOW,
    AUTHORISED_WINDOW,
    EXPIRES_AT,
    SEND,
    OVERDUE,
    ENQUIRY,
    FUNDS_REPEAT,
    APPROVAL,
)
WAITS_FOR_DECISION: Final = frozenset({"REQUESTED", "REFERRED"})

_CREATED: Final = State.CREATED.value
_AUTHORISED: Final = State.AUTHORISED.value
_SENT: Final = State.SENT.value
_ACKNOWLEDGED: Final = State.ACKNOWLEDGED.value


def next_deadline(state: Payment, rules: Rules) -> tuple[int | None, DeadlineKind | None]:
    """(epoch ms, kind) of the earliest deadline, or (None, None)."""
    if state.parked:
        return None, None
    windows = rules.windows
    best: int | None = None
    kind: DeadlineKind | None = None
    now = state.state
    if now in (_SENT, _ACKNOWLEDGED):
        best, kind = _overdue_at(state.attempts[-1], windows), OVERDUE
        if best is None:
            kind = None
    else:
        unsent = _unsent(state, windows)
        if unsent is not None:
            best, kind = unsent
    for attempt in state.attempts:
        at = next_enquiry_at(state, attempt, windows)
        if at is not None and (best is None or at < best):
            best, kind = at, ENQUIRY
        for ask in attempt.funds_requests:
            if ask.status in UNANSWERED:
                at = next_repeat_at(attempt, ask, windows)
                if at is not None and (best is None or at < best):
                    best, kind = at, FUNDS_REPEAT
    for approval in state.approvals:
        if approval.status in WAITS_FOR_DECISION and (best is None or approval.expires_at < best):
            best, kind = approval.expires_at, APPROVAL
    return best, kind


def with_deadline(state: Payment, rules: Rules) -> Payment:
    """The state with its deadline set: what a decision ends with, and what a fold of the journal
    ends with.
    """
    new = state.__copy__()
    new.deadline, new.deadline_kind = next_deadline(state, rules)
    return new


def next_enquiry_at(state: Payment, attempt: Attempt, windows: Windows) -> int | None:
    """When the next enquiry about the attempt is due: 0 means at once, None that no timer enquires.
    After the last enquiry, a conflict for a person is due instead (ruling 3).

    Enquiries start when the attempt is overdue, and after an end that does not make non-payment
    certain.
    """
    if not attempt.sent_at and not attempt.rail_had_it:
        return None
    if attempt.state in ENDED:
        if attempt.certain or attempt.outcome is not None:
            return None
    elif attempt.overdue is None or attempt.certain:
        return None
    waits = windows.enquiry_waits_ms
    done = attempt.enquiry_round
    if done == 0:
        # A withdrawal is in progress: its answer may make the enquiry unnecessary.
        return attempt.ended_at + waits[0] if attempt.withdraw else 0
    if done > len(waits) and _is_contradicted(state, attempt):
        return None  # already with a person
    return attempt.enquiry_at + waits[min(done, len(waits)) - 1]


def enquiries_used_up(attempt: Attempt, windows: Windows) -> bool:
    """Whether all enquiries allowed since the last change have been made (ruling 3)."""
    return attempt.enquiry_round > len(windows.enquiry_waits_ms)


def _is_contradicted(state: Payment, attempt: Attempt) -> bool:
    if state.conflicts_unlisted:
        return True
    return any(c.verdict is None and c.attempt == attempt.number for c in state.conflicts)


def next_repeat_at(attempt: Attempt, ask: FundsRequestStatus, windows: Windows) -> int | None:
    """When an unanswered request to Deposits Core is repeated, with the same reference, growing
    pauses and no limit on tries (domain §3). A HOLD only while its attempt waits for it and
    before its notAfter, else None.
    """
    waits = windows.funds_repeat_waits_ms
    wait = waits[min(ask.repeat, len(waits) - 1)]
    if ask.hold_number:
        # From then on Deposits Core can say finally that the hold never existed.
        final = ask.not_after + windows.never_held_margin_ms
        if ask.asked_at < final:
            wait = min(wait, final - ask.asked_at)
    if ask.operation == "HOLD":
        if attempt.state not in UNSENT or attempt.outcome is not None:
            return None
        at = ask.asked_at + min(wait, windows.hold_repeat_ms_max)
        return at if at < ask.not_after else None  # later it would never be carried out
    return ask.asked_at + wait


def send_allowed_at(state: Payment) -> int:
    """The earliest time at which the current attempt may be sent."""
    return max(state.attempts[-1].frozen_until or 0, state.requested_execution_time or 0)


def authorised_window_end(state: Payment, windows: Windows) -> int:
    """The end of the window of AUTHORISED. It starts at the later of authorisation (for a retry:
    the attempt's start) and requestedExecutionTime (ruling 12).
    """
    start = max(state.attempts[-1].started_at, state.requested_execution_time or 0)
    return _not_while_frozen(state, start + windows.authorised_ms, windows)


def hold_window_end(state: Payment, windows: Windows) -> int:
    """Until when a hold can serve the current attempt: its window, or the payment's own expiry."""
    end = _window_end(state, windows)
    return end if state.expires_at is None else min(end, state.expires_at)


def _window_end(state: Payment, windows: Windows) -> int:
    if state.state == _CREATED:
        return _not_while_frozen(state, state.created_at + windows.created_ms, windows)
    return authorised_window_end(state, windows)


def _not_while_frozen(state: Payment, end: int, windows: Windows) -> int:
    """While a send is frozen no window ends; the window ends submit_ms after the freeze at the
    earliest (ruling 8).
    """
    frozen_until = state.attempts[-1].frozen_until
    return end if frozen_until is None else max(end, frozen_until + windows.submit_ms)


def overdue_since(attempt: Attempt) -> int:
    return attempt.acknowledged_at if attempt.state == _ACKNOWLEDGED else attempt.sent_at


def _overdue_at(attempt: Attempt, windows: Windows) -> int | None:
    since = overdue_since(attempt)
    if attempt.overdue is None:
        return since + windows.overdue_attention_ms
    if attempt.overdue == "ATTENTION":
        return since + windows.overdue_escalation_ms
    return None


def window(state: Payment, windows: Windows) -> tuple[int, DeadlineKind] | None:
    """Until when an unsent payment waits, and the kind of that deadline; None during a conflict."""
    if state.state not in UNSENT or open_conflicts(state):
        return None
    best = _window_end(state, windows)
    kind: DeadlineKind = CREATED_WINDOW if state.state == _CREATED else AUTHORISED_WINDOW
    expires = state.expires_at
    if expires is not None and expires <= best:
        best, kind = expires, EXPIRES_AT
    return best, kind


def _unsent(state: Payment, windows: Windows) -> tuple[int, DeadlineKind] | None:
    ends = window(state, windows)
    if ends is None:
        return None
    best, kind = ends
    attempt = state.attempts[-1]
    if state.state == _AUTHORISED and attempt.funds == "HELD" and attempt.policy == "PASSED":
        at = send_allowed_at(state)
        if state.decided_at < at < best:
            best, kind = at, SEND
    return best, kind
