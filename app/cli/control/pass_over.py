"""Passing over one batch that nobody can read, under dual control, so that the records after it
are processed.

Only batches on topics that a group of ours reads are passed over: their senders, or the payments
themselves, ask again for what was in them. The journal and everything else that only we write is
restored by Kafka's own means, never passed over.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from app.cli.cluster.doctor_reading import groups
from app.cli.output import as_json
from app.cli.signing import Hand
from app.cluster import Cluster
from app.exits import Problem, usage
from core.records import RecoverConfirmed, RecoverRequested
from engine.clients.groups import GroupAdmin
from engine.clients.readable import bad_batch
from engine.clients.reader import read_all

ID_BYTES: Final = 4
METADATA: Final = "passed over"


def request(
    cluster: Cluster, me: Hand, place: str, reason: str
) -> tuple[dict[str, Any], list[str]]:
    """The first person names a place; what is asked for is the batch that is there. Gives the
    request, and it in words. Raises Problem.
    """
    topic, number, offset = _place(place)
    group = _group_of(topic)
    first, last = _bad_batch(cluster, topic, number, offset)
    if _committed(cluster, group, topic, number) > last:
        raise Problem(
            f"{group} is past offset {last} already.",
            means="What is in the batch was done before it broke; the log has to prove that.",
            do="Restore the partition from another replica (docs/runbook.md).",
        )
    request_id = "rec_" + secrets.token_hex(ID_BYTES)
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
        f"{group} is to go on at {last + 1}. Find out first what is in the batch.",
    ]


def confirm(
    cluster: Cluster, me: Hand, asked: RecoverRequested
) -> tuple[dict[str, Any], list[str]]:
    """The second person agrees: the group goes on behind the batch. May be repeated until the
    confirmation, which comes last, is on the control topic. Raises Problem."""
    topic, number = asked.topic or "", asked.partitions[0]
    batch = asked.first_offset, asked.last_offset
    group, admin = _group_of(topic), GroupAdmin(cluster.connection, cluster.clock)
    if admin.members(group):
        raise Problem(
            f"Members of {group} are running.",
            means="Offsets of a group with members cannot be set.",
            do="End every process of it, wait for their session to end, confirm again.",
        )
    found = _bad_batch(cluster, topic, number, asked.first_offset)
    if found != batch:
        raise Problem(
            f"{asked.request_id} names offsets {batch[0]} to {batch[1]}; those from {found[0]} to "
            f"{found[1]} cannot be read.",
            do="Ask again.",
        )
    at = _committed(cluster, group, topic, number)
    if at <= asked.last_offset:
        _check_all_before_is_done(cluster, asked, at)
        admin.set_offsets(group, {(topic, number): asked.last_offset + 1}, METADATA)
    record = RecoverConfirmed(
        request_id=asked.request_id, confirmed_at=cluster.clock.now_ms(), actor=me.person
    )
    cluster.publish_control(me.sign(record, asked))
    where = f"{topic} partition {number} offsets {asked.first_offset} to {asked.last_offset}"
    return as_json(record), [f"{asked.request_id}: {where} are passed over. Start {group} again."]


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


def _check_all_before_is_done(cluster: Cluster, asked: RecoverRequested, at: int) -> None:
    """Raises Problem when a record that can be read is before the batch and is not done."""
    topic, number = asked.topic or "", asked.partitions[0]
    left = sum(
        len(batch)
        for batch in read_all(
            cluster.connection, topic, start={number: at}, ends={number: asked.first_offset},
            partitions=[number], clock=cluster.clock,
            passed={(topic, number): [(asked.first_offset, asked.last_offset)]},
        )
    )  # fmt: skip
    if left:
        raise Problem(
            f"{left} records before the batch are not done yet.",
            do="Start the processes, let them come up to it, end them, confirm again.",
        )


def _group_of(topic: str) -> str:
    for group, topics in groups().items():
        if topic in topics:
            return group
    raise Problem(
        f"{topic} is not passed over.",
        means="No group of ours reads it: what is there is the truth, or made from it.",
        do="Restore the partition from another replica (docs/runbook.md).",
    )


def _place(text: str) -> tuple[str, int, int]:
    topic, _, rest = text.partition(":")
    number, _, offset = rest.partition(":")
    for digits in (number, offset):
        if not (topic and digits.isascii() and digits.isdecimal()):
            raise usage(f"{text!r} names no batch.", do="--pass-over topic:partition:offset")
    return topic, int(number), int(offset)
