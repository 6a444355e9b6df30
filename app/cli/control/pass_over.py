"""Skipping one unreadable batch, under dual control, so that the records after it are processed.

Only batches on topics that one of our groups reads can be skipped: their senders, or the payments
themselves, repeat the lost requests. The journal and other topics that only we write are restored
by Kafka's means, never skipped.
"""

from __future__ import annotations

from typing import Any, Final

from app.cli.cluster.doctor_reading import groups
from app.cli.output import as_json
from app.cli.signing import ActSigner
from app.cluster import Cluster, act_id
from app.exits import Problem, usage
from core.control_records import RecoverConfirmed, RecoverRequested
from engine.clients.groups import GroupAdmin
from engine.clients.readable import bad_batch
from engine.clients.reader import read_all
from engine.ports import RecordPosition

METADATA: Final = "passed over"


def request(
    cluster: Cluster, me: ActSigner, place: str, reason: str
) -> tuple[dict[str, Any], list[str]]:
    """The first person names a position; the request is for the batch there. Returns the request,
    and its description. Raises Problem.
    """
    topic, number, offset = _place(place)
    group = _group_of(topic)
    first, last = _bad_batch(cluster, topic, number, offset)
    if _committed(cluster, group, topic, number) > last:
        raise Problem(
            f"{group} is past offset {last} already.",
            means="The batch was processed before it became unreadable; the log must prove that.",
            do="Restore the partition from another replica (docs/runbook.md).",
        )
    request_id = act_id("rec")
    now = cluster.clock.now_ms()
    record = RecoverRequested(
        request_id=request_id,
        partitions=(number,),
        reason=reason,
        requested_at=now,
        actor=me.person,
        topic=topic,
        first_offset=first,
        last_offset=last,
    )
    cluster.publish_control(me.sign(record))
    return as_json(record), [
        f"{topic} partition {number}: offsets {first} to {last} cannot be read.",
        f"{group} would continue at {last + 1}. First find out what is in the batch.",
    ]


def confirm(
    cluster: Cluster, me: ActSigner, requested: RecoverRequested
) -> tuple[dict[str, Any], list[str]]:
    """The second person confirms: the group continues after the batch. May be repeated until the
    confirmation, which is written last, is on the control topic. Raises Problem.
    """
    topic, number = requested.topic or "", requested.partitions[0]
    batch = requested.first_offset, requested.last_offset
    group, admin = _group_of(topic), GroupAdmin(cluster.connection, cluster.clock)
    if admin.members(group):
        raise Problem(
            f"Members of {group} are running.",
            means="Offsets of a group with members cannot be set.",
            do="End every process of it, wait for their sessions to end, confirm again.",
        )
    found = _bad_batch(cluster, topic, number, requested.first_offset)
    if found != batch:
        raise Problem(
            f"{requested.request_id} names offsets {batch[0]} to {batch[1]}; those from "
            f"{found[0]} to {found[1]} cannot be read.",
            do="Request it again.",
        )
    at = _committed(cluster, group, topic, number)
    if at <= requested.last_offset:
        _check_all_before_is_done(cluster, requested, at)
        admin.set_offsets(group, {(topic, number): requested.last_offset + 1}, METADATA)
    record = RecoverConfirmed(
        request_id=requested.request_id, confirmed_at=cluster.clock.now_ms(), actor=me.person
    )
    cluster.publish_control(me.sign(record, requested))
    where = (
        f"{topic} partition {number} offsets {requested.first_offset} to {requested.last_offset}"
    )
    return as_json(record), [
        f"{requested.request_id}: {where} are passed over. Start {group} again."
    ]


def _bad_batch(cluster: Cluster, topic: str, number: int, offset: int) -> tuple[int, int]:
    """First and last offset of the batch at this place. Raises Problem when it can be read."""
    end = 0
    if number < cluster.partitions(topic):
        end = cluster.ends.stable([(topic, number)])[topic, number]
    if offset >= end:
        raise usage(f"{topic} partition {number} has no offset {offset}: it ends at {end}.")
    low = cluster.ends.low([(topic, number)])[topic, number]
    batch = None
    if offset >= low:
        batch = bad_batch(cluster.connection, cluster.clock, topic, number, offset, end)
    if batch is None:
        raise Problem(
            f"{topic} partition {number} can be read at offset {offset}.",
            means="Only a batch that no client can read is passed over.",
            do="`npp doctor` says which one it is.",
        )
    return batch


def _committed(cluster: Cluster, group: str, topic: str, number: int) -> int:
    at = GroupAdmin(cluster.connection, cluster.clock).committed(group).get((topic, number))
    if at is None:
        raise Problem(f"{group} has no place in {topic} partition {number}: start it first.")
    return at


def _check_all_before_is_done(cluster: Cluster, requested: RecoverRequested, at: int) -> None:
    """Raises Problem when a record that can be read is before the batch and is not done."""
    topic, number = requested.topic or "", requested.partitions[0]
    left = sum(
        len(batch)
        for batch in read_all(
            cluster.connection, topic, start={number: at}, ends={number: requested.first_offset},
            partitions=[number], clock=cluster.clock,
            passed={(topic, number): [(requested.first_offset, requested.last_offset)]},
        )
    )  # fmt: skip
    if left:
        raise Problem(
            f"{left} records before the batch are not done yet.",
            do="Start the processes, let them read up to it, end them, confirm again.",
        )


def _group_of(topic: str) -> str:
    for group, topics in groups().items():
        if topic in topics:
            return group
    raise Problem(
        f"{topic} is not passed over.",
        means="No group of ours reads it: its records are the truth, or derived from it.",
        do="Restore the partition from another replica (docs/runbook.md).",
    )


def _place(text: str) -> RecordPosition:
    topic, _, rest = text.partition(":")
    number, _, offset = rest.partition(":")
    for digits in (number, offset):
        if not (topic and digits.isascii() and digits.isdecimal()):
            raise usage(f"{text!r} names no batch.", do="--pass-over topic:partition:offset")
    return topic, int(number), int(offset)
