"""`npp redrive`: putting back what could not be decided, on Kafka itself."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer

from app import settings
from app.cli.api_options import As
from app.cli.output import console, print_json, time_of
from app.cluster import Cluster
from app.exits import ExitCode, Problem, usage
from control import quarantine
from core.records import RedriveConfirmed, RedriveRequested
from core.values import same_person
from engine.clients.reader import read_all
from engine.records import LogRecord
from schemas import topology

ID_BYTES: Final = 4
KEY_BYTES_SHOWN: Final = 64
PANEL: Final = "Control"


def register(app: typer.Typer) -> None:
    app.command("redrive", rich_help_panel=PANEL)(redrive)


def list_from_kafka(reason: str, payment: str, json: bool) -> None:
    """List quarantined records: where they stand, why, and where they came from; "" is any."""
    if reason and reason not in quarantine.REASONS:
        raise usage(
            f"There is no reason {reason}.", do=f"One of {', '.join(sorted(quarantine.REASONS))}."
        )
    cluster = Cluster(settings.load())
    for batch in read_all(cluster.connection, topology.QUARANTINE, clock=cluster.clock):
        for at in batch:
            if payment and at.key != payment.encode():
                continue
            _print_record(at, reason, json)


def _print_record(at: LogRecord, reason: str, json: bool) -> None:
    try:
        why = quarantine.parse(at.headers)
    except ValueError as error:
        console().print(f"{at.partition}/{at.offset} not written by the product: {error}")
        return
    if reason and why.reason != reason:
        return
    key = _key_text(at.key or b"")
    size, digest = len(at.value or b""), None
    if why.reference is not None:
        size, digest = max(0, why.reference.value_bytes), why.reference.value_sha256.hex()
    if json:
        place = {"partition": at.partition, "offset": at.offset, "time": at.timestamp_ms}
        origin = {"topic": why.topic, "partition": why.partition, "offset": why.offset}
        row = {**place, "key": key, "reason": why.reason, "detail": why.detail, "origin": origin}
        whole = {"valueBytes": size, "byReference": digest is not None, "valueSha256": digest}
        print_json({**row, **whole}, indent=False)
        return
    by_reference = "" if digest is None else f"  [by reference: {size:,} bytes, SHA-256 {digest}]"
    console().print(
        f"{at.partition}/{at.offset}  {time_of(at.timestamp_ms)}  {why.reason:<11} {key:<29} "
        f"{why.topic}[{why.partition}]@{why.offset}  {why.detail}{by_reference}",
    )


def _key_text(key: bytes) -> str:
    """A payment's id, or the beginning of what else stands there as a key."""
    text = key[:KEY_BYTES_SHOWN].decode(errors="replace")
    return text if len(key) <= KEY_BYTES_SHOWN else f"{text}… ({len(key):,} bytes)"


def redrive(
    operator: As,
    request: Annotated[bool, typer.Option("--request", help="The first person asks.")] = False,
    confirm: Annotated[str, typer.Option("--confirm", help="Request to confirm, rdr_…")] = "",
    partition: Annotated[int, typer.Option(help="Partition of the quarantine topic.")] = 0,
    offset: Annotated[list[int] | None, typer.Option(help="Offset in it; may be repeated.")] = None,
    to: Annotated[
        str, typer.Option(help="Assign an UNMATCHED report to this payment or externalRef.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, in words.")] = "",
) -> None:
    """Put quarantined records back, or assign an unmatched report to a payment. Two persons.

    `npp quarantine list` shows partition/offset. The redriver carries it out; the bytes stay as
    they are, and a record that was decided meanwhile is a duplicate.
    """
    if request == bool(confirm):
        raise usage("Say --request (first person) or --confirm rdr_… (second person).")
    cluster = Cluster(settings.load())
    now = cluster.clock.now_ms()
    if request:
        if not reason or not offset:
            raise usage("A request to redrive needs --offset and --reason.")
        name = "rdr_" + secrets.token_hex(ID_BYTES)
        offsets = tuple(sorted(set(offset)))
        cluster.publish_control(
            RedriveRequested(name, partition, offsets, reason, now, operator, to or None)
        )
        console().print(f"{name}: requested. A second person: npp redrive --confirm {name} --as …")
    else:
        asked = _requested(cluster, confirm)
        if same_person(asked.actor, operator):
            raise Problem("The person who asked cannot confirm: a second person has to.")
        cluster.publish_control(RedriveConfirmed(confirm, now, operator))
        console().print(f"{confirm}: confirmed; `npp tail control` shows RedriveDone")
    cluster.close()


def _requested(cluster: Cluster, name: str) -> RedriveRequested:
    for entry in cluster.read(topology.CONTROL, 0):
        if isinstance(entry.record, RedriveRequested) and entry.record.request_id == name:
            return entry.record
    raise Problem(f"Nobody requested {name}.", code=ExitCode.NOT_FOUND)
