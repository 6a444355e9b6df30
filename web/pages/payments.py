"""Payments: the list, one payment with its history, and what a person does to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from api.auth.access import EXPORT, PERSONAL
from api.auth.guard import PAYMENT_ID
from api.edge.params import in_thread
from api.edge.problems import Problem, invalid, missing_role
from api.stream.streams import from_id
from core.values import FailureReason, MoneyOutcome, State
from web import acts
from web.api_client import Refused
from web.pages.calls import Call, acting
from web.site import Page, signed

FILTERS: Final = ("state", "moneyOutcome", "reason", "attention", "source", "from", "to", "cursor")
LIST_COUNT: Final = 50
EVENTS_COUNT: Final = 500
NOT_SHOWN: Final = frozenset({"parties", "customerId"})  # only by revealing


async def payments(page: Page) -> Response:
    """The list of payments, newest first; all filters that are set hold."""
    filters = {
        name: value
        for name, value in page.request.query_params.items()
        if name in FILTERS and value
    }
    found = await page.api.get("/api/payments", **filters, limit=LIST_COUNT)
    more = urlencode({**filters, "cursor": found["next"]}) if found["next"] else None
    return page.render(
        "payments.html",
        items=found["items"],
        filters=filters,
        more=more,
        states=[each.value for each in State],
        outcomes=[each.value for each in MoneyOutcome],
        reasons=[each.value for each in FailureReason],
    )


async def payment(page: Page) -> Response:
    """One payment; `outcome` names the command whose outcome is shown above it."""
    return await _shown(page, revealed=False)


async def _shown(page: Page, *, revealed: bool) -> Response:
    name = payment_id(page)
    since = await page.site.streams.id_of_now(name)
    found = await page.api.get(f"/api/payments/{name}", minSequence=least_sequence(page))
    events = await page.api.get(f"/api/payments/{name}/events", limit=EVENTS_COUNT)
    found = acts.with_codes(found, events["items"])
    approvals = await page.api.get("/api/approvals", paymentIntentId=name)
    return page.render(
        "payment.html",
        p=found,
        since=since,
        events=events["items"],
        more_events=events["next"] is not None,
        columns=min(len(found["attempts"]), 4),
        approvals=approvals["items"],
        choices=acts.choices(found, approvals["items"], page.roles),
        outcome=await _outcome(page, name),
        revealed=revealed,
        may_reveal=not page.roles.isdisjoint(PERSONAL),
        may_export=not page.roles.isdisjoint(EXPORT),
        reasons=acts.REASONS,
        operations=acts.OPERATIONS,
        hidden=NOT_SHOWN,
    )


async def _outcome(page: Page, name: str) -> Mapping[str, Any] | None:
    """The outcome of the command that the address names; PENDING while it is not known."""
    command = page.request.query_params.get("outcome", "")
    if not command:
        return None
    try:
        found: Mapping[str, Any] = await page.api.get(
            f"/api/outcomes/{command}", paymentIntentId=name
        )
    except Refused as refused:
        if refused.status == 404:
            return None
        raise
    return found


async def reveal(page: Page) -> Response:
    """Shows names and accounts once, after the reason is in the audit log. Raises Problem."""
    if page.roles.isdisjoint(PERSONAL):
        raise missing_role(", ".join(sorted(PERSONAL)))
    await note_reveal(page, payment_id(page))
    return await _shown(page, revealed=True)


async def note_reveal(page: Page, payment_intent_id: str | None) -> None:
    """Writes the form's reason to the audit log, before anything is shown. Raises Problem without a
    reason, PublishUnconfirmed when Kafka does not confirm it.
    """
    reason = page.fields.get("reason", "")
    if not reason:
        raise invalid("reason", "is missing: why do you need to see it?")
    services, principal = page.site.services, page.principal()

    def note() -> None:
        services.audit.note(
            principal,
            "REVEAL_PERSONAL_DATA",
            method="POST",
            path=page.request.url.path,
            status=200,
            payment_intent_id=payment_intent_id,
            reason=reason,
        )

    await in_thread(note)


async def request(page: Page) -> Call:
    """Requests an approval."""
    name = payment_id(page)
    try:
        return Call(name, "approvals", acts.request_body(page.fields))
    except ValueError:
        raise invalid("amount", "is not an amount: write 125.50") from None


async def act(page: Page) -> Call:
    """Carries out the form's action."""
    name = payment_id(page)
    action = page.fields.get("action", "")
    if action not in acts.BY_NAME:
        raise invalid("action", "is not one of this page")
    found = await page.api.get(f"/api/payments/{name}")
    return Call(name, acts.BY_NAME[action].path, acts.body(action, page.fields, found))


async def evidence(page: Page) -> Response:
    """The pack as a file, as the API makes it."""
    name, form = payment_id(page), page.request.path_params["form"]
    reply = await page.api.call(
        "GET", f"/api/payments/{name}/evidence-pack/download", query={"format": form}
    )
    kept = ("content-type", "content-disposition", "etag")
    headers = {key: reply.headers[key] for key in kept if key in reply.headers}
    return Response(reply.content, headers=headers)


async def live(page: Page) -> Response:
    """Server-sent events of this payment since the page was made, or since the browser's last one;
    the page reloads itself at each. Raises Problem (400) for an id that is none.
    """
    name = payment_id(page)
    await page.api.get(f"/api/payments/{name}")
    streams = page.site.streams
    given = page.request.headers.get("last-event-id") or page.request.query_params.get("since")
    since = from_id(given, page.site.services.partitions) if given else None
    watcher = streams.admit(page.who["id"], name)
    auth, session = page.site.auth, page.session
    return StreamingResponse(
        streams.watch(watcher, since, session.expires_at, lambda: auth.revoked(session.token)),
        media_type="text/event-stream",
    )


def least_sequence(page: Page) -> str:
    """The sequence that the page must show at least, after the command that led here; empty without
    one.
    """
    given = page.request.query_params.get("min", "")
    return given if given.isascii() and given.isdigit() else ""


def payment_id(page: Page) -> str:
    """The payment id in the path. Raises Problem (404) for a text that cannot be one."""
    name: str = page.request.path_params["payment"]
    if PAYMENT_ID.fullmatch(name) is None:
        raise Problem(404, "PAYMENT_NOT_FOUND", "NOT_FOUND", "There is no such payment.")
    return name


ONE: Final = "/payments/{payment}"
ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/payments", payments),
    signed(ONE, payment),
    signed(f"{ONE}/live", live),
    signed(f"{ONE}/evidence.{{form}}", evidence),
    signed(f"{ONE}/reveal", reveal, "POST"),
    *acting(f"{ONE}/request", request),
    *acting(f"{ONE}/act", act),
)
