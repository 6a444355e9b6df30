"""`npp approval`: ask Resolve, see who waits, decide as a second person."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.cli.acting import OPERATOR, SENIOR, PaymentAct, act
from app.cli.api_client import Call
from app.cli.api_options import (
    LIMIT,
    ActAs,
    Curl,
    Cursor,
    Json,
    Limit,
    PaymentArgument,
    Role,
    Why,
    body,
    fetch,
    query,
    show_list,
)
from app.cli.words import attempt_named, cents
from core.payment import commands
from core.payment.operator.gate import ROLES_OF_ACTION
from core.values import Action

APPROVER: Final = ("approver",)

app = typer.Typer(
    help="Approvals of gated actions: request, list, approve, reject.", no_args_is_help=True
)


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


@app.command()
def request(
    payment: PaymentArgument,
    action: Annotated[Action, typer.Option(help="What is to be allowed.")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    attempt: Annotated[
        str | None,
        typer.Option(help="1 or att_001; default: the present one.", callback=attempt_named),
    ] = None,
    failure_reason: Annotated[
        str | None, typer.Option(help="For MARK_FAILED: RAIL, TIMEOUT, FRAUD, …")
    ] = None,
    conflict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    verdict: Annotated[str | None, typer.Option(help="For RESOLVE_RECONCILIATION.")] = None,
    amount: Annotated[
        str | None, typer.Option(help="Dollars and cents, 12.50: for RETURNED and AMOUNT_ACCEPTED.")
    ] = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask Resolve to allow an action. It is bound to these parameters, this attempt and state."""
    asked = body(
        action=str(action),
        reason=reason,
        attempt_id=attempt,
        failure_reason=failure_reason,
        conflict_id=conflict,
        verdict=verdict,
        amount=None if amount is None else cents(amount),
    )
    wanted = PaymentAct(payment, "approvals", asked, commands.RequestApproval)
    senior = "operator" not in ROLES_OF_ACTION[action]
    act(wanted, operator, role or (SENIOR if senior else OPERATOR), json=json, curl=curl)


@app.command()
def approve(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Approve a request that Resolve has referred to a person; not one's own."""
    wanted = _decision(payment, approval, "approve", "APPROVED", reason)
    act(wanted, operator, role or APPROVER, json=json, curl=curl)


@app.command()
def reject(
    payment: PaymentArgument,
    approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Reject a request that Resolve has referred to a person."""
    wanted = _decision(payment, approval, "reject", "REJECTED", reason)
    act(wanted, operator, role or APPROVER, json=json, curl=curl)


def _decision(payment: str, approval: str, word: str, verdict: str, reason: str) -> PaymentAct:
    named = {"approval_id": approval, "verdict": verdict}
    path = f"approvals/{approval}/{word}"
    return PaymentAct(payment, path, body(reason=reason), commands.DecideApproval, named)
