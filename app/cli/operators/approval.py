"""`npp approval`: ask Resolve, see who waits, decide as a second person."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api_client import Call
from app.cli.api_options import LIMIT, Curl, Cursor, Json, Limit, fetch, query, show_list
from app.cli.payment import actions as api_actions

app = typer.Typer(help="Approvals of gated actions, through the API.", no_args_is_help=True)


@app.command("list")
def list_approvals(
    payment: Annotated[str, typer.Option(help="Only of this payment.")] = "",
    status: Annotated[
        str, typer.Option(help="REQUESTED, REFERRED, APPROVED, REJECTED or USED")
    ] = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Approvals, oldest first. REFERRED ones wait for a person."""
    asked = query(payment_intent_id=payment, status=status, limit=limit, cursor=cursor)
    reply = fetch(Call("GET", "/api/approvals", asked), json=json, curl=curl)
    if reply is not None:
        show_list(
            reply,
            (
                *("paymentIntentId", "approvalId", "action", "status", "attemptId", "phase"),
                *("requester", "reason", "requestedAt", "expiresAt", "decidedBy"),
            ),
        )


for _name, _function in api_actions.OF_APPROVAL.items():
    app.command(_name)(_function)
