"""The API call of a form: carried out, or shown as the `curl` or `npp` command for the same."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import orjson
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from core.values import CENTS_PER_UNIT
from web.api_client import Refused, given
from web.site import Page, signed

UNWRITTEN: Final = "…"  # for a text that the form still lacks
WRITTEN: Final = frozenset({"reason", "details"})
NOUNS: Final[dict[str, str]] = {"approvals": "approval", "conflicts": "conflict"}
# Options of the command line whose names differ from the body's fields.
_OPTIONS: Final[dict[str, str]] = {
    "attemptId": "attempt",
    "approvalId": "approval",
    "conflictId": "conflict",
    "customerId": "customer",
    "failureReason": "failure-reason",
}


class Call(msgspec.Struct, frozen=True):
    """POST to `path` below the payment's."""

    payment: str
    path: str
    body: Mapping[str, Any]

    @property
    def address(self) -> str:
        return f"/api/payments/{self.payment}/{self.path}"


CallOf = Callable[[Page], Awaitable[Call]]


def acting(path: str, call_of: CallOf, *, stays: bool = False) -> list[Route]:
    """The route of a form, and the one that shows the command for the form as it is filled in. The
    next page is the payment's, or with `stays` the form's, with the outcome above it.
    """

    async def act(page: Page) -> Response:
        call = await call_of(page)
        shown = page.request.url.path if stays else f"/payments/{call.payment}"
        return await _sent(page, call, shown)

    async def command(page: Page) -> Response:
        call = await call_of(page)
        return PlainTextResponse(curl(call) if page.fields.get("as") == "curl" else npp(call))

    return [signed(path, act, "POST"), signed(f"{path}/command", command, "POST")]


async def _sent(page: Page, call: Call, shown: str) -> Response:
    """Raises Refused for what never became a command."""
    try:
        answer = await page.api.post(call.address, call.body)
    except Refused as refused:
        if "commandId" not in refused.problem:
            raise
        answer = refused.problem
    query = {"outcome": answer["commandId"]}
    if answer.get("toSequence"):
        query["min"] = str(answer["toSequence"])
    return RedirectResponse(f"{shown}?{urlencode(query)}", 303)


def curl(call: Call) -> str:
    """As `npp … --curl` prints it, with the API's address from a shell variable."""
    body = shlex.quote(orjson.dumps(_written(call.body)).decode())
    return (
        f'curl -X POST -H "Authorization: Bearer $NPP_API_TOKEN" '
        f"-H 'Content-Type: application/json' -d {body} "
        f'"$NPP_API_URL{quote(call.address)}"'
    )


def npp(call: Call) -> str:
    """The `npp` command; each field of the body is an option."""
    options = [_option(name, value) for name, value in _written(call.body).items()]
    return " ".join(["npp", shlex.join(_words(call)), *options])


def _words(call: Call) -> list[str]:
    room, *rest = call.path.split("/")
    if room in NOUNS and rest:
        which, verb = rest
        return [NOUNS[room], verb, call.payment, which]
    if room in NOUNS:
        return [NOUNS[room], "request", call.payment]
    return ["payment", "-".join([*rest, room]), call.payment]  # funds/repeat is repeat-funds


def _option(name: str, value: Any) -> str:
    if name == "amount":
        value = "{}.{:02d}".format(*divmod(value, CENTS_PER_UNIT))
    return f"--{_OPTIONS.get(name, name)}={shlex.quote(value)}"


def _written(body: Mapping[str, Any]) -> dict[str, Any]:
    return given({k: v or UNWRITTEN if k in WRITTEN else v for k, v in body.items()})
