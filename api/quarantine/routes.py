"""Quarantined records: what could not be read, was misrouted, matched nothing, or is parked."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from api.auth import access
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use
from api.edge.params import LIMIT, Cursor, Limit, gives, in_thread, json_answer, list_answer
from api.edge.paths import Offset, Partition
from api.edge.problems import not_found
from api.queues import views as views_lists
from api.queues.routes import OfPayment
from core.closed_sets import QuarantineReason

router = guarded()

BYTES: Final = access.PERSONAL | access.ADMINS


@router.get(
    "/api/quarantine",
    operation_id="quarantine",
    summary="Quarantined records, newest first",
    **gives(views_lists.QuarantineList),
)
async def quarantine(
    principal: Caller,
    services: Use,
    reason: QuarantineReason | None = None,
    payment_intent_id: OfPayment = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """With offset, reason and origin, and the redrive that was carried out for it."""
    with_hash = not principal.roles.isdisjoint(BYTES)
    return await list_answer(
        views_lists.QuarantineList,
        lambda row: views_lists.quarantine_item(row, with_hash=with_hash),
        lambda: services.reader.quarantine(reason, payment_intent_id, limit, cursor),
    )


@router.get(
    "/api/quarantine/{partition}/{offset}",
    operation_id="quarantined",
    summary="One quarantined record, with its bytes",
    **gives(views_lists.QuarantineView),
)
async def quarantined(
    principal: Caller, services: Use, partition: Partition, offset: Offset
) -> Response:
    """Its bytes may hold personal data: viewer and approver do not see them."""
    row = await in_thread(lambda: services.reader.quarantined(partition, offset))
    if row is None:
        raise not_found(
            "NOT_QUARANTINED", "There is no quarantined record at this partition and offset."
        )
    with_bytes = not principal.roles.isdisjoint(BYTES)
    return json_answer(views_lists.quarantined(row, with_bytes=with_bytes))
