"""Whether partitions can be read from given offsets, and where an unreadable batch ends: for
operators' commands, outside every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.clients.partition_errors import PartitionErrors
from engine.clients.topics_reader import TopicsReader
from engine.clock import Clock
from engine.errors import Exit, PartitionError
from engine.ports import TopicPartition

READ_COUNT: Final = 1_000
READ_WAIT_S: Final = 0.2
QUEUED_KB: Final = 16 * 1024
TRY_S_MAX: Final = 10.0


class Tried(msgspec.Struct, frozen=True):
    """The result of a trial read: errors, and the positions that returned nothing in time."""

    errors: list[PartitionError]
    silent: list[TopicPartition]


def try_places(
    connection: Mapping[str, Any], clock: Clock, start: Mapping[TopicPartition, int], wait_s: float
) -> Tried:
    """Read from each position until it returns a record, its end or an error, for at most `wait_s`.
    Every start must be on the log, with a record after it. Raises Exit or
    ConsumerLost.
    """
    if not start:
        return Tried([], [])
    errors = PartitionErrors(clock).of("a look from outside")
    reader = TopicsReader(connection, start, queued_kb=QUEUED_KB, errors=errors)
    found: dict[TopicPartition, PartitionError] = {}
    left = set(start)
    deadline_s = clock.monotonic_s() + wait_s
    try:
        while left and clock.monotonic_s() < deadline_s:
            reading = reader.read(READ_COUNT, READ_WAIT_S)
            found |= _lasting(errors.all())
            left -= {*reading.records, *reading.ends, *found}
    finally:
        reader.close()
    return Tried(list(found.values()), sorted(left))


def bad_batch(
    connection: Mapping[str, Any], clock: Clock, topic: str, partition: int, offset: int, end: int
) -> tuple[int, int] | None:
    """First and last offset of the unreadable batch at this position; None if it can be read.
    `end`: the partition's end, after the batch.

    The client reports a batch by its first offset, wherever in it the read starts, so a binary
    search finds its end. Raises Exit READ_STUCK if nothing arrives: then it is unknown.
    """

    def batch_at(at: int) -> int | None:
        tried = try_places(connection, clock, {(topic, partition): at}, TRY_S_MAX)
        if tried.silent:
            where = f"{topic} partition {partition} from offset {at}"
            raise Exit("READ_STUCK", f"{where}: nothing for {TRY_S_MAX:.0f} s")
        return tried.errors[0].offset if tried.errors else None

    first = batch_at(offset)
    if first is None or first > offset:  # a readable record
        return None
    inside, step = offset, 1
    while inside + step < end and batch_at(inside + step) == first:
        inside, step = inside + step, 2 * step
    outside = min(inside + step, end)
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if batch_at(middle) == first:
            inside = middle
        else:
            outside = middle
    return first, inside


def _lasting(errors: Iterable[PartitionError]) -> dict[TopicPartition, PartitionError]:
    return {(each.topic, each.partition): each for each in errors if each.lasts}
