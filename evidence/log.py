"""Reads records from Kafka for the online verification: known offsets, and what came after them.

Limited in time and in records; the caller is told what was not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from engine.clients.assigned_reader import UNREADABLE
from engine.clients.reader import LogEnds, PartitionReader
from engine.clock import Clock
from engine.errors import Exit
from engine.records import LogRecord
from schemas.topology import CONTROL

READ_COUNT: Final = 10_000
READ_WAIT_S: Final = 0.2
GAP_RECORDS_MAX: Final = 20_000  # between two wanted offsets; beyond it a seek is cheaper
KNOWN_S_MAX: Final = 20.0
LATER_S_MAX: Final = 5.0
ENDS_S_MAX: Final = 5.0  # a person waits, and occupies a thread
LATER_RECORDS_MAX: Final = 500_000


class Later(msgspec.Struct, frozen=True):
    """(offset, value) of the key's records from an offset on. If `read_to` < `end`, the records
    from `read_to` on were not read.
    """

    values: list[tuple[int, bytes]]
    read_to: int
    end: int


class EvidenceLog(Protocol):
    """Committed records as they are on the log. Raises engine errors when Kafka does not answer."""

    def at(self, topic: str, partition: int, offsets: Sequence[int]) -> Mapping[int, LogRecord]:
        """The records at these offsets, without those that the log does not have (any more). Raises
        TimeoutError.
        """

    def later(self, topic: str, partition: int, key: bytes, start: int) -> Later:
        """The records of `key` from `start` on, within the limits."""

    def control(self) -> Sequence[LogRecord]:
        """The whole control topic. Raises TimeoutError."""


class KafkaEvidenceLog:
    """An EvidenceLog on Kafka. `connection` is the client's own configuration."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock, ENDS_S_MAX)

    def at(self, topic: str, partition: int, offsets: Sequence[int]) -> Mapping[int, LogRecord]:
        if not offsets:
            return {}
        end = self._ends.stable([(topic, partition)])[topic, partition]
        low = self._ends.low([(topic, partition)])[topic, partition]
        wanted = sorted({each for each in offsets if low <= each < end})
        deadline_s = self._clock.monotonic_s() + KNOWN_S_MAX
        found: dict[int, LogRecord] = {}
        for group in groups(wanted):
            try:
                self._read_from(topic, partition, group, found, deadline_s)
            except Exit as error:
                if error.code != UNREADABLE:
                    raise
                for each in group:  # an unreadable batch is among them
                    self._read_from(topic, partition, [each], found, deadline_s)
        return found

    def control(self) -> Sequence[LogRecord]:
        end = self._ends.stable([(CONTROL, 0)])[CONTROL, 0]
        records: list[LogRecord] = []
        position = self._ends.low([(CONTROL, 0)])[CONTROL, 0]
        if position >= end:
            return records
        deadline_s = self._clock.monotonic_s() + KNOWN_S_MAX
        reader = PartitionReader(self._connection, CONTROL, {0: position})
        try:
            while position < end:
                if self._clock.monotonic_s() > deadline_s:
                    raise TimeoutError("the log did not answer in time")
                batches, ends = reader.read(READ_COUNT, READ_WAIT_S)
                found = batches.get(0, [])
                records += found
                position = found[-1].offset + 1 if found else ends.get(0, position)
        finally:
            reader.close()
        return records

    def _read_from(
        self,
        topic: str,
        partition: int,
        group: list[int],
        found: dict[int, LogRecord],
        deadline_s: float,
    ) -> None:
        wanted = set(group)
        reader = PartitionReader(self._connection, topic, {partition: group[0]})
        try:
            while self._clock.monotonic_s() < deadline_s:
                batches, ends = reader.read(READ_COUNT, READ_WAIT_S)
                records = batches.get(partition, [])
                found.update({r.offset: r for r in records if r.offset in wanted})
                position = records[-1].offset if records else ends.get(partition, -1)
                if position >= group[-1]:
                    return
            raise TimeoutError("the log did not answer in time")
        finally:
            reader.close()

    def later(self, topic: str, partition: int, key: bytes, start: int) -> Later:
        end = self._ends.stable([(topic, partition)])[topic, partition]
        values: list[tuple[int, bytes]] = []
        position, seen = start, 0
        if position >= end:
            return Later(values, end, end)
        deadline_s = self._clock.monotonic_s() + LATER_S_MAX
        reader = PartitionReader(self._connection, topic, {partition: start})
        try:
            while position < end and seen < LATER_RECORDS_MAX:
                if self._clock.monotonic_s() > deadline_s:
                    break
                batches, ends = reader.read(READ_COUNT, READ_WAIT_S)
                records = batches.get(partition, [])
                seen += len(records)
                values += [(r.offset, r.value or b"") for r in records if r.key == key]
                if records:
                    position = records[-1].offset + 1
                position = max(position, ends.get(partition, position))
        finally:
            reader.close()
        return Later(values, min(position, end), end)


def groups(offsets: Sequence[int]) -> list[list[int]]:
    """Sorted offsets in runs, each of which is read in one pass."""
    runs: list[list[int]] = []
    for each in offsets:
        if runs and each - runs[-1][-1] <= GAP_RECORDS_MAX:
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs
