"""The pages of the audit log, of incidents and of proofs."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import orjson
from starlette.responses import Response
from starlette.routing import BaseRoute

from api.edge.params import in_thread
from web.dashboard.incidents import incidents as active_incidents
from web.dashboard.picture import control_of
from web.site import Page, signed

AUDIT_FILTERS: Final = ("operatorId", "paymentIntentId", "action", "from", "to", "cursor")
FIRED_SHOWN: Final = 100  # the last ones; the file for the post-mortem has more
PAYMENTS_SHOWN: Final = 50
STRENGTHS: Final = {
    "fold": "the events give the states that are kept",
    "chain": "each event has the hash of the previous one",
    "redecide": "deciding each input again gives the same events",
    "identity": "one request is one payment, one attempt one reference",
    "money": "nothing is paid, held, captured or released twice",
}


async def audit(page: Page) -> Response:
    """Every request by an operator, refused or not."""
    filters = {
        name: value
        for name, value in page.request.query_params.items()
        if name in AUDIT_FILTERS and value
    }
    found = await page.api.get("/api/audit", **filters)
    more = urlencode({**filters, "cursor": found["next"]}) if found["next"] else None
    return page.render("audit.html", items=found["items"], filters=filters, more=more)


async def incidents(page: Page) -> Response:
    """The active incidents, and what fired in a period."""
    filters = {k: v for k, v in page.request.query_params.items() if k in ("from", "to") and v}
    summary = await page.api.get("/api/incidents/summary", **filters, payments=str(PAYMENTS_SHOWN))
    site = page.site
    now = await in_thread(
        lambda: active_incidents(site.summary.get(), control_of(site.services)),
    )
    return page.render(
        "incidents.html",
        active=now,
        s=summary,
        fired=summary["fired"][-FIRED_SHOWN:],
        payments=summary["payments"],
        filters=filters,
        query=urlencode(filters),
    )


async def incidents_file(page: Page) -> Response:
    """The summary for a post-mortem, as a file."""
    filters = {k: v for k, v in page.request.query_params.items() if k in ("from", "to") and v}
    found = await page.api.get("/api/incidents/summary", **filters)
    return Response(
        orjson.dumps(found, option=orjson.OPT_INDENT_2),
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="incidents.json"'},
    )


async def proof(page: Page) -> Response:
    """The last scheduled proof, the last proof on the control topic and how much of the journal it
    covers, and how to run the next.
    """
    control = await page.api.get("/api/control")
    summary = await page.api.get("/api/summary")
    latest = control["latestProof"]
    covered = sum(latest["offsets"]) if latest else 0
    there = sum(summary["readModel"]["offsets"].values())
    return page.render(
        "proof.html",
        run=summary["proof"],
        proof=latest,
        covered=covered,
        since=max(0, there - covered),
        strengths=STRENGTHS,
    )


ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/audit", audit),
    signed("/incidents", incidents),
    signed("/incidents/summary.json", incidents_file),
    signed("/proof", proof),
)
