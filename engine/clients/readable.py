"""Whether partitions can be read on from given offsets, and where a bad batch ends: for people's
commands, from outside every group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.clients.partition_errors import PartitionErrors
from engine.clients.topics_reader import Place, TopicsReader
from engine.clock import Clock
from engine.errors import PartitionError

READ_COUNT: Final = 1_000
READ_WAIT_S: Final = 0.2
QUEUED_KB: Final = 16 * 1024


class Tried(msgspec.Struct, frozen=True):
    """What came of reading: errors, and the places that gave nothing in time."""

    errors: list[PartitionError]
    silent: list[Place]


def try_places(
    connection: Mapping[str, Any], clock: Clock, start: Mapping[Place, int], wait_s: float
) -> Tried:
    """Read from each place until it gives a record, its end or an error, `wait_s` at most. Every
    start must be on the log, with something behind it. Raises what a reader raises."""
    if not start:
        return Tried([], [])
    errors = PartitionErrors(clock).of("a look from outside")
    reader = TopicsReader(connection, start, queued_kb=QUEUED_KB, errors=errors)
    found: dict[Place, PartitionError] = {}
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


def _lasting(errors: Iterable[PartitionError]) -> dict[Place, PartitionError]:
    return {(each.topic, each.partition): each for each in errors if each.lasts}
