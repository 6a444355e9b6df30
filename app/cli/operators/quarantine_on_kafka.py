"""Lists quarantined records and requests their redrive on Kafka, without the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app.cli.output import as_json, console, print_json, time_of
from app.cli.signing import ActSigner
from app.cluster import Cluster, act_id
from app.config import settings
from app.exits import ExitCode, Problem, usage
from control import quarantine
from core.control_records import RedriveConfirmed, RedriveRequested
from core.values import PaymentIntentId, same_person
from engine.clients.reader import read_all
from engine.records import LogRecord
from schemas import topology

KEY_BYTES_SHOWN: Final = 64


def list_records(reason: str, payment: str, json: bool) -> None:
    """List quarantined records: where they are, why, and where they came from; "" is any."""
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
        place = {"partition": at.partition, "offset": at.offset, "at": time_of(at.timestamp_ms)}
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
    """A payment's id, or the beginning of what else is there as a key."""
    text = key[:KEY_BYTES_SHOWN].decode(errors="replace")
    return text if len(key) <= KEY_BYTES_SHOWN else f"{text}… ({len(key):,} bytes)"


def request(
    cluster: Cluster,
    me: ActSigner,
    partition: int,
    offsets: Sequence[int],
    to: str | None,
    reason: str,
) -> dict[str, Any]:
    """The first person's request, as it was written. Raises Problem."""
    _require_quarantined(cluster, partition, offsets)
    record = me.sign(new_request(partition, offsets, to, reason, cluster.clock.now_ms()))
    cluster.publish_control(record)
    return dict(as_json(record))


def _require_quarantined(cluster: Cluster, partition: int, offsets: Sequence[int]) -> None:
    """Raises Problem for an offset without a quarantined record."""
    topic = topology.QUARANTINE
    count = cluster.ends.partition_counts([topic])[topic]
    end = 0
    if partition in range(count):
        end = cluster.ends.high([(topic, partition)])[topic, partition]
    for offset in offsets:
        read = read_all(
            cluster.connection,
            topic,
            start={partition: offset},
            ends={partition: min(offset + 1, end)},
            partitions=[partition] if end else [],
            clock=cluster.clock,
        )
        found = [record for batch in read for record in batch if record.offset == offset]
        if not found:
            raise Problem(
                f"There is no quarantined record at {partition}/{offset}.",
                do="npp quarantine list",
                code=ExitCode.NOT_FOUND,
            )
        try:
            quarantine.parse(found[0].headers)
        except ValueError as error:
            what = f"{partition}/{offset} was not written by the product: {error}"
            raise Problem(what) from error


def confirm(cluster: Cluster, me: ActSigner, name: str) -> dict[str, Any]:
    """The second person's confirmation, as it was written. Raises Problem."""
    record = confirmation(me, name, cluster.clock.now_ms())
    cluster.publish_control(record)
    return dict(as_json(record))


def new_request(
    partition: int, offsets: Sequence[int], to: str | None, reason: str, now_ms: int
) -> RedriveRequested:
    """A request under a new name, not signed yet."""
    return RedriveRequested(
        request_id=act_id("rdr"),
        partition=partition,
        offsets=tuple(offsets),
        reason=reason,
        requested_at=now_ms,
        actor="",
        payment_intent_id=PaymentIntentId(to) if to else None,
    )


def confirmation(me: ActSigner, name: str, now_ms: int) -> RedriveConfirmed:
    """The signed confirmation of a request that waits. Raises Problem."""
    requested = me.context.named(name)
    if requested is None:
        raise Problem(f"No request {name} waits for a second person.", code=ExitCode.NOT_FOUND)
    if same_person(requested.actor, me.person):
        raise Problem("The person who requested it cannot confirm it: a second person has to.")
    record = RedriveConfirmed(request_id=name, confirmed_at=now_ms, actor=me.person)
    signed: RedriveConfirmed = me.sign(record, requested)
    return signed
