"""The control page: STOPs, what is in force, and the commands with which people sign control acts
on their own machines.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute

from web.site import Page, signed

# The commands that confirm requests which are named by their id, not by their control offset.
_BY_ID: Final[dict[str, str]] = {
    "RedriveRequested": "npp quarantine redrive --confirm {}",
    "RecoverRequested": "npp control recover --confirm {}",
}


class Waiting(msgspec.Struct, frozen=True):
    """A request, and the command by which a second person confirms it."""

    type: str
    actor: str
    reason: str
    command: str


def requests(control: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Id, title and command of each act that a person can request. The person replaces words in
    capitals.
    """
    rules = control["ruleSet"]
    operators = control["operators"]
    number = rules["number"] + 1 if rules else 1
    file = operators["number"] + 1 if operators else 1
    return [
        ("rules", "Put the next rule set in force", f"npp control rules {number}"),
        (
            "operators",
            f"Put operators file {file} in force",
            "npp control operators OPERATORS_FILE",
        ),
        ("sources", "Change the sources that a topic accepts", "npp topics apply"),
        (
            "recover",
            "Recover lost offsets or a lost log tail",
            'npp control recover --request --reason "…"',
        ),
        (
            "pass-over",
            "Pass over one batch that no client can read",
            'npp control recover --request --pass-over TOPIC:PARTITION:OFFSET --reason "…"',
        ),
        (
            "foreign",
            "Rule that a journal record is not ours",
            'npp control ruling PARTITION OFFSET --foreign --reason "…"',
        ),
        (
            "as-recorded",
            "Rule that a journal record stays as it is recorded",
            'npp control ruling PARTITION OFFSET --as-recorded --reason "…"',
        ),
    ]


def waiting(control: Mapping[str, Any]) -> Sequence[Waiting]:
    """The requests that wait for a second person."""
    return [_waiting(each["offset"], each["act"]) for each in control["requests"]]


def _waiting(offset: int, act: Mapping[str, Any]) -> Waiting:
    fields = act["fields"]
    return Waiting(
        act["type"],
        fields["actor"],
        fields.get("reason", ""),
        _confirm(offset, act["type"], fields),
    )


def _confirm(offset: int, name: str, fields: Mapping[str, Any]) -> str:
    if name in _BY_ID:
        return _BY_ID[name].format(shlex.quote(fields["requestId"]))
    if name == "ResumeRequested":
        stop = shlex.quote(fields["stopId"])
        return f"npp control resume --confirm --stop {stop} --offset {offset}"
    if name == "UnparkRequested":
        payment = shlex.quote(fields["paymentIntentId"])
        return f'npp payment resume {payment} --confirm --reason "…"'
    return f"npp control confirm {offset}"


async def control(page: Page) -> Response:
    """The state of the control topic."""
    found = await page.api.get("/api/control")
    return page.render("control.html", c=found, acts=requests(found), waiting=waiting(found))


ROUTES: Final[tuple[BaseRoute, ...]] = (signed("/control", control),)
