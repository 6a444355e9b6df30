"""`npp approval`: request one from Resolve, list pending ones, decide as a second person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from app.cli.acting import OPERATOR, SENIOR, Actor, PaymentAct, act, action
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
    list_of,
    open_api,
    query,
)
from app.cli.output import console
from app.cli.words import attempt_named, cents
from core.payment import commands
from core.payment.operator.gate import ROLES_OF_ACTION
from core.values import Action
from engine.clock import SystemClock

APPROVER: Final = ("approver",)
DECIDED_SECONDS: Final = 5.0  # Resolve decides, or refers to a person
LOOK_EVERY_SECONDS: Final = 0.2
NEXT: Final = {  # what an approval allows, as a command
    Action.RETRY: "payment retry {payment} --reason …",
    Action.RETRY_UNCERTAIN: "payment retry {payment} --reason …",
    Action.CANCEL: "payment cancel {payment} --reason …",
    Action.MARK_FAILED: "payment mark-failed {payment} --reason … --details …",
    Action.EXPIRE: "payment expire {payment} --reason …",
    Action.RESOLVE_RECONCILIATION: "conflict resolve {payment} …",
    Action.RELEASE_EARLY: "payment release {payment} --attempt … --reason …",
    Action.REVERSE: "payment reverse {payment} --attempt … --reason …",
    Action.DEBIT_AGAIN: "payment debit {payment} --attempt … --reason …",
}

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
    requested = query(payment_intent_id=payment, status=status, limit=limit, cursor=cursor)
    list_of(
        Call("GET", "/api/approvals", requested),
        (
            *("paymentIntentId", "approvalId", "action", "status", "attemptId", "phase"),
            *("requester", "reason", "requestedAt", "expiresAt", "decidedBy"),
        ),
        json=json,
        curl=curl,
    )


@app.command()
def request(
    payment: PaymentArgument,
    action: Annotated[Action, typer.Option(help="The action to approve.")],
    reason: Why,
    operator: ActAs = "",
    role: Role = None,
    attempt: Annotated[
        str | None,
        typer.Option(help="1 or att_001; default: the current one.", callback=attempt_named),
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
    requested = body(
        action=str(action),
        reason=reason,
        attempt_id=attempt,
        failure_reason=failure_reason,
        conflict_id=conflict,
        verdict=verdict,
        amount=None if amount is None else cents(amount),
    )
    wanted = PaymentAct(payment, "approvals", requested, commands.RequestApproval)
    senior = "operator" not in ROLES_OF_ACTION[action.value]
    roles = tuple(role or (SENIOR if senior else OPERATOR))
    actor = Actor(operator, roles, curl)
    act(wanted, actor, json=json, then=lambda outcome: _say_next(payment, actor, outcome))


def _say_next(payment: str, actor: Actor, outcome: dict[str, Any]) -> None:
    """The approval's id and status, who may decide it, and the next command."""
    name = outcome.get("approvalId")
    if name is None:
        return
    known = _decided(payment, name, actor)
    status, action = known["status"], known["action"]
    out = console()
    if status == "REFERRED":
        out.print(f"{name} is REFERRED: an approver other than {known['requester']} decides.")
        out.print(f"→ npp approval approve {payment} {name} --reason …", soft_wrap=True)
    elif status == "APPROVED":
        out.print(f"{name} is APPROVED by {known['decidedBy']}.")
        out.print(f"→ npp {NEXT[Action(action)].format(payment=payment)}", soft_wrap=True)
    elif status == "REQUESTED":
        out.print(f"{name} is REQUESTED: Resolve has not answered yet.")
        out.print(f"→ npp approval list --payment {payment}", soft_wrap=True)
    else:
        out.print(f"{name} is {status} by {known['decidedBy']}.")


def _decided(payment: str, name: str, actor: Actor) -> dict[str, Any]:
    """The approval once Resolve has answered, or its state after DECIDED_SECONDS."""
    clock = SystemClock()
    until = clock.monotonic_s() + DECIDED_SECONDS
    call = Call("GET", "/api/approvals", query(payment_intent_id=payment, limit=200))
    known = {"status": "REQUESTED", "action": ""}
    with open_api(actor.operator, actor.roles) as api:
        while True:
            for each in api.ask(call).body["items"]:
                known = each if each["approvalId"] == name else known
            if known["status"] != "REQUESTED" or clock.monotonic_s() > until:
                return known
            clock.sleep(LOOK_EVERY_SECONDS)


def _decision(name: str, verdict: str, help_: str) -> Callable[..., None]:
    """A second person's decision on an approval."""

    def wanted(
        payment: PaymentArgument,
        approval: Annotated[str, typer.Argument(help="approval id, apr_001")],
        reason: Why,
    ) -> PaymentAct:
        path, named = f"approvals/{approval}/{name}", {"approval_id": approval, "verdict": verdict}
        return PaymentAct(payment, path, body(reason=reason), commands.DecideApproval, named)

    wanted.__name__, wanted.__doc__ = name, help_
    return action(APPROVER, gated=False)(wanted)


app.command()(
    _decision(
        "approve",
        "APPROVED",
        "Approve a request that Resolve has referred to a person; not the caller's own request.",
    )
)
app.command()(
    _decision("reject", "REJECTED", "Reject a request that Resolve has referred to a person.")
)
