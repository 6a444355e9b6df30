"""What people have to look at: approvals, conflicts, payments that need attention."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Use
from api.edge.params import LIMIT, Cursor, Limit, gives, list_answer
from api.edge.paths import PAYMENT_ID
from api.queues import views as views_lists
from core.closed_sets import ApprovalStatus
from core.payment.state import Payment, unpack
from readmodel.ports import Page, Reader
from readmodel.rows import ConflictRow

router = guarded()

OfPayment = Annotated[
    str | None,
    Query(alias="paymentIntentId", pattern=f"^{PAYMENT_ID}$", description="Of this payment only."),
]
TRUE: Final = True


@router.get(
    "/api/approvals",
    operation_id="approvals",
    summary="Requests for approval, oldest first",
    **gives(views_lists.ApprovalList),
)
async def approvals(
    services: Use,
    payment_intent_id: OfPayment = None,
    status: ApprovalStatus | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """REFERRED ones wait for a person. EXPIRED has no event: it is computed from the time."""
    now = services.clock.now_ms()
    return await list_answer(
        views_lists.ApprovalList,
        lambda row: views_lists.approval(row, now),
        lambda: services.reader.approvals(payment_intent_id, status, limit, cursor),
    )


@router.get(
    "/api/conflicts",
    operation_id="conflicts",
    summary="Conflicts, oldest first",
    **gives(views_lists.ConflictList),
)
async def conflicts(
    services: Use,
    payment_intent_id: OfPayment = None,
    open_only: Annotated[bool, Query(alias="open", description="Only open ones.")] = TRUE,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """While one is open its payment waits: nothing is sent, retried or released early. The verdicts
    that fit are listed with what follows from them.
    """

    states: dict[str, Payment] = {}
    now = services.clock.now_ms()

    def ask() -> Page[ConflictRow]:
        found = services.reader.conflicts(payment_intent_id, open_only, limit, cursor)
        states.update(_states(services.reader, found))
        return found

    return await list_answer(
        views_lists.ConflictList,
        lambda row: views_lists.conflict(row, states[row.payment_intent_id], now),
        ask,
    )


def _states(reader: Reader, found: Page[ConflictRow]) -> dict[str, Payment]:
    """The current state of each payment of these conflicts: a page has 200 at most. A conflict's
    row is written together with its payment's, which is never deleted.
    """
    states: dict[str, Payment] = {}
    for name in {row.payment_intent_id for row in found.items}:
        row = reader.payment(name)
        assert row is not None
        states[name] = unpack(row.snapshot)
    return states


@router.get(
    "/api/attention",
    operation_id="attention",
    summary="Payments that need attention, longest waiting first",
    **gives(views_lists.AttentionList),
)
async def attention(services: Use, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Overdue, contradicted, parked, refused by Deposits Core, or waiting for a person."""
    now = services.clock.now_ms()
    return await list_answer(
        views_lists.AttentionList,
        lambda row: views_lists.attention(row, now),
        lambda: services.reader.attention(limit, cursor),
    )
