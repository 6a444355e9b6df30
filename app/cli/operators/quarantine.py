"""Queues and records that operators work through: conflicts, attention, audit, quarantine."""

from __future__ import annotations

from typing import Annotated

import typer

from app import settings
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
    check_payment,
    fetch,
    post_as_admin,
    query,
    show_fields,
    show_list,
    show_verdicts,
)
from app.cli.operators.redrive import list_from_kafka
from app.cli.payment import actions as api_actions
from app.exits import ExitCode, Problem

conflicts = typer.Typer(help="Reports that contradict the record.", no_args_is_help=True)
quarantine = typer.Typer(help="Records that could not be decided.", no_args_is_help=True)

Partition = Annotated[int, typer.Option(help="Partition of the quarantine topic.")]
Offsets = Annotated[list[int], typer.Option("--offset", help="Offset in it; may be repeated.")]
To = Annotated[str | None, typer.Option(help="Assign an UNMATCHED report to this payment.")]


def register(app: typer.Typer) -> None:
    app.add_typer(conflicts, name="conflict")
    app.add_typer(quarantine, name="quarantine")
    app.command("attention", rich_help_panel="Operators")(attention)
    app.command("audit", rich_help_panel="Operators")(audit)


@conflicts.command("list")
def list_conflicts(
    payment: Annotated[str, typer.Option(help="Only of this payment.")] = "",
    open_only: Annotated[bool, typer.Option("--open/--all", help="Unresolved ones only.")] = True,
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Conflicts, oldest first."""
    asked = query(payment_intent_id=payment, open=open_only, limit=limit, cursor=cursor)
    reply = fetch(Call("GET", "/api/conflicts", asked), json=json, curl=curl)
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


@conflicts.command("show")
def show_conflict(
    payment: PaymentArgument,
    conflict: Annotated[str, typer.Argument(help="Only this one, cnf_001.")] = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """A payment's open conflicts, and what follows from each verdict that fits."""
    check_payment(payment)
    asked = query(payment_intent_id=payment, open=True)
    reply = fetch(Call("GET", "/api/conflicts", asked), json=json, curl=curl)
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


conflicts.command("resolve")(api_actions.resolve)


def attention(
    limit: Limit = LIMIT, cursor: Cursor = "", json: Json = False, curl: Curl = False
) -> None:
    """Payments that need a person, longest waiting first, with why and since when."""
    call = Call("GET", "/api/attention", query(limit=limit, cursor=cursor))
    reply = fetch(call, json=json, curl=curl)
    if reply is not None:
        show_list(
            reply,
            ("paymentIntentId", "state", "moneyOutcome", "funds", "attentionSince", "why"),
        )


def audit(
    operator: Annotated[str, typer.Option(help="By this operator.")] = "",
    payment: Annotated[str, typer.Option(help="On this payment.")] = "",
    action: Annotated[str, typer.Option(help="RetryPayment, evidence-pack, …")] = "",
    since: Annotated[str, typer.Option("--from", help="At or after; ISO 8601 or epoch ms.")] = "",
    until: Annotated[str, typer.Option("--to", help="Before.")] = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """What operators asked for, refused or not, newest first."""
    asked = query(
        operator_id=operator,
        payment_intent_id=payment,
        action=action,
        from_=since,
        to=until,
        limit=limit,
        cursor=cursor,
    )
    reply = fetch(Call("GET", "/api/audit", asked), json=json, curl=curl)
    if reply is not None:
        show_list(
            reply,
            (
                *("at", "operatorId", "action", "paymentIntentId", "reason", "approvalId"),
                *("result", "code", "rule"),
            ),
        )


# -- quarantine ------------------------------------------------------------------------------------


@quarantine.command("list")
def list_quarantine(
    reason: Annotated[
        str, typer.Option(help="UNDECODABLE, MISROUTED, UNMATCHED or PARKED; default: all.")
    ] = "",
    payment: Annotated[str, typer.Option(help="Only of this payment.")] = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Quarantined records: where they stand, why, where they came from.

    Newest first through the API; where none is named, from Kafka itself, oldest first.
    """
    if not settings.load().settings.api_url and not curl:
        list_from_kafka(reason, payment, json)
        return
    asked = query(reason=reason, payment_intent_id=payment, limit=limit, cursor=cursor)
    reply = fetch(Call("GET", "/api/quarantine", asked), json=json, curl=curl)
    if reply is not None:
        show_list(
            reply,
            (
                *("partition", "offset", "at", "reason", "detail", "paymentIntentId"),
                *("origin.topic", "origin.partition", "origin.offset"),
                *("valueBytes", "byReference", "redriveId"),
            ),
        )


@quarantine.command("show")
def show_quarantined(
    partition: Annotated[int, typer.Argument(help="Of the quarantine topic.")],
    offset: Annotated[int, typer.Argument(help="In that partition.")],
    json: Json = False,
    curl: Curl = False,
) -> None:
    """One quarantined record with its bytes; by reference, with their first KiB."""
    call = Call("GET", f"/api/quarantine/{partition}/{offset}")
    reply = fetch(call, json=json, curl=curl)
    if reply is not None:
        show_fields(reply.body, reply.body)


@quarantine.command("preview")
def preview(
    offset: Offsets,
    partition: Partition = 0,
    to: To = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """What a redrive would publish, and where; nothing is done."""
    asked = body(partition=partition, offsets=sorted(set(offset)), payment_intent_id=to)
    post_as_admin("/api/quarantine/redrives/preview", asked, operator, role, json=json, curl=curl)


@quarantine.command("redrive")
def redrive(
    offset: Offsets,
    reason: Why,
    partition: Partition = 0,
    to: To = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Ask for records to be put back, or a report to be assigned; a second person confirms."""
    asked = body(
        partition=partition, offsets=sorted(set(offset)), payment_intent_id=to, reason=reason
    )
    post_as_admin("/api/quarantine/redrives", asked, operator, role, json=json, curl=curl)


@quarantine.command("redrives")
def list_redrives(
    limit: Limit = LIMIT, cursor: Cursor = "", json: Json = False, curl: Curl = False
) -> None:
    """Redrives that were asked for, and what became of them."""
    call = Call("GET", "/api/quarantine/redrives", query(limit=limit, cursor=cursor))
    reply = fetch(call, json=json, curl=curl)
    if reply is not None:
        show_list(
            reply, ("requestId", "status", "partition", "offsets", "requestedBy", "confirmedBy")
        )


@quarantine.command("confirm")
def confirm(
    request_id: Annotated[str, typer.Argument(help="The request, rdr_…")],
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Confirm a redrive as the second person; the redriver carries it out."""
    path = f"/api/quarantine/redrives/{request_id}/confirm"
    post_as_admin(path, None, operator, role, json=json, curl=curl)
