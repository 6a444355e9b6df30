"""The log of a replay: anything with topics, partitions and offsets. Read-only, without a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from engine.clients.partition_errors import Passed
from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock
from engine.ports import Headers, TopicPartition
from engine.records import LogRecord

Ranges = Mapping[int, tuple[int, int]]  # partition to (first offset, offset to end before)


class ReplayLog(Protocol):
    """Committed records by offset. Reading has no side effects."""

    def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Partition counts by topic; 0 for a missing topic."""

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The next offset to be written, including records of open transactions."""

    def read(self, topic: str, ranges: Ranges) -> Iterator[LogRecord]:
        """Committed records with start ≤ offset < end; waits for open transactions.

        Each partition is in order; partitions are interleaved arbitrarily.
        """


class KafkaReplayLog:
    """A ReplayLog on Kafka. `connection` is the client's own configuration."""

    def __init__(
        self, connection: Mapping[str, Any], clock: Clock, passed: Passed | None = None
    ) -> None:
        """`passed`: unreadable batches skipped under dual control."""
        self._passed = passed
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock)

    def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        return self._ends.partition_counts(topics)

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._ends.high(places)

    def read(self, topic: str, ranges: Ranges) -> Iterator[LogRecord]:
        for records in read_all(
            self._connection,
            topic,
            start={number: start for number, (start, _) in ranges.items()},
            ends={number: end for number, (_, end) in ranges.items()},
            partitions=sorted(ranges),
            clock=self._clock,
            passed=self._passed,
        ):
            yield from records


class MemoryLog:
    """A ReplayLog in memory: for tests, and for a history exported to a file."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = dict(counts)
        self.records: dict[TopicPartition, list[LogRecord]] = {}

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> int:
        """Add a record at the end; gives its offset."""
        records = self.records.setdefault((topic, partition), [])
        offset = records[-1].offset + 1 if records else 0
        records.append(
            LogRecord(topic, partition, offset, timestamp_ms, key, value, list(headers or []))
        )
        return offset

    def partitions(self, topics: Sequence[str]) -> Mapping[str, int]:
        return {topic: self._counts.get(topic, 0) for topic in topics}

    def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: self._end(place) for place in places}

    def read(self, topic: str, ranges: Ranges) -> Iterator[LogRecord]:
        for number, (start, end) in ranges.items():
            for record in list(self.records.get((topic, number), ())):
                if start <= record.offset < end:
                    yield record

    def _end(self, place: TopicPartition) -> int:
        records = self.records.get(place)
        return records[-1].offset + 1 if records else 0
