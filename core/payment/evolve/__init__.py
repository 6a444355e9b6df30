"""State after an event. No rules: what is on the log happened. An impossible pair raises
CorruptHistory.

Copy on write: the state given is never changed, and shares what the event did not touch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from core.header import EventHeader
from core.payment import events as e
from core.payment.corrupt import CorruptHistory
from core.payment.evolve import funds, lifecycle
from core.payment.evolve import nonlifecycle as beside
from core.payment.remember import without_unnamed_ends
from core.payment.state import ENDS_KEPT, Payment
from core.transitions import LIFECYCLE_EVENT_NAMES, target_of

__all__ = ["CorruptHistory", "evolve"]


def evolve(state: Payment | None, event: e.Event) -> Payment:
    """The payment after `event`. Raises CorruptHistory for a gap, another payment's event or an
    impossible pair.
    """
    header = event.header
    kind = type(event)
    if state is None:
        if not isinstance(event, e.PaymentIntentCreated) or header.sequence != 1:
            raise CorruptHistory(f"{kind.__name__} {header.sequence} cannot begin a history")
        new = lifecycle.created(event, topic_mark(header.cause.topic))
        if header.state_after != new.state:
            raise CorruptHistory(f"the first event says {header.state_after}")
        return new
    if header.sequence != state.sequence + 1:
        raise CorruptHistory(f"sequence {header.sequence} after {state.sequence}")
    if header.payment_intent_id != state.payment_intent_id:
        raise CorruptHistory("an event of another payment")
    if header.decided_at < state.decided_at or header.rule_set < state.rule_set:
        raise CorruptHistory(f"time or rule set goes back at sequence {header.sequence}")

    new = state.__copy__()
    _begin_decision(new, header)
    new.sequence = header.sequence
    new.decided_at = header.decided_at
    new.rule_set = header.rule_set
    name = kind.__name__
    if name in LIFECYCLE_EVENT_NAMES:
        target = target_of(name, state.state, header.reason)
        if target is None:
            raise CorruptHistory(f"{name} in {state.state} at sequence {header.sequence}")
        new.state = target
        new.last_lifecycle_event = name
    _HANDLERS[kind](new, event, header)
    if new.state != header.state_after:
        raise CorruptHistory(f"sequence {header.sequence} says {header.state_after}")
    return new


@lru_cache(maxsize=64)
def topic_mark(topic: str) -> int:
    """A short stand-in for a topic's name, to tell one decision's events from the next one's."""
    return zlib.crc32(topic.encode())


def _begin_decision(new: Payment, header: EventHeader) -> None:
    """Events of one decision share their cause; where a remembered decision ends is written
    down.
    """
    cause = header.cause
    mark = topic_mark(cause.topic)
    if cause.offset == new.decision_offset and mark == new.decision_topic:
        return
    if new.decision_remembered:
        ends = {**new.ends, new.decision_from: new.sequence}
        new.ends = ends if len(ends) % ENDS_KEPT else without_unnamed_ends(new, ends)
    new.decision_from = header.sequence
    new.decision_topic = mark
    new.decision_offset = cause.offset
    new.decision_remembered = False


_Handler = Callable[[Payment, Any, EventHeader], None]

_HANDLERS: Final[dict[type, _Handler]] = {
    e.PaymentAuthorised: lifecycle.authorised,
    e.PaymentAttemptCreated: lifecycle.attempt_created,
    e.PaymentSentToRail: lifecycle.sent,
    e.PaymentAcknowledged: lifecycle.acknowledged,
    e.PaymentSettled: lifecycle.settled,
    e.PaymentFailed: lifecycle.failed,
    e.PaymentExpired: lifecycle.expired,
    e.PolicyChecked: beside.policy_checked,
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
    e.ProcessingSuspended: beside.suspended,
    e.ProcessingResumed: beside.resumed,
    e.OperatorActionRequested: beside.action_requested,
    e.OperatorActionReferred: beside.action_referred,
    e.OperatorActionApproved: beside.action_approved,
    e.OperatorActionRejected: beside.action_rejected,
    e.PaymentOverdue: beside.overdue,
    e.RailEnquiryRequested: beside.enquiry_requested,
    e.RailStatusReported: beside.status_reported,
    e.NonPaymentConfirmed: beside.non_payment_confirmed,
    e.RecallRequested: beside.recall_requested,
    e.RecallAnswered: beside.recall_answered,
    e.ReconciliationRequired: beside.reconciliation_required,
    e.ReconciliationResolved: beside.reconciliation_resolved,
    e.PaymentReturned: beside.returned,
    e.CustomerNotificationRequested: beside.notification_requested,
    e.CustomerNotified: beside.notified,
}
