"""`npp conflict`: reports that contradict the record, and their end by a verdict."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app.cli.acting import SENIOR, Actor, PaymentAct, action, require_attempt_for_curl
from app.cli.api_client import Call
from app.cli.api_options import (
    LIMIT,
    Curl,
    Cursor,
    Json,
    Limit,
    PaymentArgument,
    body,
    check_payment,
    fetch,
    open_api,
    query,
    show_fields,
    show_list,
    show_verdicts,
)
from app.cli.words import attempt_named, cents
from app.cluster import Cluster
from app.config import settings
from app.exits import ExitCode, Problem
from core.payment import commands
from core.payment.events import ReconciliationRequired
from core.payment.operator.verdicts import VERDICTS
from core.values import attempt_id

CONFLICTS_COUNT_MAX: Final = 200  # of a payment, the API's page

app = typer.Typer(help="Reports that contradict the record: list, resolve.", no_args_is_help=True)


@app.command("list")
def list_conflicts(
    payment: Annotated[str, typer.Option(help="Only of this payment.")] = "",
    open_only: Annotated[bool, typer.Option("--open/--all", help="Unresolved ones only.")] = True,
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Conflicts, oldest first."""
    requested = query(payment_intent_id=payment, open=open_only, limit=limit, cursor=cursor)
    reply = fetch(Call("GET", "/api/conflicts", requested), json=json, curl=curl)
    if reply is None:
        return
    for each in reply.body["items"]:
        each["fit"] = ", ".join(fits["verdict"] for fits in each["verdicts"])
    show_list(
        reply,
        (
            *("paymentIntentId", "conflictId", "kind", "attemptId", "detail", "openedAt"),
            *("resolvedAt", "verdict", "fit"),
        ),
    )


@app.command("show")
def show_conflict(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="Only this one, cnf_001.")] = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """A payment's open conflicts, with the consequence of each verdict that fits."""
    check_payment(payment)
    requested = query(payment_intent_id=payment, open=True)
    reply = fetch(Call("GET", "/api/conflicts", requested), json=json, curl=curl)
    if reply is None:
        return
    found = [each for each in reply.body["items"] if conflict in ("", each["conflictId"])]
    if not found:
        raise Problem(
            f"{payment} has no such open conflict.",
            do=f"npp conflict list --all --payment {payment}",
            code=ExitCode.NOT_FOUND,
        )
    for each in found:
        show_fields(each, ("conflictId", "kind", "attemptId", "amount", "detail", "openedAt"))
        show_verdicts(each["verdicts"])


@app.command()
@action(SENIOR)
def resolve(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="conflict id, cnf_001")],
    verdict: Annotated[
        str, typer.Option(help=f"{', '.join(VERDICTS)}; `npp conflict show` says which fit")
    ],
    details: Annotated[str, typer.Option(help="The finding, and how it was made.")],
    attempt: Annotated[
        str | None,
        typer.Option(help="1 or att_001; default: the conflict's own.", callback=attempt_named),
    ] = None,
    amount: Annotated[
        str | None, typer.Option(help="For RETURNED: the returned amount, in dollars and cents.")
    ] = None,
    *,
    actor: Actor,
) -> PaymentAct:
    """Resolve an open conflict; needs an approval RESOLVE_RECONCILIATION of the same verdict."""
    require_attempt_for_curl(attempt, actor)
    requested = body(
        attempt_id=attempt or _attempt_of(payment, conflict, actor),
        verdict=verdict,
        details=details,
        amount=None if amount is None else cents(amount),
    )
    path, named = f"conflicts/{conflict}/resolve", {"conflict_id": conflict}
    return PaymentAct(payment, path, requested, commands.ResolveReconciliation, named)


def _attempt_of(payment: str, conflict: str, actor: Actor) -> str:
    """The attempt that the conflict is about, resolved or not. Raises Problem."""
    check_payment(payment)
    environment = settings.load()
    if environment.settings.api_url:
        requested = query(payment_intent_id=payment, open=False, limit=CONFLICTS_COUNT_MAX)
        with open_api(actor.operator, actor.roles) as api:
            items = api.ask(Call("GET", "/api/conflicts", requested)).body["items"]
        found = {each["conflictId"]: str(each["attemptId"]) for each in items}
    else:
        with Cluster(environment) as cluster:
            records = [each.record for each in cluster.history(payment)]
        found = {
            each.conflict_id: attempt_id(each.header.attempt)
            for each in records
            if isinstance(each, ReconciliationRequired)
        }
    if conflict not in found:
        raise Problem(
            f"{payment} has no conflict {conflict}.",
            do=f"npp conflict list --all --payment {payment}",
            code=ExitCode.NOT_FOUND,
        )
    return found[conflict]
