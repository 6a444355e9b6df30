"""The audit log: every request by an operator, refused or not."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import Query
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.auth.sign_in import Use
from api.edge.bodies import NO_NUL
from api.edge.params import LIMIT, Cursor, From, Limit, To, gives, list_answer, time_of
from api.queues import views as views_lists
from api.queues.routes import OfPayment
from readmodel import rows
from readmodel.ports import AuditFilter, Page, Reader

router = guarded()

EVENTS_COUNT_MAX: Final = 8  # of one command, looked at for its approval


@router.get(
    "/api/audit",
    operation_id="audit",
    summary="Operators' requests, newest first",
    **gives(views_lists.AuditList),
)
async def audit(
    services: Use,
    operator_id: Annotated[
        str | None, Query(alias="operatorId", min_length=1, max_length=128, pattern=NO_NUL)
    ] = None,
    payment_intent_id: OfPayment = None,
    action: Annotated[str | None, Query(min_length=1, max_length=100, pattern=NO_NUL)] = None,
    since: From = None,
    until: To = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Operator, time, action, payment, reason and approval; then what happened to it."""
    wanted = AuditFilter(
        operator_id=operator_id,
        payment_intent_id=payment_intent_id,
        action=action,
        since=time_of(since, "from"),
        until=time_of(until, "to"),
    )

    def ask() -> Page[rows.AuditRow]:
        found = services.reader.audit(wanted, limit, cursor)
        return Page([with_approval(services.reader, row) for row in found.items], found.next)

    return await list_answer(views_lists.AuditList, views_lists.audit, ask)


def with_approval(reader: Reader, row: rows.AuditRow) -> rows.AuditRow:
    """The approval that the engine took, where the command named none: its events say which."""
    if (
        row.approval_id
        or row.result != "ACCEPTED"
        or not (row.payment_intent_id and row.command_id)
    ):
        return row
    after = (row.from_sequence or 1) - 1
    for event in reader.events(row.payment_intent_id, after, EVENTS_COUNT_MAX):
        if event.command_id == row.command_id and event.approval_id is not None:
            return msgspec.structs.replace(row, approval_id=event.approval_id)
    return row
