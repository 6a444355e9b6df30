"""A deadline has passed and was read back. It acts only if the payment still waits for exactly that
deadline.
"""

from __future__ import annotations

from typing import assert_never

from core.decider import Context, Decision
from core.header import Actor
from core.payment import deadlines
from core.payment import events as e
from core.payment.commands import TimerDue
from core.payment.draft import SYSTEM, Draft, decided_at, draft_of
from core.payment.flow import ask_for_fate, finish, outstanding
from core.payment.flow.funds import repeat
from core.payment.funds import UNANSWERED
from core.payment.inputs.policy import fail_unsent
from core.payment.state import Attempt, FundsRequestStatus, Payment, was_never_submitted
from core.refusals import TIMER_STALE, no_effect
from core.values import FailureReason, State, attempt_id
from core.words import Overdue


def timer_due(state: Payment | None, command: TimerDue, context: Context) -> Decision:
    """Act on the deadline that the state holds, even if the rule set now in force would set another
    one (domain §8).
    """
    if state is None or command.deadline != state.deadline or command.kind != state.deadline_kind:
        return no_effect(TIMER_STALE)
    now = max(decided_at(state, context.now_ms), command.deadline)
    actor = Actor(kind="timer", id=command.kind)
    draft = draft_of(state, context, actor, command.header, now)
    attempt = state.attempts[-1]
    match command.kind:
        case "CREATED_WINDOW" | "AUTHORISED_WINDOW":
            fail_unsent(draft, attempt.number, FailureReason.TIMEOUT.value, "system")
        case "EXPIRES_AT":
            _expire(draft, attempt)
        case "OVERDUE":
            _overdue(draft, attempt, command.deadline)
        case "ENQUIRY":
            _enquire(draft)
        case "FUNDS_REPEAT":
            # If the timer is read after the window has passed, no hold is requested.
            if not _window_passed(draft, attempt):
                _repeat(draft)
        case "APPROVAL":
            _expire_approval(draft)
        case "SEND":
            outstanding(draft)  # the send waited only for its time
            if not draft.events:
                _expire(draft, attempt)  # read after the payment's own expiry
        case _:
            assert_never(command.kind)
    if not draft.events:
        return no_effect(TIMER_STALE)
    return finish(draft)


def _window_passed(draft: Draft, attempt: Attempt) -> bool:
    """End an unsent payment if its window has passed; True if it did."""
    ended = deadlines.window(draft.state, draft.rules.windows)
    if ended is None or ended[0] > draft.now:
        return False
    if ended[1] == deadlines.EXPIRES_AT:
        _expire(draft, attempt)
    else:
        fail_unsent(draft, attempt.number, FailureReason.TIMEOUT.value, "system")
    return True


def _expire(draft: Draft, attempt: Attempt) -> None:
    """FAILED(TIMEOUT) in CREATED, EXPIRED in AUTHORISED (ruling 12)."""
    if draft.state.state == State.CREATED:
        fail_unsent(draft, attempt.number, FailureReason.TIMEOUT.value, "system")
        return
    draft.append(
        e.PaymentExpired(
            header=draft.header(attempt.number, State.EXPIRED.value, reason=State.EXPIRED.value),
            attempt_id=attempt_id(attempt.number),
            source="system",
            non_payment_certain=was_never_submitted(attempt),
            text=None,
        )
    )


def _expire_approval(draft: Draft) -> None:
    """Nobody decided in time: end the request and its freeze."""
    for approval in draft.state.approvals:
        if (
            approval.status in deadlines.WAITS_FOR_DECISION
            and approval.expires_at == draft.state.deadline
        ):
            draft.append(
                e.OperatorActionRejected(
                    header=draft.header(approval.attempt, approval_id=approval.id, actor=SYSTEM),
                    action=approval.action,
                    decided_by=SYSTEM.id,
                    rules_evaluated=("approval expired",),
                    policy_version=f"rules {draft.rules.number}",
                    text="nobody decided within the time that a request has",
                )
            )
            return


def _overdue(draft: Draft, attempt: Attempt, deadline: int) -> None:
    """A timeout is not a failure on the NPP: mark it overdue, and let the flow enquire (ruling
    7).
    """
    level: Overdue = "ATTENTION" if attempt.overdue is None else "ESCALATED"
    draft.append(
        e.PaymentOverdue(
            header=draft.header(attempt.number),
            level=level,
            since=deadlines.overdue_since(attempt),
            deadline=deadline,
        )
    )


def _enquire(draft: Draft) -> None:
    windows = draft.rules.windows
    due: tuple[int, Attempt] | None = None
    for attempt in draft.state.attempts:
        at = deadlines.next_enquiry_at(draft.state, attempt, windows)
        if at is not None and (due is None or at < due[0]):
            due = at, attempt
    if due is not None:
        ask_for_fate(draft, due[1])


def _repeat(draft: Draft) -> None:
    windows = draft.rules.windows
    due: tuple[int, Attempt, FundsRequestStatus] | None = None
    for attempt in draft.state.attempts:
        for ask in attempt.funds_requests:
            if ask.status not in UNANSWERED:
                continue
            at = deadlines.next_repeat_at(attempt, ask, windows)
            if at is not None and (due is None or at < due[0]):
                due = at, attempt, ask
    if due is not None:
        repeat(draft, due[1], due[2])
