"""`npp quarantine`: records that could not be decided, and putting them back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.api_client import Call
from app.cli.api_options import (
    ADMIN,
    LIMIT,
    ActAs,
    Curl,
    Cursor,
    Json,
    Kafka,
    Limit,
    Request,
    Role,
    answer,
    ask_as_admin,
    body,
    fetch,
    list_of,
    open_api,
    query,
    require_one,
    show_fields,
    without_api,
)
from app.cli.operators import quarantine_on_kafka as on_kafka
from app.cli.output import print_json
from app.cli.signing import Key, carry, of_api, of_control, signer_of
from app.cluster import Cluster
from app.config import settings
from app.exits import usage
from engine.clock import SystemClock

app = typer.Typer(help="Records that could not be decided: list, redrive.", no_args_is_help=True)

Partition = Annotated[int, typer.Option(help="Partition of the quarantine topic.")]
Offsets = Annotated[list[int], typer.Option("--offset", help="Offset in it; may be repeated.")]
To = Annotated[
    str | None, typer.Option(help="Assign an UNMATCHED report to this payment or externalRef.")
]


@app.command("list")
def list_quarantine(
    reason: Annotated[
        str, typer.Option(help="UNDECODABLE, MISROUTED, UNMATCHED or PARKED; default: all.")
    ] = "",
    payment: Annotated[str, typer.Option(help="Only of this payment.")] = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
    kafka: Kafka = False,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Quarantined records: place, reason and origin.

    Newest first through the API; with --kafka from the topic itself, oldest first.
    """
    if without_api(kafka, curl):
        on_kafka.list_records(reason, payment, json)
        return
    requested = query(reason=reason, payment_intent_id=payment, limit=limit, cursor=cursor)
    list_of(
        Call("GET", "/api/quarantine", requested),
        (
            *("partition", "offset", "at", "reason", "detail", "paymentIntentId"),
            *("origin.topic", "origin.partition", "origin.offset"),
            *("valueBytes", "byReference", "redriveId"),
        ),
        json=json,
        curl=curl,
    )


@app.command("show")
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


@app.command("preview")
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
    requested = body(partition=partition, offsets=sorted(set(offset)), payment_intent_id=to)
    found = ask_as_admin("/api/quarantine/redrives/preview", requested, operator, role, curl=curl)
    if json and found is not None:
        print_json(found)
    elif found is not None:
        show_fields(found, found)


@app.command()
def redrive(
    request: Request = False,
    confirm: Annotated[str, typer.Option("--confirm", help="Request to confirm, rdr_…")] = "",
    offset: Annotated[
        list[int] | None, typer.Option(help="With --request: an offset; may be repeated.")
    ] = None,
    partition: Partition = 0,
    to: To = None,
    reason: Annotated[str, typer.Option(help="With --request: why, in words.")] = "",
    operator: ActAs = "",
    key: Key = None,
    role: Role = None,
    kafka: Kafka = False,
    json: Json = False,
) -> None:
    """Put quarantined records back, or assign an unmatched report to a payment. Two people.

    `npp quarantine list` shows partition and offset. The redriver carries it out; the bytes stay as
    they are, and a record that was decided meanwhile is a duplicate.
    """
    require_one(request, bool(confirm), "rdr_…")
    if request and not (reason and offset):
        raise usage("A request to redrive needs --offset and --reason.")
    offsets = sorted(set(offset or ()))
    if without_api(kafka, False):
        with Cluster(settings.load()) as cluster:
            me = signer_of(of_control(cluster.control()[0]), operator, key)
            if request:
                done = on_kafka.request(cluster, me, partition, offsets, to, reason)
            else:
                done = on_kafka.confirm(cluster, me, confirm)
    else:
        path, now = "/api/quarantine/redrives", SystemClock().now_ms()
        with open_api(operator, tuple(role or ADMIN)) as api:
            me = signer_of(of_api(api), operator, key)
            if request:
                record: Any = me.sign(on_kafka.new_request(partition, offsets, to, reason, now))
                done = carry(api, path, record)
            else:
                record = on_kafka.confirmation(me, confirm, now)
                done = carry(api, f"{path}/{confirm}/confirm", record)
    name = done["requestId"]
    second = f"requested. A second person: npp quarantine redrive --confirm {name} --as …"
    done_by = "confirmed; `npp quarantine redrives` and `npp payment tail control` show its result"
    answer(done, json, f"{name}: {second if request else done_by}")


@app.command("redrives")
def list_redrives(
    limit: Limit = LIMIT, cursor: Cursor = "", json: Json = False, curl: Curl = False
) -> None:
    """Requested redrives and their results."""
    call = Call("GET", "/api/quarantine/redrives", query(limit=limit, cursor=cursor))
    columns = ("requestId", "status", "partition", "offsets", "requestedBy", "confirmedBy")
    list_of(call, columns, json=json, curl=curl)
