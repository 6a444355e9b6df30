"""What a payment waits for, why it needs attention, and which actions are possible, from its state.
Hints only: the engine decides.
"""

from __future__ import annotations

from typing import Final

from core.payment.deadlines import ENQUIRY, FUNDS_REPEAT, OVERDUE
from core.payment.funds import (
    UNANSWERED,
    is_forced,
    is_silent,
    needs_debit_approval,
    waits_for_repeat,
)
from core.payment.operator.actions import (
    CANCEL_STATES,
    EXPIRE_STATES,
    MARK_FAILED_STATES,
    RETRY_STATES,
)
from core.payment.state import (
    ENDED,
    Attempt,
    Payment,
    certain_for_all,
    open_conflicts,
    resend_rejected,
)

Why = str

PARKED: Final = "PARKED"
CONFLICT: Final = "CONFLICT_OPEN"
APPROVAL: Final = "APPROVAL_WAITS"
OVERDUE_WHY: Final = {"ATTENTION": "OVERDUE", "ESCALATED": "OVERDUE_ESCALATED"}
RESEND_REJECTED: Final = "RESEND_REJECTED"
SECOND_SETTLEMENT: Final = "SECOND_SETTLEMENT"
FUNDS_REFUSED: Final = "FUNDS_REFUSED"
FUNDS_FORCED: Final = "FUNDS_FORCED"
FUNDS_SILENT: Final = "FUNDS_SILENT"
NOBODY_ANSWERS: Final = "NO_ANSWER_LEFT"

# What each kind of deadline waits for.
_DEADLINES: Final = {OVERDUE: "RAIL", ENQUIRY: "RAIL", FUNDS_REPEAT: "DEPOSITS"}


def why_attention(state: Payment, now_ms: int) -> list[Why]:
    """Why the payment needs attention, the most serious reason first. Call it only for one that
    does: without any other reason it is NO_ANSWER_LEFT.
    """
    found: list[Why] = []
    if state.parked:
        found.append(PARKED)
    if open_conflicts(state):
        found.append(CONFLICT)
    for attempt in state.attempts:
        if needs_debit_approval(state, attempt):
            found.append(SECOND_SETTLEMENT)
        found.extend(_of_attempt(attempt))
    if _referred(state, now_ms):
        found.append(APPROVAL)
    return list(dict.fromkeys(found)) or [NOBODY_ANSWERS]


def waiting_for(state: Payment, now_ms: int) -> str | None:
    """A person, the rail, Deposits Core, the policy or a time; None when nothing is outstanding."""
    if state.parked:
        return "ENGINEERING"
    if open_conflicts(state):
        return "RECONCILIATION"
    if _referred(state, now_ms):
        return "APPROVER"
    attempt = state.attempts[-1]
    if attempt.frozen_until is not None and attempt.frozen_until > now_ms and not attempt.sent_at:
        return "APPROVAL"
    if state.state not in ENDED and attempt.policy == "REQUESTED":
        return "POLICY"
    if any(ask.status in UNANSWERED for each in state.attempts for ask in each.funds_requests):
        return "DEPOSITS"
    if any(needs_debit_approval(state, each) for each in state.attempts):
        return "DEBIT_DECISION"
    if state.deadline_kind is None:
        return None
    return _DEADLINES.get(state.deadline_kind, "TIME")


def next_actions(state: Payment) -> list[str]:
    """Actions that this state allows; most of them need an approval."""
    if state.parked:
        return ["RESUME_PROCESSING"]
    if open_conflicts(state):
        return ["RESOLVE_RECONCILIATION"]
    found = []
    last = state.attempts[-1]
    paid = any(attempt.outcome in ("PAID", "RETURNED") for attempt in state.attempts)
    if state.state in RETRY_STATES and state.authorised_at and last.retry_safe and not paid:
        found.append("RETRY" if certain_for_all(state) else "RETRY_UNCERTAIN")
    if state.state in CANCEL_STATES:
        found.append("CANCEL")
    if state.state in MARK_FAILED_STATES:
        found.append("MARK_FAILED")
    if state.state in EXPIRE_STATES:
        found.append("EXPIRE")
    if any(attempt.funds == "RELEASE_DEFERRED" for attempt in state.attempts):
        found.append("RELEASE_EARLY")
    if any(attempt.funds == "CAPTURED" for attempt in state.attempts):
        found.append("REVERSE")
    if any(needs_debit_approval(state, attempt) for attempt in state.attempts):
        found.append("DEBIT_AGAIN")
    if any(waits_for_repeat(attempt) is not None for attempt in state.attempts):
        found.append("REPEAT_FUNDS_REQUEST")
    return found


def _of_attempt(attempt: Attempt) -> list[Why]:
    found: list[Why] = []
    if attempt.overdue is not None:
        found.append(OVERDUE_WHY.get(attempt.overdue, "OVERDUE"))
    if resend_rejected(attempt):
        found.append(RESEND_REJECTED)
    if waits_for_repeat(attempt) is not None:
        found.append(FUNDS_REFUSED)
    if any(is_forced(ask) for ask in attempt.funds_requests):
        found.append(FUNDS_FORCED)
    if any(is_silent(ask) for ask in attempt.funds_requests):
        found.append(FUNDS_SILENT)
    return found


def _referred(state: Payment, now_ms: int) -> bool:
    return any(a.status == "REFERRED" and a.expires_at > now_ms for a in state.approvals)
