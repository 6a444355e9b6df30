"""CreatePayment and an upstream's ExpirePayment."""

from __future__ import annotations

from core.decider import Context, Decision, Refusal
from core.header import Actor
from core.payment import events as e
from core.payment.commands import CreatePayment, ExpirePayment
from core.payment.draft import Draft, draft_of, duplicate_of
from core.payment.flow import finish
from core.payment.keys import result_key
from core.payment.operator import checks
from core.payment.state import (
    UNSENT,
    Payment,
    open_conflicts,
    was_never_submitted,
)
from core.refusals import (
    AMOUNT_NOT_POSITIVE,
    AMOUNT_OVER_LIMIT,
    CONFLICT_OPEN,
    CURRENCY_NOT_AUD,
    EXECUTION_TOO_FAR,
    EXPIRES_BEFORE_EXECUTION,
    FIELD_INVALID,
    FIELD_MISSING,
    ID_MISMATCH,
    IDEMPOTENCY_KEY_REUSED,
    ILLEGAL_TRANSITION,
    NOT_FOUND,
    NPP_CONSTRAINT,
    PARTIES_UNREADABLE,
    SOURCE_NOT_ENTITLED,
    UPSTREAM_AFTER_SENT,
    refuse,
)
from core.transitions import FINAL
from core.values import (
    CURRENCY,
    Parties,
    Party,
    State,
    attempt_id,
    format_amount,
    payment_intent_id,
)

_HOUR_MS = 3_600_000


def create(state: Payment | None, command: CreatePayment, context: Context) -> Decision:
    """One key of one source is one payment (domain §2); repeated content gives the first result."""
    refusal = _shape(command)
    if refusal is not None:
        return refusal
    try:
        parties = context.open_parties(command.parties)
    except ValueError:
        return refuse(PARTIES_UNREADABLE)
    refusal = _party_shapes(parties, context)
    if refusal is not None:
        return refusal
    if command.source not in context.sources:
        return refuse(SOURCE_NOT_ENTITLED, source=command.source)
    if state is not None:
        field = first_difference(state, command, parties, context)
        if field is not None:
            return refuse(IDEMPOTENCY_KEY_REUSED, first_difference=field, field=field)
        return duplicate_of(state, 1)
    refusal = _invariants(command, parties, context)
    if refusal is not None:
        return refusal

    draft = Draft(
        before=None,
        context=context,
        payment_id=command.header.payment_intent_id,
        actor=Actor(kind="upstream", id=command.source),
        traceparent=command.header.traceparent,
        now=context.now_ms,
    )
    draft.append(
        e.PaymentIntentCreated(
            header=draft.header(1, State.CREATED.value),
            source=command.source,
            idempotency_key=command.idempotency_key,
            amount=command.amount,
            currency=command.currency,
            parties=command.parties,
            end_to_end_id=command.end_to_end_id,
            service=command.service,
            uetr=command.uetr,
            customer_id=command.customer_id,
            requested_execution_time=command.requested_execution_time,
            expires_at=command.expires_at,
        )
    )
    return finish(draft)


def expire(state: Payment | None, command: ExpirePayment, context: Context) -> Decision:
    """The source expires its payment: allowed in AUTHORISED only; from SENT on only operators may
    expire it (ruling 12).
    """
    limit = context.rules.limits.free_text_characters_max
    refusal = checks.optional_text("reason", command.reason, limit)
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    if state.source not in context.sources:
        return refuse(SOURCE_NOT_ENTITLED, source=state.source)
    done = state.results.get(result_key("E", len(state.attempts)))
    if done is not None:
        return duplicate_of(state, done)
    if state.state not in UNSENT and state.state not in FINAL:
        return refuse(UPSTREAM_AFTER_SENT, expected=State.AUTHORISED.value, actual=state.state)
    if state.state != State.AUTHORISED:
        return refuse(
            ILLEGAL_TRANSITION,
            expected=State.AUTHORISED.value,
            actual=state.state,
            target=State.EXPIRED.value,
        )
    conflicts = open_conflicts(state)
    if conflicts:
        return refuse(CONFLICT_OPEN, count=conflicts)

    actor = Actor(kind="upstream", id=state.source)
    draft = draft_of(state, context, actor, command.header)
    number = len(state.attempts)
    draft.append(
        e.PaymentExpired(
            header=draft.header(number, State.EXPIRED.value, reason=State.EXPIRED.value),
            attempt_id=attempt_id(number),
            source="upstream",
            non_payment_certain=was_never_submitted(state.attempts[-1]),
            text=command.reason,
        )
    )
    return finish(draft)


def first_difference(
    state: Payment, command: CreatePayment, parties: Parties, context: Context
) -> str | None:
    """The first field of the canonical content that differs, in the order of domain §2, or None."""
    if command.amount != state.amount:
        return "amount"
    if command.currency != state.currency:
        return "currency"
    remittance = False
    if command.parties != state.parties:
        known = context.open_parties(state.parties)
        if _account(parties.debtor) != _account(known.debtor):
            return "debtor account"
        if _account(parties.creditor) != _account(known.creditor):
            return "creditor account or PayID"
        remittance = parties.remittance != known.remittance
    if command.end_to_end_id != state.end_to_end_id:
        return "endToEndId"
    if remittance:
        return "remittance"
    return "service" if command.service != state.service else None


def _account(party: Party) -> tuple[str | None, str | None, str | None, str | None]:
    return party.bsb, party.account, party.pay_id_type, party.pay_id


def _shape(command: CreatePayment) -> Refusal | None:
    source, key = command.source, command.idempotency_key
    if not source or not key:
        return refuse(FIELD_MISSING, field="idempotencyKey" if source else "source")
    if payment_intent_id(source, key) != command.header.payment_intent_id:
        return refuse(ID_MISMATCH, detail="paymentIntentId is not that of source and key")
    if not command.end_to_end_id:
        return refuse(FIELD_MISSING, field="endToEndId")
    if command.service not in checks.SERVICES:
        return refuse(FIELD_INVALID, field="service", problem="is not x2p1 or sct")
    return None


def _party_shapes(parties: Parties, context: Context) -> Refusal | None:
    limits = context.rules.limits
    return (
        checks.debtor_shape(parties.debtor, limits)
        or checks.creditor_shape(parties.creditor, limits)
        or checks.optional_text("remittance", parties.remittance, limits.remittance_characters_max)
    )


def _invariants(command: CreatePayment, parties: Parties, context: Context) -> Refusal | None:
    limits = context.rules.limits
    if command.amount <= 0:
        return refuse(AMOUNT_NOT_POSITIVE)
    if command.currency != CURRENCY:
        return refuse(CURRENCY_NOT_AUD)
    if command.amount > limits.amount_cents_max:
        limit = format_amount(limits.amount_cents_max, CURRENCY)
        return refuse(AMOUNT_OVER_LIMIT, limit=limit)
    refusal = checks.account_constraint("debtor", parties.debtor) or checks.account_constraint(
        "creditor", parties.creditor
    )
    if refusal is not None:
        return refusal
    if command.uetr is not None and not checks.is_uetr(command.uetr):
        return refuse(NPP_CONSTRAINT, field="UETR", problem="it is no UUID")
    return _times(command, context)


def _times(command: CreatePayment, context: Context) -> Refusal | None:
    start = command.requested_execution_time
    ahead = context.rules.windows.execution_ahead_ms_max
    if start is not None and start > context.now_ms + ahead:
        return refuse(EXECUTION_TOO_FAR, hours=ahead // _HOUR_MS)
    if command.expires_at is not None and start is not None and command.expires_at <= start:
        return refuse(EXPIRES_BEFORE_EXECUTION)
    return None
