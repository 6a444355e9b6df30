"""Search, conflicts and quarantine."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from web.pages.payments import payment_id, sent
from web.site import Page, signed

BYTES_SHOWN: Final = 4_096
PER_LINE: Final = 16


async def search(page: Page) -> Response:
    """Everything that is known under it; one payment is shown at once."""
    text = page.request.query_params.get("q", "").strip()
    items: list[dict[str, Any]] = []
    if text:
        items = (await page.api.get("/api/search", q=text))["items"]
    if len({each["paymentIntentId"] for each in items}) == 1:
        return RedirectResponse(f"/payments/{items[0]['paymentIntentId']}", 303)
    return page.render("search.html", q=text, items=items)


async def conflicts(page: Page) -> Response:
    """Open ones, or all; oldest first."""
    asked = page.request.query_params
    scope = "all" if asked.get("show") == "all" else "open"
    found = await page.api.get(
        "/api/conflicts",
        open="true" if scope == "open" else "false",
        cursor=asked.get("cursor", ""),
    )
    more = urlencode({"show": scope, "cursor": found["next"]}) if found["next"] else None
    return page.render("conflicts.html", items=found["items"], scope=scope, more=more)


async def resolve(page: Page) -> Response:
    """Resolves a conflict with the verdict that was approved."""
    name = payment_id(page)
    amount = page.fields.get("cents", "")
    body = {
        "attemptId": page.fields.get("attemptId", ""),
        "verdict": page.fields.get("verdict", ""),
        "details": page.fields.get("details", ""),
        "amount": int(amount) if amount.isascii() and amount.isdigit() else None,
    }
    conflict = page.fields.get("conflictId", "")
    return await sent(page, name, f"/api/payments/{name}/conflicts/{conflict}/resolve", body)


async def quarantine(page: Page) -> Response:
    """Records that could not be decided, newest first."""
    asked = page.request.query_params
    reason = asked.get("reason", "")
    found = await page.api.get("/api/quarantine", reason=reason, cursor=asked.get("cursor", ""))
    more = None
    if found["next"]:
        more = urlencode({"reason": reason, "cursor": found["next"]})
    redrives = await page.api.get("/api/quarantine/redrives")
    return page.render(
        "quarantine.html", items=found["items"], reason=reason, more=more, redrives=redrives
    )


async def quarantined(page: Page) -> Response:
    """One record, with its bytes for those who may see them."""
    place = page.request.path_params
    found = await page.api.get(f"/api/quarantine/{place['partition']}/{place['offset']}")
    return page.render(
        "quarantined.html", r=found, value=_dump(found["value"]), key=_dump(found["key"])
    )


def _dump(encoded: str | None) -> str:
    """Offset, hex and printable ASCII of the first bytes."""
    if not encoded:
        return ""
    try:
        content = base64.b64decode(encoded)[:BYTES_SHOWN]
    except binascii.Error:
        return encoded
    lines = []
    for at in range(0, len(content), PER_LINE):
        part = content[at : at + PER_LINE]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        lines.append(f"{at:06x}  {part.hex(' '):<{PER_LINE * 3}} {text}")
    return "\n".join(lines)


ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/search", search),
    signed("/conflicts", conflicts),
    signed("/payments/{payment}/resolve", resolve, "POST"),
    signed("/quarantine", quarantine),
    signed("/quarantine/{partition:int}/{offset:int}", quarantined),
)
