"""The approval queue, and one request: the consequence, and the second person's word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from api.auth.access import ACCESS
from api.edge.problems import Problem, invalid
from core.values import same_person
from web import acts
from web.asking import Refused
from web.pages.payments import least_sequence, payment_id
from web.site import Page, signed

STATUSES: Final = ("REFERRED", "REQUESTED", "APPROVED", "REJECTED", "USED", "EXPIRED")
DECIDE: Final = ACCESS["POST", f"{acts.PAYMENT}/approvals/{{approval_id}}/approve"]
WORDS: Final = ("approve", "reject")


async def approvals(page: Page) -> Response:
    """Oldest first; those that wait, unless another status is asked for."""
    asked = page.request.query_params
    status = asked.get("status", "REFERRED")
    found = await page.api.get("/api/approvals", status=status, cursor=asked.get("cursor", ""))
    more = urlencode({"status": status, "cursor": found["next"]}) if found["next"] else None
    return page.render(
        "approvals.html", items=found["items"], status=status, statuses=STATUSES, more=more
    )


async def approval(page: Page) -> Response:
    """What follows when it is approved, and who may decide."""
    name, asked = payment_id(page), page.request.path_params["approval"]
    payment = await page.api.get(f"/api/payments/{name}", minSequence=least_sequence(page))
    listed = (await page.api.get("/api/approvals", paymentIntentId=name))["items"]
    found = next((each for each in listed if each["approvalId"] == asked), None)
    if found is None:
        raise Problem(404, "NOT_FOUND", "NO_SUCH_APPROVAL", "There is no such approval.")
    told = None
    if page.request.query_params.get("told"):
        told = await page.api.get(
            f"/api/outcomes/{page.request.query_params['told']}", paymentIntentId=name
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
        told=told,
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
            return "This verdict does not fit the conflict any more: it will be refused."
    return "The conflict is resolved already."


async def decide(page: Page) -> Response:
    """Approve or reject, with a reason. Raises Problem, Refused."""
    name, asked = payment_id(page), page.request.path_params["approval"]
    word = page.fields.get("word", "")
    if word not in WORDS:
        raise invalid("word", "is neither approve nor reject")
    body = {"reason": page.fields.get("reason", "")}
    try:
        answer = await page.api.post(f"/api/payments/{name}/approvals/{asked}/{word}", body)
    except Refused as refused:
        if "commandId" not in refused.problem:
            raise
        answer = dict(refused.problem)
    query = {"told": answer["commandId"]}
    if answer.get("toSequence"):
        query["min"] = str(answer["toSequence"])
    return RedirectResponse(f"/approvals/{name}/{asked}?{urlencode(query)}", 303)


ONE: Final = "/approvals/{payment}/{approval}"
ROUTES: Final[tuple[BaseRoute, ...]] = (
    signed("/approvals", approvals),
    signed(ONE, approval),
    signed(ONE, decide, "POST"),
)
