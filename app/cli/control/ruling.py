"""`npp control ruling`: two people rule on a journal record that re-deciding does not give (domain
§10).

FOREIGN: we did not write it and nothing builds on it; every reader skips it.
TAKEN_AS_RECORDED: an event of ours builds on it, or a defect of ours decided it; it stays, and is
not decided again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import typer

from app import rule_files
from app.cli.api_options import ActAs, Json, answer
from app.cli.output import as_json
from app.cli.signing import Key, of_control, signer_of
from app.cluster import Cluster, Entry
from app.config import settings
from app.exits import ExitCode, Problem, usage
from app.recovery import GROUP
from control.fold import Control
from core.control_records import FOREIGN, TAKEN_AS_RECORDED, ActConfirmed, DispositionRequested
from core.dispositions import Dispositions
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import CorruptHistory
from core.records import Checkpoint, PaymentLifecycle
from core.words import Ruling
from engine.clients.groups import GroupAdmin
from engine.clients.publisher import NotConfirmed, Outgoing
from engine.clients.reader import read_all
from evidence.chain import read_link
from processors.replay import fold
from schemas import topology
from schemas.errors import Undecodable

WORK: Final = (
    topology.RAIL_SUBMISSIONS,
    topology.DEPOSITS_REQUESTS,
    topology.RESOLVE_REQUESTS,
    topology.NOTIFICATIONS,
)
CONFIRM: Final = "A second person: npp control confirm {offset} --as …"


def ruling(
    partition: Annotated[int, typer.Argument(help="Of the journal.", min=0)],
    offset: Annotated[int, typer.Argument(help="The record's offset, as in the STOP.", min=0)],
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Not ours, and nothing depends on it: skip it.")
    ] = False,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", help="Keep it, and do not decide it again.")
    ] = False,
    reason: Annotated[str, typer.Option(help="The reason; packs show it forever.")] = "",
    operator: ActAs = "",
    key: Key = None,
    json: Json = False,
) -> None:
    """Request a ruling on a journal record that the verifier stopped for. A second person confirms
    it with `npp control confirm`; only then every reader of the journal obeys it.

    The request contains the record's hash, so it cannot apply to another record. Evidence packs of
    the payment show the ruling, its reason and both people forever.
    """
    if foreign == as_recorded:
        raise usage("Say which: --foreign or --as-recorded.")
    if not reason:
        raise usage("A ruling needs --reason.")
    with Cluster(settings.load()) as cluster:
        control, _ = cluster.control()
        wanted = _request(cluster, partition, offset, FOREIGN if foreign else TAKEN_AS_RECORDED)
        refusal = control.dispositions.refusal(wanted) or _refusal(cluster, control, wanted)
        if refusal is not None:
            raise Problem(f"{wanted.ruling} is not possible: {refusal}.", do=_OTHER_WAY)
        me = signer_of(of_control(control), operator, key)
        requested = msgspec.structs.replace(
            wanted, reason=reason, requested_at=cluster.clock.now_ms(), actor=me.person
        )
        at = cluster.publish_control(me.sign(requested)).offset
    payment = requested.payment_intent_id or "no payment"
    what = f"{requested.event_type or 'unreadable record'} of {payment}"
    answer(
        {**as_json(requested), "controlOffset": at},
        json,
        f"Journal partition {partition} offset {offset}: {what}, sequence {requested.sequence}.",
        f"{requested.ruling} is requested. {CONFIRM.format(offset=at)}",
    )


_OTHER_WAY: Final = "docs/runbook.md, UnauthorizedStateMutation, says which ruling fits."


def carry_out(cluster: Cluster, control: Control, requested: DispositionRequested) -> None:
    """Before the confirmation: publish the payment's lifecycle record again if it is not that of
    its history under this ruling. May be repeated. Raises Problem.
    """
    refusal = control.dispositions.refusal(requested) or _refusal(cluster, control, requested)
    if refusal is not None:
        raise Problem(f"{requested.ruling} is not possible: {refusal}.", do=_OTHER_WAY)
    if not requested.payment_intent_id:
        return
    rulings = control.dispositions.copied()
    agreed = ActConfirmed(request_offset=0, confirmed_at=0, actor="")
    rulings.confirm(requested, 0, agreed, 0)
    payment = requested.payment_intent_id
    expected = _lifecycle(cluster, payment, rulings)
    there = None
    for entry in cluster.read(topology.LIFECYCLE, cluster.partition(payment), payment.encode()):
        there = entry.record
    if there == expected:
        return
    if GroupAdmin(cluster.connection, cluster.clock).members(GROUP):
        raise Problem(
            "Payments processors are running.",
            means="The payment's lifecycle record must be published again, and they may have "
            "the wrong state.",
            do="End every `npp run payments`, wait for their sessions to end, confirm again.",
        )
    value = None if expected is None else cluster.codec.encode(topology.LIFECYCLE, expected)
    place = cluster.partition(payment)
    try:
        cluster.publisher.publish_all(
            [Outgoing(topology.LIFECYCLE, payment.encode(), value, place)]
        )
    except NotConfirmed as error:
        raise Problem(f"Kafka did not confirm a record: {error}", do="Confirm again.") from error


def _request(cluster: Cluster, partition: int, offset: int, wanted: Ruling) -> DispositionRequested:
    """The request for the record there, not yet signed. Raises Problem when there is none."""
    entry = _record(cluster, partition, offset)
    value = entry.at.value or b""
    payment, sequence = "", 0
    try:
        link = read_link(value)
    except ValueError:
        pass  # no event at all: partition, offset and hash name it
    else:
        payment, sequence = link.payment_intent_id, link.sequence
    return DispositionRequested(
        ruling=wanted,
        partition=partition,
        offset=offset,
        event_hash=hashlib.sha256(value).digest(),
        payment_intent_id=payment,
        sequence=sequence,
        event_type="" if entry.record is None else type(entry.record).__name__,
        reason="",
        requested_at=0,
        actor="",
    )


def _record(cluster: Cluster, partition: int, offset: int) -> Entry:
    if partition >= cluster.partitions(topology.EVENTS):
        raise usage(f"The journal has no partition {partition}.")
    for batch in read_all(
        cluster.connection, topology.EVENTS, start={partition: offset},
        ends={partition: offset + 1}, partitions=[partition], clock=cluster.clock,
    ):  # fmt: skip
        for at in batch:
            if at.offset == offset:
                return cluster.entry(at)
    raise Problem(
        f"There is no record at journal partition {partition} offset {offset}.",
        do="The STOP's reason names the offset: `npp control show`.",
        code=ExitCode.NOT_FOUND,
    )


def _refusal(cluster: Cluster, control: Control, requested: DispositionRequested) -> str | None:
    """Why this ruling would be wrong on the current log, or None."""
    payment = requested.payment_intent_id
    if requested.ruling == TAKEN_AS_RECORDED:
        return None if requested.event_type else "an unreadable record cannot stay in the fold"
    number = _covered_by(cluster, requested)
    if number is not None:
        return f"checkpoint {number} has signed it: use TAKEN_AS_RECORDED"
    if not payment:
        return None
    same_sequence = False
    for entry in cluster.read(topology.EVENTS, requested.partition, payment.encode()):
        at = entry.at
        if at.offset == requested.offset or control.dispositions.skips(
            at.partition, at.offset, at.value
        ):
            continue
        try:
            link = read_link(at.value or b"")
        except ValueError:
            continue
        if link.previous_hash == requested.event_hash:
            return f"offset {at.offset} depends on it: use TAKEN_AS_RECORDED"
        same_sequence = same_sequence or link.sequence == requested.sequence
    if same_sequence:
        return None  # instructions under this sequence belong to the other event
    place = next(_instructed(cluster, payment, requested.sequence), None)
    return None if place is None else f"{place} may have sent an instruction because of it"


def _covered_by(cluster: Cluster, requested: DispositionRequested) -> int | None:
    for entry in cluster.read(topology.CHECKPOINTS, requested.partition):
        found = entry.record
        if (
            isinstance(found, Checkpoint)
            and found.from_offset <= requested.offset <= found.to_offset
        ):
            return found.number
    return None


def _instructed(cluster: Cluster, payment: str, sequence: int) -> Iterator[str]:
    """Where there are instructions that name this event of the payment."""
    for topic in WORK:
        partition = cluster.partition(payment) % cluster.partitions(topic)
        for entry in cluster.read(topic, partition):
            header = getattr(entry.record, "header", None)
            if header is None:
                continue
            if (header.payment_intent_id, header.sequence) == (payment, sequence):
                yield f"{topic} partition {entry.at.partition} offset {entry.at.offset}"


def _lifecycle(cluster: Cluster, payment: str, rulings: Dispositions) -> PaymentLifecycle | None:
    """The lifecycle record of the payment's history under these rulings; None without events."""
    values = [
        entry.at.value or b""
        for entry in cluster.history(payment)
        if not rulings.skips(entry.at.partition, entry.at.offset, entry.at.value)
    ]
    if not values:
        return None
    try:
        state = fold.rebuild(cluster.codec, values, rule_files.rules_of)
    except (CorruptHistory, ValueError, KeyError, Undecodable) as error:
        raise Problem(
            f"Under this ruling the history of {payment} cannot be folded: {error}",
            means="The chain would still be broken, and the STOP would not end.",
            do="Look for another record of the payment that is not ours: `npp payment tail`.",
        ) from error
    return lifecycle_record(state, hashlib.sha256(values[-1]).digest())
