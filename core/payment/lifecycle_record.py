"""The record of a payment on the compacted topic."""

from __future__ import annotations

from core.payment import state as payment_state
from core.payment.state import Payment
from core.records import STATE_VERSION, PaymentLifecycle


def lifecycle_record(payment: Payment, head: bytes) -> PaymentLifecycle:
    """The compacted topic's record of a payment: public fields by name, and the packed state."""
    rests = payment_state.at_rest(payment)
    conflicts = payment_state.open_conflicts(payment)
    return PaymentLifecycle(
        at_rest=rests,
        deadline=payment.deadline,
        payment_intent_id=payment.payment_intent_id,
        state_version=STATE_VERSION,
        sequence=payment.sequence,
        head_hash=head,
        last_lifecycle_event=payment.last_lifecycle_event,
        state=payment.state,
        money_outcome=payment_state.money_outcome(payment),
        reason=payment.reason,
        attempt=len(payment.attempts),
        external_ref=payment_state.current_external_ref(payment),
        amount=payment.amount,
        currency=payment.currency,
        funds=payment.attempt.funds,
        open_conflicts=conflicts,
        overdue=payment.attempt.overdue,
        waiting_for_person=payment_state.waits_for_person(payment, conflicts, rests),
        rule_set=payment.rule_set,
        decided_at=payment.decided_at,
        snapshot=payment_state.pack(payment),
    )
