"""The views of a payment, from its row and its packed state.

Personal data is left out (`masked`) for roles that may not see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api.edge.views import (
    PartiesView,
    VerdictView,
    View,
    amount_text,
    approval_status,
    iso,
    iso_or_none,
    parties,
    verdicts,
)
from api.payments.views_hints import Why, next_actions, waiting_for, why_attention
from core.dispositions import Disposition
from core.payment import state as states
from core.payment.funds import held_cents
from core.values import attempt_id, external_ref
from engine.tracing import trace_id
from readmodel.rows import ApprovalRow, PaymentRow
from schemas.codec.parties import open_parties


class FundsView(View):
    """Funds of one attempt in cents. `state` is the sub-state; `held` what Deposits Core still
    holds; `release_deferred`: the hold stays until non-payment is certain.
    """

    state: str
    held: int
    captured: int
    released: int
    debited: int
    reversed: int
    credited: int
    is_held: bool
    is_released: bool
    release_deferred: bool


class AttemptView(View):
    """One way of carrying the payment out. `certain` says whether non-payment is certain, null
    while the attempt has not ended.
    """

    attempt_id: str
    external_ref: str | None
    state: str
    reason: str | None
    started_at: str
    sent_at: str | None
    acknowledged_at: str | None
    ended_at: str | None
    ended_by: str | None
    retry_safe: bool | None
    certain: bool | None
    late_failure: bool
    outcome: str | None
    overdue: str | None
    send_frozen_until: str | None
    policy: str
    funds: FundsView


class OpenConflictView(View):
    """An open conflict of the payment; until it is resolved nothing is sent. `verdicts` are those
    that fit, each with its consequence; any other is refused VERDICT_NOT_APPLICABLE.
    """

    conflict_id: str
    kind: str
    attempt_id: str
    amount: int | None
    currency: str | None
    amount_text: str | None
    verdicts: list[VerdictView]


class RulingView(View):
    """A ruling of two people on a journal record that the rules do not produce. FOREIGN: the record
    is not an event of the payment and is skipped. TAKEN_AS_RECORDED: it stays, not decided by the
    rules.
    """

    ruling: str
    partition: int
    offset: int
    event_hash: str | None
    sequence: int
    event_type: str
    reason: str
    requested_by: str
    requested_at: str
    confirmed_by: str
    confirmed_at: str


def rulings(found: Iterable[Disposition], *, personal: bool) -> list[RulingView]:
    """The rulings, in the order given; the hash only for callers who may see personal data."""
    return [
        RulingView(
            ruling=each.ruling,
            partition=each.request.partition,
            offset=each.request.offset,
            event_hash=each.request.event_hash.hex() if personal else None,
            sequence=each.request.sequence,
            event_type=each.request.event_type,
            reason=each.request.reason,
            requested_by=each.request.actor,
            requested_at=iso(each.request.requested_at),
            confirmed_by=each.confirmed_by,
            confirmed_at=iso(each.confirmed_at),
        )
        for each in found
    ]


class PaymentApprovalView(View):
    """An approval of the payment; `phase` is the one that it is bound to."""

    approval_id: str
    action: str
    status: str
    requester: str
    attempt_id: str
    phase: str
    expires_at: str
    decided_by: str | None


class WaitingView(View):
    """What the payment waits for, an event or a person, and until when at most."""

    what: str
    until: str | None


class AttentionView(View):
    """Why operators should look, and since when."""

    why: list[Why]
    since: str | None


class PaymentBrief(View):
    """A payment in a list."""

    payment_intent_id: str
    source: str
    idempotency_key: str
    state: str
    reason: str | None
    money_outcome: str
    amount: int
    currency: str
    amount_text: str | None
    attempt_id: str
    external_ref: str | None
    funds: str
    overdue: str | None
    open_conflicts: int
    needs_attention: bool
    attention_since: str | None
    waiting_for_person: bool
    parked: bool
    end_to_end_id: str
    service: str
    uetr: str | None
    created_at: str
    last_event_at: str
    last_lifecycle_event: str
    sequence: int


class PaymentView(View):
    """A payment's state after the event `sequence`. `state` FAILED does not say that nothing
    was paid: `moneyOutcome` does. `verifiedThrough` is the last sequence that the verifier has
    decided again and signed; what follows is not proven yet.
    """

    payment_intent_id: str
    source: str
    idempotency_key: str
    state: str
    reason: str | None
    money_outcome: str
    amount: int
    currency: str
    amount_text: str | None
    attempt_id: str
    external_ref: str | None
    funds: str
    funds_held: bool
    funds_released: bool
    funds_release_deferred: bool
    created_at: str
    last_event_at: str
    last_lifecycle_event: str
    sequence: int
    verified_through: int
    head_hash: str | None
    rule_set: int
    overdue: str | None
    needs_attention: bool
    attention: AttentionView | None
    waiting_for_person: bool
    waiting_for: WaitingView | None
    parked: bool
    open_conflicts: int
    conflicts: list[OpenConflictView]
    approvals: list[PaymentApprovalView]
    attempts: list[AttemptView]
    rulings: list[RulingView]
    next_actions: list[str]
    end_to_end_id: str
    service: str
    uetr: str | None
    requested_execution_time: str | None
    expires_at: str | None
    customer_id: str | None
    parties: PartiesView | None
    masked: bool
    trace_id: str


def brief(row: PaymentRow) -> PaymentBrief:
    """A list's item."""
    return PaymentBrief.of(
        row,
        amount_text=amount_text(row.amount, row.currency),
        attempt_id=attempt_id(row.attempt),
        attention_since=iso_or_none(row.attention_since),
        created_at=iso(row.created_at),
        last_event_at=iso(row.decided_at),
    )


def payment(
    row: PaymentRow,
    found: states.Payment,
    approvals: Mapping[str, ApprovalRow],
    *,
    now_ms: int,
    personal: bool,
    verified_through: int,
    ruled: Sequence[Disposition],
) -> PaymentView:
    """The whole payment, `found` in its snapshot; `approvals` by id have the requester and the
    decider. `personal` says whether the caller may see names and accounts.
    """
    current = found.attempts[-1]
    return PaymentView.of(
        row,
        amount_text=amount_text(row.amount, row.currency),
        attempt_id=attempt_id(current.number),
        funds_held=held_cents(current) > 0,
        funds_released=current.funds == "RELEASED",
        funds_release_deferred=current.funds == "RELEASE_DEFERRED",
        verified_through=min(verified_through, row.sequence),
        created_at=iso(row.created_at),
        last_event_at=iso(row.decided_at),
        head_hash=row.head_hash.hex() if personal else None,
        attention=_attention(row, found, now_ms),
        waiting_for=_waiting(found, now_ms),
        conflicts=_conflicts(found),
        approvals=[
            _approval(each, approvals[each.id], now_ms)
            for each in found.approvals
            if each.id in approvals
        ],
        attempts=[_attempt(row, each) for each in found.attempts],
        rulings=rulings(ruled, personal=personal),
        next_actions=next_actions(found),
        requested_execution_time=iso_or_none(found.requested_execution_time),
        expires_at=iso_or_none(found.expires_at),
        customer_id=found.customer_id if personal else None,
        parties=parties(open_parties(found.parties)) if personal else None,
        masked=not personal,
        trace_id=trace_id(found.traceparent, row.payment_intent_id),
    )


def _attention(row: PaymentRow, found: states.Payment, now_ms: int) -> AttentionView | None:
    if not row.needs_attention:
        return None
    return AttentionView(why_attention(found, now_ms), iso_or_none(row.attention_since))


def _waiting(found: states.Payment, now_ms: int) -> WaitingView | None:
    what = waiting_for(found, now_ms)
    return None if what is None else WaitingView(what, iso_or_none(found.deadline))


def _conflicts(found: states.Payment) -> list[OpenConflictView]:
    return [
        OpenConflictView(
            each.id,
            each.kind,
            attempt_id(each.attempt),
            each.amount,
            each.currency,
            amount_text(each.amount, each.currency),
            verdicts(found, each),
        )
        for each in found.conflicts
        if each.verdict is None
    ]


def _approval(each: states.Approval, row: ApprovalRow, now_ms: int) -> PaymentApprovalView:
    """As in the payment's snapshot. The row may be newer: only the people are taken from it."""
    return PaymentApprovalView(
        approval_id=each.id,
        action=each.action,
        status=approval_status(each.status, each.expires_at, now_ms),
        requester=row.requester,
        attempt_id=attempt_id(each.attempt),
        phase=each.phase,
        expires_at=iso(each.expires_at),
        decided_by=row.decided_by if each.decided_from else None,
    )


def _attempt(row: PaymentRow, each: states.Attempt) -> AttemptView:
    ended = each.state in states.ENDED
    created = row.external_ref is not None or each.number < row.attempt
    return AttemptView.of(
        each,
        attempt_id=attempt_id(each.number),
        external_ref=external_ref(row.payment_intent_id, each.number) if created else None,
        started_at=iso(each.started_at),
        sent_at=iso_or_none(each.sent_at),
        acknowledged_at=iso_or_none(each.acknowledged_at),
        ended_at=iso_or_none(each.ended_at),
        retry_safe=each.retry_safe if ended else None,
        certain=each.certain if ended else None,
        send_frozen_until=iso_or_none(each.frozen_until),
        funds=FundsView.of(
            each,
            state=each.funds,
            held=held_cents(each),
            is_held=held_cents(each) > 0,
            is_released=each.funds == "RELEASED",
            release_deferred=each.funds == "RELEASE_DEFERRED",
        ),
    )
