"""`npp recover`: committed offsets from what the journal, outcomes and quarantine record.

For when the group's offsets are lost or the log's tail is: each input is read again from behind the
largest one that is known to have been decided. One read twice is recognised by its identity.
"""

from __future__ import annotations

from typing import Final

from app.cluster import Cluster
from app.exits import ExitCode, Problem
from core.records import RecoverRequested
from engine.groups import GroupAdmin
from engine.reader import read_all
from processors import quarantine, topology
from schemas import catalogue
from schemas.errors import Undecodable

GROUP: Final = "npp-payments"
METADATA: Final = "recovered"
Name = tuple[str, int]


def requested(cluster: Cluster, request_id: str) -> RecoverRequested:
    """The request of that id on the control topic. Raises Problem."""
    for entry in cluster.read(topology.CONTROL, 0):
        if isinstance(entry.record, RecoverRequested) and entry.record.request_id == request_id:
            return entry.record
    raise Problem(f"Nobody requested {request_id}.", code=ExitCode.NOT_FOUND)


def recover_offsets(cluster: Cluster, request: RecoverRequested) -> dict[Name, int]:
    """Set the payments group's offsets for the request's partitions (none named: all)."""
    groups = GroupAdmin(cluster.connection, cluster.clock)
    if groups.members(GROUP):
        raise Problem(
            "Payments processors are running.",
            means="Offsets of a group with members can not be set.",
            do="End every `npp run payments`, wait for their session to end, confirm again.",
        )
    count = cluster.partitions(topology.EVENTS)
    numbers = list(request.partitions) or list(range(count))
    wrong = [number for number in numbers if number >= count]
    if wrong:
        raise Problem(f"There is no partition {wrong[0]}: there are {count}.", code=ExitCode.USAGE)
    inputs = [topic.name for topic in catalogue.load().inputs()]
    names = [(topic, number) for topic in inputs for number in numbers]
    offsets = dict(cluster.ends.low(names))
    high = cluster.ends.high(names)
    for name, offset in largest_causes(cluster, set(numbers)).items():
        if name in offsets:
            offsets[name] = min(max(offsets[name], offset + 1), high[name])
    groups.set_offsets(GROUP, offsets, METADATA)
    return offsets


def largest_causes(cluster: Cluster, numbers: set[int]) -> dict[Name, int]:
    """The largest input offset that any event, outcome or quarantined record names, by input."""
    largest: dict[Name, int] = {}

    def note(topic: str, partition: int, offset: int) -> None:
        if partition in numbers:
            name = (topic, partition)
            largest[name] = max(largest.get(name, -1), offset)

    for topic in (topology.EVENTS, topology.OUTCOMES):
        for batch in read_all(cluster.connection, topic, clock=cluster.clock):
            for at in batch:
                try:
                    record = cluster.codec.decode(topic, at.value, at.headers)
                except Undecodable as error:
                    raise Problem(
                        f"{topic}[{at.partition}]@{at.offset} can not be read: {error.reason}",
                        means="Without it nobody knows how far processing came.",
                        do="`npp replay verify` says more. Do not start anything.",
                    ) from error
                header = getattr(record, "header", record)
                cause = header.cause
                note(cause.topic, cause.partition, cause.offset)
    for batch in read_all(cluster.connection, topology.QUARANTINE, clock=cluster.clock):
        for at in batch:
            try:
                origin = quarantine.parse(at.headers)
            except ValueError:
                continue  # not written by the processor
            note(origin.topic, origin.partition, origin.offset)
    return largest
