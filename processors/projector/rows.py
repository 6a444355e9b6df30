"""Makes the rows of a payment, its events, approvals, conflicts and identifiers from folded state.
Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.header import EventHeader
from core.payment import events as e
from core.payment import state as payment_state
from core.payment.state import CorruptHistory, Payment
from core.values import ApprovalId
from core.words import StateName
from readmodel import rows

REQUESTED: Final = "REQUESTED"


class JournalEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its bytes and where it is."""

    partition: int
    offset: int
    raw: bytes
    event: e.Event


class ProjectedPayment(msgspec.Struct):
    """A payment as folded so far, and its rows that hold more than the packed state."""

    payment: Payment
    head: bytes
    partition: int
    attention_since: int | None
    approvals: dict[str, rows.ApprovalRow]
    conflicts: dict[str, rows.ConflictRow]


def payment_row(projected: ProjectedPayment) -> rows.PaymentRow:
    """The payment's row."""
    payment = projected.payment
    return rows.PaymentRow(
        payment_intent_id=payment.payment_intent_id,
        source=payment.source,
        idempotency_key=payment.idempotency_key,
        state=payment.state,
        reason=payment.reason,
        money_outcome=payment_state.money_outcome(payment),
        amount=payment.amount,
        currency=payment.currency,
        attempt=len(payment.attempts),
        external_ref=payment_state.current_external_ref(payment),
        funds=payment.attempt.funds,
        sequence=payment.sequence,
        head_hash=projected.head,
        created_at=payment.created_at,
        decided_at=payment.decided_at,
        last_lifecycle_event=payment.last_lifecycle_event,
        overdue=payment.attempt.overdue,
        open_conflicts=payment_state.open_conflicts(payment),
        needs_attention=projected.attention_since is not None,
        attention_since=projected.attention_since,
        waiting_for_person=payment_state.waiting_for_person(payment),
        parked=payment.parked,
        end_to_end_id=payment.end_to_end_id,
        service=payment.service,
        uetr=payment.uetr,
        customer_id=payment.customer_id,
        rule_set=payment.rule_set,
        partition=projected.partition,
        snapshot=payment_state.pack(payment),
    )


def event_row(
    each: JournalEvent, header: EventHeader, from_state: StateName | None, digest: bytes
) -> rows.EventRow:
    """The event's row, its bytes included."""
    cause = header.cause
    return rows.EventRow(
        payment_intent_id=header.payment_intent_id,
        sequence=header.sequence,
        partition=each.partition,
        offset=each.offset,
        type=type(each.event).__name__,
        decided_at=header.decided_at,
        from_state=from_state,
        state=header.state_after,
        attempt=header.attempt,
        cause_topic=cause.topic,
        cause_partition=cause.partition,
        cause_offset=cause.offset,
        command_id=cause.command_id,
        approval_id=header.approval_id,
        hash=digest,
        raw=each.raw,
    )


def identifier_rows(event: e.Event) -> list[rows.IdentifierRow]:
    """The identifiers in this event by which its payment can be found."""
    fields = _NAMING[type(event)]
    if not fields:
        return []
    name = event.header.payment_intent_id
    named = ((kind, getattr(event, field)) for kind, field in fields)
    return [
        rows.IdentifierRow(kind=kind, value=value, payment_intent_id=name)
        for kind, value in named
        if value
    ]


def _fields_of(kind: type) -> tuple[tuple[str, str], ...]:
    """The fields of this event type that hold an identifier, as (identifier kind, field)."""
    if kind is e.PaymentAttemptCreated:
        return (("externalRef", "external_ref"),)
    fields = kind.__struct_fields__  # type: ignore[attr-defined]
    both = (("railMessageId", "rail_message_id"), ("transactionId", "transaction_id"))
    return tuple((name, field) for name, field in both if field in fields)


_NAMING: Final[dict[type, tuple[tuple[str, str], ...]]] = {
    kind: _fields_of(kind) for kind in e.EVENTS
}


def approval_row(
    projected: ProjectedPayment, event: e.Event, approval_id: ApprovalId
) -> rows.ApprovalRow:
    """The approval after `event`, whose state `evolve` has just worked out."""
    header = event.header
    if isinstance(event, e.OperatorActionRequested):
        return rows.ApprovalRow(
            payment_intent_id=header.payment_intent_id,
            approval_id=approval_id,
            action=event.action,
            attempt=header.attempt,
            phase=event.phase,
            requester=event.requester,
            text=event.text,
            status=REQUESTED,
            requested_at=header.decided_at,
            expires_at=event.expires_at,
            decided_at=None,
            decided_by=None,
            failure_reason=event.failure_reason,
            conflict_id=event.conflict_id,
            verdict=event.verdict,
            amount=event.amount,
        )
    before = projected.approvals.get(approval_id)
    now = next((a for a in projected.payment.approvals if a.id == approval_id), None)
    if before is None or now is None:
        raise CorruptHistory(f"no approval {approval_id} at sequence {header.sequence}")
    if isinstance(event, e.OperatorActionApproved | e.OperatorActionRejected):
        return msgspec.structs.replace(
            before,
            status=now.status,
            expires_at=now.expires_at,
            decided_at=header.decided_at,
            decided_by=event.decided_by,
        )
    return msgspec.structs.replace(before, status=now.status)


def conflict_row(
    projected: ProjectedPayment, event: e.ReconciliationRequired | e.ReconciliationResolved
) -> rows.ConflictRow:
    """The conflict after `event`."""
    header = event.header
    if isinstance(event, e.ReconciliationRequired):
        return rows.ConflictRow(
            payment_intent_id=header.payment_intent_id,
            conflict_id=event.conflict_id,
            kind=event.kind,
            attempt=header.attempt,
            detail=event.detail,
            opened_at=header.decided_at,
            resolved_at=None,
            verdict=None,
        )
    before = projected.conflicts.get(event.conflict_id)
    if before is None:
        raise CorruptHistory(f"no conflict {event.conflict_id} at sequence {header.sequence}")
    return msgspec.structs.replace(before, resolved_at=header.decided_at, verdict=event.verdict)
