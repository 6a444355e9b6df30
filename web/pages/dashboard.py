"""The Operator Dashboard and the Alert Panel, and their live stream."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from api.auth.access import READ
from api.edge.params import in_thread
from api.edge.problems import missing_role
from web.dashboard.panels import panels
from web.dashboard.picture import draw
from web.site import Page, signed

EVENT_STREAM: Final = "text/event-stream"


async def dashboard(page: Page) -> Response:
    """The current state; the stream replaces its parts."""
    _check(page)
    site = page.site
    parts = await in_thread(
        lambda: panels(site.templates, draw(site.services, site.summary)),
    )
    span = "hour" if page.request.query_params.get("span") == "hour" else "day"
    return page.render("dashboard.html", parts=parts, span=span)


async def live(page: Page) -> Response:
    """The parts as they change, until the session ends."""
    _check(page)
    live = page.site.live
    place = live.admit(page.who["id"])
    auth, session = page.site.auth, page.session
    return StreamingResponse(
        live.watch(place, session.expires_at, lambda: auth.revoked(session.token)),
        media_type=EVENT_STREAM,
        headers={"cache-control": "no-store"},
    )


def _check(page: Page) -> None:
    """Raises Problem (403) for a user who may not read the API's summary and lists."""
    if page.roles.isdisjoint(READ):
        raise missing_role(", ".join(sorted(READ)))


ROUTES: Final[tuple[BaseRoute, ...]] = (signed("/", dashboard), signed("/live", live))
