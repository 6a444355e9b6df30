"""The approval queue, and one request: its consequence, and the second person's decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from api.auth.access import ACCESS
from api.edge.problems import Problem, invalid
from core.values import same_person
from web import acts
from web.pages.calls import Call, acting
from web.pages.payments import EVENTS_COUNT, least_sequence, payment_id
from web.site import Page, signed

STATUSES: Final = ("REFERRED", "REQUESTED", "APPROVED", "REJECTED", "USED", "EXPIRED")
DECIDE: Final = ACCESS["POST", f"{acts.PAYMENT}/approvals/{{approval_id}}/approve"]
WORDS: Final = ("approve", "reject")


async def approvals(page: Page) -> Response:
    """Requests that wait for a person, or those of the given status; oldest first."""
    requested = page.request.query_params
    status = requested.get("status", "REFERRED")
    filters = {"status": status, "cursor": requested.get("cursor", "")}
    found = await page.api.get("/api/approvals", **filters)
    more = urlencode({"status": status, "cursor": found["next"]}) if found["next"] else None
    return page.render(
        "approvals.html",
        items=found["items"],
        status=status,
        statuses=STATUSES,
        more=more,
        filters=filters,
    )


async def approval(page: Page) -> Response:
    """The consequence of an approval, and who may decide."""
    name, requested = payment_id(page), page.request.path_params["approval"]
    payment = await page.api.get(f"/api/payments/{name}", minSequence=least_sequence(page))
    events = await page.api.get(f"/api/payments/{name}/events", limit=EVENTS_COUNT)
    payment = acts.with_codes(payment, events["items"])
    listed = (await page.api.get("/api/approvals", paymentIntentId=name))["items"]
    found = next((each for each in listed if each["approvalId"] == requested), None)
    if found is None:
        raise Problem(404, "NOT_FOUND", "NO_SUCH_APPROVAL", "There is no such approval.")
    response = None
    if page.request.query_params.get("outcome"):
        response = await page.api.get(
            f"/api/outcomes/{page.request.query_params['outcome']}", paymentIntentId=name
        )
    return page.render(
        "approval.html",
        p=payment,
        a=found,
        title=_title(found),
        consequence=_consequence(found, payment),
        own=same_person(found["requester"], page.who["id"]),
        may_decide=not page.roles.isdisjoint(DECIDE),
        who_may=acts.who_may(DECIDE),
        outcome=response,
    )


def _title(approval: Mapping[str, Any]) -> str:
    known = acts.BY_NAME.get(approval["action"])
    return known.title if known is not None else "Resolve a conflict"


def _consequence(approval: Mapping[str, Any], payment: Mapping[str, Any]) -> str:
    if approval["action"] in acts.BY_NAME:
        return acts.consequence(approval["action"], payment, approval)
    for conflict in payment["conflicts"]:
        if conflict["conflictId"] == approval["conflictId"]:
            for each in conflict["verdicts"]:
                if each["verdict"] == approval["verdict"]:
                    return str(each["consequence"])
            return "This verdict no longer fits the conflict: it will be refused."
    return "The conflict is already resolved."


async def decide(page: Page) -> Call:
    """Approve or reject, with a reason."""
    word = page.fields.get("word", "")
    if word not in WORDS:
        raise invalid("word", "is neither approve nor reject")
    path = f"approvals/{page.request.path_params['approval']}/{word}"
    return Call(payment_id(page), path, {"reason": page.fields.get("reason", "")})


ONE: Final = "/approvals/{payment}/{approval}"
ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/approvals", approvals),
    signed(ONE, approval),
    *acting(ONE, decide, stays=True),
)
