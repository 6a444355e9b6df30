"""State after an event. No rules: what is on the log has happened. An impossible pair raises
CorruptHistory.

`evolve` copies on write: the given state is never changed, and the new one shares what the event
did not touch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from core.header import EventHeader
from core.payment import events as e
from core.payment.evolve import funds, lifecycle, nonlifecycle
from core.payment.state import ENDS_KEPT, CorruptHistory, Payment
from core.transitions import LIFECYCLE_EVENT_NAMES, target_of

__all__ = ["CorruptHistory", "advance", "evolve"]


def evolve(state: Payment | None, event: e.Event) -> Payment:
    """The payment after `event`; `state` stays as it is. Raises CorruptHistory for a gap, another
    payment's event or an impossible pair.
    """
    if state is None:
        return _first(event)
    new = state.__copy__()
    advance(new, event)
    return new


def _first(event: e.Event) -> Payment:
    header: EventHeader = event.header
    if not isinstance(event, e.PaymentIntentCreated) or header.sequence != 1:
        raise CorruptHistory(f"{type(event).__name__} {header.sequence} cannot begin a history")
    new = lifecycle.created(event, topic_mark(header.cause.topic))
    if header.state_after != new.state:
        raise CorruptHistory(f"the first event says {header.state_after}")
    return new


def advance(state: Payment, event: e.Event) -> None:
    """Like `evolve`, but in place: for a state that only the caller holds, such as the copy made by
    the decision's first event. Raises CorruptHistory; the state is then unusable.
    """
    header: EventHeader = event.header
    kind = type(event)
    if header.sequence != state.sequence + 1:
        raise CorruptHistory(f"sequence {header.sequence} after {state.sequence}")
    if header.payment_intent_id != state.payment_intent_id:
        raise CorruptHistory("an event of another payment")
    if header.decided_at < state.decided_at or header.rule_set < state.rule_set:
        raise CorruptHistory(f"time or rule set goes back at sequence {header.sequence}")

    _begin_decision(state, header)
    state.sequence = header.sequence
    state.decided_at = header.decided_at
    state.rule_set = header.rule_set
    name = kind.__name__
    if name in LIFECYCLE_EVENT_NAMES:
        target = target_of(name, state.state, header.reason)
        if target is None:
            raise CorruptHistory(f"{name} in {state.state} at sequence {header.sequence}")
        state.state = target
        state.last_lifecycle_event = name
    _HANDLERS[kind](state, event, header)
    if state.state != header.state_after:
        raise CorruptHistory(f"sequence {header.sequence} says {header.state_after}")


@lru_cache(maxsize=64)
def topic_mark(topic: str) -> int:
    """A short substitute for a topic's name, to distinguish the events of successive decisions."""
    return zlib.crc32(topic.encode())


def _begin_decision(new: Payment, header: EventHeader) -> None:
    """Events of one decision share their cause; record where a remembered decision ends."""
    cause = header.cause
    mark = topic_mark(cause.topic)
    if cause.offset == new.decision_offset and mark == new.decision_topic:
        return
    if new.decision_remembered:
        ends = {**new.ends, new.decision_from: new.sequence}
        new.ends = ends if len(ends) % ENDS_KEPT else _without_unnamed_ends(new, ends)
    new.decision_from = header.sequence
    new.decision_topic = mark
    new.decision_offset = cause.offset
    new.decision_remembered = False


def _without_unnamed_ends(new: Payment, ends: dict[int, int]) -> dict[int, int]:
    """The ends of the decisions that the payment's state still refers to."""
    named = {1, *new.results.values(), *new.conflicts_unlisted_keys.values()}
    named.update(conflict.from_sequence for conflict in new.conflicts)
    named.update(note.from_sequence for note in new.notifications)
    for approval in new.approvals:
        named.update((approval.requested_from, approval.decided_from))
    for attempt in new.attempts:
        named.add(attempt.policy_from)
        named.update(report.from_sequence for report in attempt.reports)
        named.update(ask.answered_from for ask in attempt.funds_requests)
    return {first: last for first, last in ends.items() if first in named}


_Handler = Callable[[Payment, Any, EventHeader], None]

_HANDLERS: Final[dict[type, _Handler]] = {
    e.PaymentAuthorised: lifecycle.authorised,
    e.PaymentAttemptCreated: lifecycle.attempt_created,
    e.PaymentSentToRail: lifecycle.sent,
    e.PaymentAcknowledged: lifecycle.acknowledged,
    e.PaymentSettled: lifecycle.settled,
    e.PaymentFailed: lifecycle.failed,
    e.PaymentExpired: lifecycle.expired,
    e.PolicyChecked: nonlifecycle.policy_checked,
    e.FundsRequested: funds.requested,
    e.FundsRequestFailed: funds.request_failed,
    e.FundsHeld: funds.held,
    e.FundsHoldDeclined: funds.hold_declined,
    e.FundsCaptured: funds.captured,
    e.FundsReleased: funds.released,
    e.FundsDebitForced: funds.debit_forced,
    e.FundsReversed: funds.reversed_,
    e.FundsCredited: funds.credited,
    e.FundsReleaseDeferred: funds.release_deferred,
    e.FundsHoldTransferred: funds.hold_transferred,
    e.ProcessingSuspended: nonlifecycle.suspended,
    e.ProcessingResumed: nonlifecycle.resumed,
    e.OperatorActionRequested: nonlifecycle.action_requested,
    e.OperatorActionReferred: nonlifecycle.action_referred,
    e.OperatorActionApproved: nonlifecycle.action_approved,
    e.OperatorActionRejected: nonlifecycle.action_rejected,
    e.PaymentOverdue: nonlifecycle.overdue,
    e.RailEnquiryRequested: nonlifecycle.enquiry_requested,
    e.RailStatusReported: nonlifecycle.status_reported,
    e.NonPaymentConfirmed: nonlifecycle.non_payment_confirmed,
    e.RecallRequested: nonlifecycle.recall_requested,
    e.RecallAnswered: nonlifecycle.recall_answered,
    e.ReconciliationRequired: nonlifecycle.reconciliation_required,
    e.ReconciliationResolved: nonlifecycle.reconciliation_resolved,
    e.PaymentReturned: nonlifecycle.returned,
    e.CustomerNotificationRequested: nonlifecycle.notification_requested,
    e.CustomerNotified: nonlifecycle.notified,
}
