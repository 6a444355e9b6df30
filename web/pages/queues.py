"""Search, conflicts and quarantine."""

from __future__ import annotations

import base64
import binascii
import shlex
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from api.edge.problems import missing_role
from api.quarantine.routes import BYTES
from web.pages.calls import Call, acting
from web.pages.payments import note_reveal, payment_id
from web.site import Page, signed

BYTES_SHOWN: Final = 4_096
PER_LINE: Final = 16


async def search(page: Page) -> Response:
    """Payments with this identifier; if there is only one, its page."""
    text = page.request.query_params.get("q", "").strip()
    items: list[dict[str, Any]] = []
    if text:
        items = (await page.api.get("/api/search", q=text))["items"]
    if len({each["paymentIntentId"] for each in items}) == 1:
        return RedirectResponse(f"/payments/{items[0]['paymentIntentId']}", 303)
    return page.render("search.html", q=text, items=items, shown_to_shell=f"-- {shlex.quote(text)}")


async def conflicts(page: Page) -> Response:
    """Open ones, or all; oldest first."""
    requested = page.request.query_params
    scope = "all" if requested.get("show") == "all" else "open"
    filters = {
        "open": "true" if scope == "open" else "false",
        "cursor": requested.get("cursor", ""),
    }
    found = await page.api.get("/api/conflicts", **filters)
    more = urlencode({"show": scope, "cursor": found["next"]}) if found["next"] else None
    return page.render(
        "conflicts.html", items=found["items"], scope=scope, more=more, filters=filters
    )


async def resolve(page: Page) -> Call:
    """Resolves a conflict with the verdict that was approved."""
    amount = page.fields.get("cents", "")
    body = {
        "attemptId": page.fields.get("attemptId", ""),
        "verdict": page.fields.get("verdict", ""),
        "details": page.fields.get("details", ""),
        "amount": int(amount) if amount.isascii() and amount.isdigit() else None,
    }
    conflict = page.fields.get("conflictId", "")
    return Call(payment_id(page), f"conflicts/{conflict}/resolve", body)


async def quarantine(page: Page) -> Response:
    """Records that could not be decided, newest first."""
    requested = page.request.query_params
    reason = requested.get("reason", "")
    filters = {"reason": reason, "cursor": requested.get("cursor", "")}
    found = await page.api.get("/api/quarantine", **filters)
    more = None
    if found["next"]:
        more = urlencode({"reason": reason, "cursor": found["next"]})
    redrives = await page.api.get("/api/quarantine/redrives")
    return page.render(
        "quarantine.html",
        items=found["items"],
        reason=reason,
        more=more,
        redrives=redrives,
        filters=filters,
    )


async def quarantined(page: Page) -> Response:
    """One record, without its bytes."""
    return page.render("quarantined.html", r=await _record(page), revealed=False)


async def reveal(page: Page) -> Response:
    """Shows the record's bytes once, after the reason is in the audit log: they may contain names
    and accounts. Raises Problem.
    """
    if page.roles.isdisjoint(BYTES):
        raise missing_role(", ".join(sorted(BYTES)))
    found = await _record(page)
    await note_reveal(page, found["paymentIntentId"])
    value, key = _dump(found["value"]), _dump(found["key"])
    return page.render("quarantined.html", r=found, revealed=True, value=value, key=key)


async def _record(page: Page) -> dict[str, Any]:
    place = page.request.path_params
    found: dict[str, Any] = await page.api.get(
        f"/api/quarantine/{place['partition']}/{place['offset']}"
    )
    return found


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


RECORD: Final = "/quarantine/{partition:int}/{offset:int}"
ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/search", search),
    signed("/conflicts", conflicts),
    *acting("/payments/{payment}/resolve", resolve),
    signed("/quarantine", quarantine),
    signed(RECORD, quarantined),
    signed(f"{RECORD}/reveal", reveal, "POST"),
)
