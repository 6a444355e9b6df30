"""Payments: the list, one payment with its history, and what a person does to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from api.auth.access import EXPORT, PERSONAL
from api.auth.guard import PAYMENT_ID
from api.edge.params import in_thread
from api.edge.problems import Problem, invalid, missing_role
from core.values import FailureReason, MoneyOutcome, State
from web import acts
from web.asking import Refused
from web.site import Page, signed

FILTERS: Final = ("state", "moneyOutcome", "reason", "attention", "source", "from", "to", "cursor")
LIST_COUNT: Final = 50
EVENTS_COUNT: Final = 500
NOT_SHOWN: Final = frozenset({"parties", "customerId"})  # only by revealing


async def payments(page: Page) -> Response:
    """All given filters hold; newest first."""
    asked = {
        name: value
        for name, value in page.request.query_params.items()
        if name in FILTERS and value
    }
    found = await page.api.get("/api/payments", **asked, limit=LIST_COUNT)
    more = urlencode({**asked, "cursor": found["next"]}) if found["next"] else None
    return page.render(
        "payments.html",
        items=found["items"],
        asked=asked,
        more=more,
        states=[each.value for each in State],
        outcomes=[each.value for each in MoneyOutcome],
        reasons=[each.value for each in FailureReason],
    )


async def payment(page: Page) -> Response:
    """One payment; `told` names the command whose outcome is shown above it."""
    return await _shown(page, revealed=False)


async def _shown(page: Page, *, revealed: bool) -> Response:
    name = payment_id(page)
    found = await page.api.get(f"/api/payments/{name}", minSequence=least_sequence(page))
    events = await page.api.get(f"/api/payments/{name}/events", limit=EVENTS_COUNT)
    approvals = await page.api.get("/api/approvals", paymentIntentId=name)
    return page.render(
        "payment.html",
        p=found,
        events=events["items"],
        more_events=events["next"] is not None,
        columns=min(len(found["attempts"]), 4),
        approvals=approvals["items"],
        choices=acts.choices(found, approvals["items"], page.roles),
        told=await _told(page, name),
        revealed=revealed,
        may_reveal=not page.roles.isdisjoint(PERSONAL),
        may_export=not page.roles.isdisjoint(EXPORT),
        reasons=acts.REASONS,
        operations=acts.OPERATIONS,
        hidden=NOT_SHOWN,
    )


async def _told(page: Page, name: str) -> Mapping[str, Any] | None:
    """The outcome of the command that the address names; PENDING while it is not known."""
    command = page.request.query_params.get("told", "")
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
    reason = page.fields.get("reason", "")
    if not reason:
        raise invalid("reason", "is missing: why do you need to see it?")
    name, services = payment_id(page), page.site.services
    principal = page.principal()

    def note() -> None:
        services.audit.note(
            principal,
            "REVEAL_PERSONAL_DATA",
            method="POST",
            path=page.request.url.path,
            status=200,
            payment_intent_id=name,
            reason=reason,
        )

    await in_thread(note)
    return await _shown(page, revealed=True)


async def request(page: Page) -> Response:
    """Asks for an approval."""
    name = payment_id(page)
    try:
        body = acts.request_body(page.fields)
    except ValueError:
        raise invalid("amount", "is no amount: write 125.50") from None
    return await sent(page, name, f"/api/payments/{name}/approvals", body)


async def act(page: Page) -> Response:
    """Does what the form says."""
    name = payment_id(page)
    action = page.fields.get("action", "")
    if action not in acts.BY_NAME:
        raise invalid("action", "is not one of this page")
    found = await page.api.get(f"/api/payments/{name}")
    body = acts.body(action, page.fields, found)
    return await sent(page, name, f"/api/payments/{name}/{acts.BY_NAME[action].path}", body)


async def sent(page: Page, name: str, path: str, body: Mapping[str, Any]) -> Response:
    """Calls the API; then the payment's page with the outcome above it. Raises Refused for what
    never became a command."""
    try:
        answer = await page.api.post(path, body)
    except Refused as refused:
        if "commandId" not in refused.problem:
            raise
        answer = refused.problem
    query = {"told": answer["commandId"]}
    if answer.get("toSequence"):
        query["min"] = str(answer["toSequence"])
    return RedirectResponse(f"/payments/{name}?{urlencode(query)}", 303)


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
    """Says when the payment has a new event; the page then loads itself again."""
    name = payment_id(page)
    await page.api.get(f"/api/payments/{name}")
    streams = page.site.streams
    watcher = streams.admit(page.who["id"], name)
    auth, session = page.site.auth, page.session
    return StreamingResponse(
        streams.watch(watcher, None, session.expires_at, lambda: auth.revoked(session.token)),
        media_type="text/event-stream",
    )


def least_sequence(page: Page) -> str:
    """What the page is at least to know, of the command that led here; empty without one."""
    given = page.request.query_params.get("min", "")
    return given if given.isascii() and given.isdigit() else ""


def payment_id(page: Page) -> str:
    """Raises Problem (404) for what no payment is called."""
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
    signed(f"{ONE}/request", request, "POST"),
    signed(f"{ONE}/act", act, "POST"),
)
