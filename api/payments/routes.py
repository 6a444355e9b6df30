"""Payments in their current state, their events and what happened to their inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use, own_source, sees_personal
from api.edge.bodies import NO_NUL
from api.edge.params import (
    LIMIT,
    Cursor,
    From,
    Limit,
    To,
    Word,
    gives,
    in_thread,
    json_answer,
    list_answer,
    time_of,
)
from api.edge.paths import PLAIN, PaymentId
from api.edge.problems import Problem, invalid, payment_not_found, unavailable
from api.edge.views import View
from api.payments import views, views_events, views_outcomes
from api.queues import views as views_lists
from api.services import Principal, Services
from core.dispositions import Disposition
from core.payment.state import Payment, unpack
from core.values import FailureReason, MoneyOutcome, State
from engine.errors import EngineError
from readmodel.ports import PaymentFilter
from readmodel.rows import ApprovalRow, PaymentRow
from schemas.topology import EVENTS

router = guarded()

PAYMENT: Final = "/api/payments/{payment_intent_id}"
WAIT_S_MAX: Final = 2.0
WAIT_STEP_S: Final = 0.02
EVENTS_COUNT_MAX: Final = 1_000  # of one answer
OUTCOMES_COUNT_MAX: Final = 1_000
APPROVALS_MAX: Final = 200  # of one payment: the rules' limit
SEQUENCE_MAX: Final = 2**31 - 1

MinSequence = Annotated[
    int | None,
    Query(
        ge=1, le=SEQUENCE_MAX, description="Wait until it has reached this sequence, at most 2 s."
    ),
    PLAIN,
]
EventLimit = Annotated[
    int, Query(ge=1, le=EVENTS_COUNT_MAX, description="Maximum number of events."), PLAIN
]


class StoredView(View):
    """Whether the journal has PaymentIntentCreated of this id, as read from Kafka itself, and
    whether the read model knows the payment.
    """

    payment_intent_id: str
    in_event_store: bool
    topic: str
    partition: int | None
    offset: int | None
    in_read_model: bool


@router.get(
    PAYMENT,
    operation_id="payment",
    summary="A payment in its current state",
    **gives(views.PaymentView),
)
async def payment(
    principal: Caller,
    services: Use,
    payment_intent_id: PaymentId,
    min_sequence: Annotated[MinSequence, Query(alias="minSequence")] = None,
) -> Response:
    """State, money, funds, attempts, conflicts, approvals and what it waits for."""
    row = await visible(principal, services, payment_intent_id, min_sequence)
    found = unpack(row.snapshot)
    approvals = await _approvals(services, found) if found.approvals else {}
    now_ms, personal = services.clock.now_ms(), sees_personal(principal)

    def proven() -> tuple[int, Sequence[Disposition]]:
        evidence = services.evidence
        through = evidence.verified_through(payment_intent_id, row.partition)
        return through, evidence.rulings(payment_intent_id)

    through, ruled = proven() if services.reads_on_loop else await in_thread(proven)
    return json_answer(
        views.payment(
            row,
            found,
            approvals,
            now_ms=now_ms,
            personal=personal,
            verified_through=through,
            ruled=ruled,
        )
    )


async def _approvals(services: Services, found: Payment) -> dict[str, ApprovalRow]:
    """The payment's approvals by id: its state has the requester only as a digest."""
    payment_id, most = found.payment_intent_id, APPROVALS_MAX
    page = await in_thread(lambda: services.reader.approvals(payment_id, None, most, None))
    return {row.approval_id: row for row in page.items}


async def visible(
    principal: Principal, services: Services, payment_intent_id: str, min_sequence: int | None
) -> PaymentRow:
    """The payment's row, if this caller may see it; waits up to WAIT_S_MAX for `min_sequence`.
    Raises Problem (404).
    """
    if services.reads_on_loop:
        row = services.reader.payment(payment_intent_id)
    else:
        row = await in_thread(lambda: services.reader.payment(payment_intent_id))
    if min_sequence is not None:
        for _ in range(round(WAIT_S_MAX / WAIT_STEP_S)):
            if row is not None and row.sequence >= min_sequence:
                break
            await asyncio.sleep(WAIT_STEP_S)
            row = await in_thread(lambda: services.reader.payment(payment_intent_id))
    own = own_source(principal, services.sources)
    if row is None or (own is not None and row.source != own):
        raise payment_not_found()
    return row


@router.get(
    "/api/payments",
    operation_id="payments",
    summary="Payments, newest first",
    **gives(views_lists.PaymentList),
)
async def payments(
    services: Use,
    idempotency_key: Annotated[
        str | None, Query(alias="idempotencyKey", min_length=1, max_length=256, pattern=NO_NUL)
    ] = None,
    source: Word = None,
    state: State | None = None,
    money_outcome: Annotated[MoneyOutcome | None, Query(alias="moneyOutcome")] = None,
    reason: FailureReason | None = None,
    attention: bool | None = None,
    since: From = None,
    until: To = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """All given conditions hold. One key of one source is one payment; the same key of two sources
    is two.
    """
    wanted = PaymentFilter(
        source=source,
        idempotency_key=idempotency_key,
        state=None if state is None else state.value,
        money_outcome=None if money_outcome is None else money_outcome.value,
        reason=None if reason is None else reason.value,
        needs_attention=attention,
        since=time_of(since, "from"),
        until=time_of(until, "to"),
    )
    return await list_answer(
        views_lists.PaymentList,
        views.brief,
        lambda: services.reader.payments(wanted, limit, cursor),
    )


@router.get(
    f"{PAYMENT}/events",
    operation_id="paymentEvents",
    summary="The payment's events in order",
    **gives(views_events.EventList),
)
async def events(
    principal: Caller,
    services: Use,
    payment_intent_id: PaymentId,
    limit: EventLimit = EVENTS_COUNT_MAX,
    cursor: Cursor = None,
) -> Response:
    """Each with its state before and after, cause, hash and content."""
    await visible(principal, services, payment_intent_id, None)
    after = _after(cursor)
    personal = sees_personal(principal)

    def read() -> views_events.EventList:
        found = services.reader.events(payment_intent_id, after, limit + 1)
        ruled = services.evidence.rulings(payment_intent_id)
        items = [
            views_events.event(row, services.codec, personal=personal, ruled=ruled)
            for row in found[:limit]
        ]
        more = len(found) > limit
        return views_events.EventList(items, str(items[-1].sequence) if more else None)

    return json_answer(await in_thread(read))


def _after(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > SEQUENCE_MAX:
        raise invalid("cursor", "was not issued for this list")
    return int(cursor)


@router.get(
    f"{PAYMENT}/outcomes",
    operation_id="paymentOutcomes",
    summary="The outcomes of the payment's inputs",
    **gives(views_outcomes.OutcomeList),
)
async def outcomes(services: Use, payment_intent_id: PaymentId) -> Response:
    """Refusals, duplicates, inputs without effect, and every operator command."""

    def read() -> views_outcomes.OutcomeList:
        found = services.reader.outcomes(payment_intent_id, OUTCOMES_COUNT_MAX)
        if not found and services.reader.payment(payment_intent_id) is None:
            raise payment_not_found()
        return views_outcomes.OutcomeList(
            [views_outcomes.outcome(row, services.codec) for row in found], None
        )

    return json_answer(await in_thread(read))


@router.get(
    f"{PAYMENT}/event-store",
    operation_id="paymentEventStore",
    summary="Whether the payment's creation is in the journal",
    **gives(StoredView),
)
async def event_store(services: Use, payment_intent_id: PaymentId) -> Response:
    """Read from Kafka itself, not from the read model; 200 also for an unknown payment."""

    def read() -> StoredView:
        try:
            place = services.journal.created(payment_intent_id)
        except (EngineError, TimeoutError):
            raise _store_down() from None
        known = services.reader.payment(payment_intent_id) is not None
        partition, offset = place if place is not None else (None, None)
        return StoredView(payment_intent_id, place is not None, EVENTS, partition, offset, known)

    return json_answer(await in_thread(read))


def _store_down() -> Problem:
    return unavailable("EVENT_STORE_DOWN", "Kafka does not answer in time; try again later.")
