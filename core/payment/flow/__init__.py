"""Outstanding work, computed from the state alone: follow-up events until none is left."""

from __future__ import annotations

from typing import Final

from core.decider import Accepted
from core.payment import events as e
from core.payment.deadlines import (
    enquiries_used_up,
    next_deadline,
    next_enquiry_at,
    send_allowed_at,
)
from core.payment.draft import SYSTEM, Draft
from core.payment.flow.funds import funds_step
from core.payment.flow.instruct import instructions
from core.payment.funds import held_cents
from core.payment.report_table import FATE_UNKNOWN
from core.payment.state import ENDED, Attempt, money_outcome, open_conflicts
from core.values import MoneyOutcome, State, attempt_id, conflict_id, external_ref, policy_ref
from core.words import EnquiryReason, MessageKind

# One decision: at most 20 attempts, each with a few funds steps, an enquiry and a message.
FOLLOW_UPS_MAX: Final = 200

_CREATED: Final = State.CREATED.value
_AUTHORISED: Final = State.AUTHORISED.value
_SENT: Final = State.SENT.value
_FAILED: Final = State.FAILED.value


def finish(draft: Draft) -> Accepted:
    """The decision with all its follow-ups. At least one event must have been appended."""
    outstanding(draft)
    state = draft.state  # our own copy, made by the first event
    state.deadline, state.deadline_kind = next_deadline(state, draft.rules)
    return Accepted(
        events=draft.events,
        state=state,
        instructions=instructions(draft.before, draft.events, state),
    )


def outstanding(draft: Draft) -> None:
    """Append follow-up events until none is left. Raises RuntimeError if they do not end (a
    defect).
    """
    if draft.state.parked:
        return
    for _ in range(FOLLOW_UPS_MAX):
        if not _step(draft):
            return
    raise RuntimeError(f"follow-ups did not end after {FOLLOW_UPS_MAX}")


def _step(draft: Draft) -> bool:
    """Append at most one follow-up; True if one was appended."""
    state = draft.state
    attempt = state.attempts[-1]
    now = state.state
    if now == _CREATED:
        if attempt.funds == "HELD" and attempt.policy == "PASSED":
            _authorise(draft, attempt)
            return True
    elif now == _AUTHORISED and may_send(draft, attempt):
        send(draft, attempt)
        return True
    for each in state.attempts:
        if funds_step(draft, each):
            return True
        if each.overdue is not None or each.state in ENDED:
            at = next_enquiry_at(state, each, draft.rules.windows)
            if at is not None and at <= draft.now:
                ask_for_fate(draft, each)
                return True
    return now == _FAILED and not attempt.notified and _notify_end(draft, attempt)


def may_send(draft: Draft, attempt: Attempt) -> bool:
    """Whether the attempt may be sent (domain §1): the full amount is held, policy passed,
    requestedExecutionTime reached, no freeze, `expiresAt` not reached, no open conflict.
    """
    state = draft.state
    return (
        attempt.funds == "HELD"
        and held_cents(attempt) == state.amount
        and attempt.policy == "PASSED"
        and send_allowed_at(state) <= draft.now
        and (state.expires_at is None or draft.now < state.expires_at)
        and not open_conflicts(state)
    )


def _authorise(draft: Draft, attempt: Attempt) -> None:
    """Authorise and create the first attempt, always in one decision (ruling 12)."""
    state = draft.state
    number = attempt.number
    draft.append(
        e.PaymentAuthorised(
            header=draft.header(number, _AUTHORISED, actor=SYSTEM),
            attempt_id=attempt_id(number),
            policy_ref=policy_ref(draft.payment_id, number),
            hold_ref=attempt.hold_ref or "",
            amount=state.amount,
        )
    )
    draft.append(
        e.PaymentAttemptCreated(
            header=draft.header(number, _AUTHORISED, actor=SYSTEM),
            attempt_id=attempt_id(number),
            external_ref=external_ref(draft.payment_id, number),
            text=None,
        )
    )


def send(draft: Draft, attempt: Attempt) -> None:
    """Send the attempt to the rail. `submit_before` is submit_ms from now, and never later than
    the payment's own expiry.
    """
    state = draft.state
    submit_before = draft.now + draft.rules.windows.submit_ms
    if state.expires_at is not None and state.expires_at < submit_before:
        submit_before = state.expires_at
    draft.append(
        e.PaymentSentToRail(
            header=draft.header(attempt.number, _SENT, actor=SYSTEM),
            attempt_id=attempt_id(attempt.number),
            external_ref=external_ref(draft.payment_id, attempt.number),
            amount=state.amount,
            currency=state.currency,
            submit_before=submit_before,
        )
    )


def enquire(draft: Draft, attempt: Attempt, why: EnquiryReason) -> None:
    """Ask the rail for the attempt's status."""
    draft.append(
        e.RailEnquiryRequested(
            header=draft.header(attempt.number, actor=SYSTEM),
            external_ref=external_ref(draft.payment_id, attempt.number),
            why=why,
            number=attempt.enquiries + 1,
        )
    )


def ask_for_fate(draft: Draft, attempt: Attempt) -> None:
    """Enquire, or open a conflict for a person if all enquiries are used up (ruling 3)."""
    if enquiries_used_up(attempt, draft.rules.windows):
        fate_unknown(draft, attempt)
    else:
        enquire(draft, attempt, "overdue" if attempt.overdue else "uncertain")


def fate_unknown(draft: Draft, attempt: Attempt) -> None:
    state = draft.state
    draft.append(
        e.ReconciliationRequired(
            header=draft.header(attempt.number, actor=SYSTEM),
            conflict_id=conflict_id(state.conflicts_made + 1),
            kind=FATE_UNKNOWN,
            external_ref=external_ref(draft.payment_id, attempt.number),
            detail=f"asked {attempt.enquiries} times, the rail did not say what became of "
            f"{attempt_id(attempt.number)}, which is {attempt.state}",
        )
    )


def request_notification(draft: Draft, attempt: Attempt, kind: MessageKind) -> None:
    number = len(draft.state.notifications) + 1
    draft.append(
        e.CustomerNotificationRequested(
            header=draft.header(attempt.number, actor=SYSTEM),
            notification_id=f"ntf_{number:03d}",
            kind=kind,
        )
    )


def _notify_end(draft: Draft, attempt: Attempt) -> bool:
    """Notify the customer of a failure only if non-payment is certain (domain §11)."""
    if money_outcome(draft.state) != MoneyOutcome.NOT_PAID:
        return False
    if attempt.reason == "CANCELLED":
        kind: MessageKind = "cancelled"
    else:
        kind = "late_failure" if attempt.late_failure else "failed"
    request_notification(draft, attempt, kind)
    return True
