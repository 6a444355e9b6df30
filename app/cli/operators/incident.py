"""`npp incident summary`: what happened in a span of time, for a post-mortem."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api_client import Call
from app.cli.api_options import Curl, Json, fetch, query, show_fields
from app.cli.output import console
from app.cli.words import moment

app = typer.Typer(help="Incidents, through the API.", no_args_is_help=True)


@app.callback()
def _incident() -> None:
    """Incidents, through the API."""


@app.command()
def summary(
    since: Annotated[
        str | None,
        typer.Option("--from", help="ISO 8601 with zone; default: an hour ago.", callback=moment),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", help="ISO 8601 with zone; default: now.", callback=moment),
    ] = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Incidents, the payments concerned, and their last events."""
    call = Call("GET", "/api/incidents/summary", query(from_=since, to=until))
    reply = fetch(call, json=json, curl=curl)
    if reply is None:
        return
    found = reply.body
    out = console()
    out.print(f"{found['from']} to {found['to']}")
    show_fields({"fired": found["counts"]}, [f"fired.{name}" for name in found["counts"]])
    out.print(f"refused by an invariant, or broken (marked !): {found['violations']}")
    for each in found["fired"]:
        mark = "!" if each["violation"] else " "
        out.print(f"{each['at']} {mark} {each['kind']:<20} {each['detail']}")
    for each in found["payments"]:
        last = each.get("lastEvent") or {}
        words = (each["paymentIntentId"], each["state"], each["moneyOutcome"], last.get("type"))
        out.print("  ".join(str(word) for word in words if word))
    for name in ("fired", "payments"):
        if found["leftOff"][name]:
            out.print(f"… and {found['leftOff'][name]} more under {name}: request a shorter period")
