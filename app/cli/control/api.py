"""`npp control`: stops, rule set and proofs through the API; STOP and its end by two persons.

`npp stop` and `npp resume` do the same on Kafka itself: a STOP must not depend on the API.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api_client import Call
from app.cli.api_options import ActAs, Curl, Json, Role, Why, body, fetch, post_as_admin
from app.cli.output import print_json

app = typer.Typer(help="STOP and its end, through the API.", no_args_is_help=True)

StopId = Annotated[str, typer.Argument(help="The stop, stp_…")]


@app.command()
def show(json: Json = False, curl: Curl = False) -> None:
    """Open stops, requests to resume, the rule set in force, the last proof."""
    reply = fetch(Call("GET", "/api/control"), json=json, curl=curl)
    if reply is not None:
        print_json(reply.body)


@app.command()
def stop(
    reason: Why, operator: ActAs = "", role: Role = None, json: Json = False, curl: Curl = False
) -> None:
    """Stop processing: inputs wait, nothing is submitted, until two persons resume."""
    post_as_admin("/api/control/stop", body(reason=reason), operator, role, json=json, curl=curl)


@app.command()
def resume(
    stop_id: StopId,
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask to end a stop; rests on the last replay that passed (`npp replay verify --publish`)."""
    path = f"/api/control/stops/{stop_id}/resume-requests"
    post_as_admin(path, body(reason=reason), operator, role, json=json, curl=curl)


@app.command()
def confirm(
    stop_id: StopId,
    offset: Annotated[int, typer.Argument(help="Of the request, as its answer named it.")],
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Confirm a request to resume, as the second person."""
    path = f"/api/control/stops/{stop_id}/resume-requests/{offset}/confirm"
    post_as_admin(path, None, operator, role, json=json, curl=curl)
