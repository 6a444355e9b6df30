"""`npp audit`: operators' requests."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.api_client import Call
from app.cli.api_options import (
    LIMIT,
    Curl,
    Cursor,
    Json,
    Limit,
    Since,
    Until,
    list_of,
    query,
)


def audit(
    operator: Annotated[str, typer.Option(help="By this operator.")] = "",
    payment: Annotated[str, typer.Option(help="On this payment.")] = "",
    action: Annotated[str, typer.Option(help="RetryPayment, evidence-pack, …")] = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Operators' actions, refused ones too, newest first."""
    requested = query(
        operator_id=operator,
        payment_intent_id=payment,
        action=action,
        from_=since,
        to=until,
        limit=limit,
        cursor=cursor,
    )
    list_of(
        Call("GET", "/api/audit", requested),
        (
            *("at", "operatorId", "action", "paymentIntentId", "reason", "approvalId"),
            *("result", "code", "rule"),
        ),
        json=json,
        curl=curl,
    )
