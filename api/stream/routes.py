"""Live updates by server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.auth.guard import bearer
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use
from api.queues.routes import OfPayment
from api.stream.streams import PARTITIONS_COUNT_MAX, Streams, from_id

router = guarded()

EVENT_STREAM = "text/event-stream"


@router.get(
    "/api/stream",
    operation_id="stream",
    summary="Live events",
    response_model=None,
    responses={
        200: {
            "description": "Events `ready`, `event` (data: StreamEvent), `reset`, `dropped`, "
            "`signed-out`, `closing`; comments as heartbeats. Each id can be sent back to resume.",
            "content": {EVENT_STREAM: {"schema": {}}},
        }
    },
)
async def stream(
    request: Request,
    principal: Caller,
    services: Use,
    payment_intent_id: OfPayment = None,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", max_length=PARTITIONS_COUNT_MAX, description="Go on here."),
    ] = None,
) -> Response:
    """From now on, or from where `Last-Event-ID` says. Ends with the sign-in."""
    streams: Streams = request.app.state.streams
    since = from_id(last_event_id, services.partitions) if last_event_id else None
    watcher = streams.admit(principal.id, payment_intent_id)
    auth, token = request.app.state.auth, bearer(request)
    return StreamingResponse(
        streams.watch(watcher, since, principal.expires_at, lambda: auth.revoked(token)),
        media_type=EVENT_STREAM,
    )
