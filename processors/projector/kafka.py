"""The projector's log on Kafka: where partitions start and end, and one reader of all topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.clients.partition_errors import PartitionErrors, Passed
from engine.clients.reader import LogEnds, read_all
from engine.clients.topics_reader import Reading, TopicsReader
from engine.clock import Clock
from engine.errors import Exit
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.projector.batch import TOPICS
from schemas.topology import CONTROL, EVENTS

QUEUED_KB: Final = 32 * 1024  # fetched ahead at most
READER: Final = "projector"
ASK_EVERY_S: Final = 1.0


class KafkaProjectorLog:
    """See `processors.projector.feed.ProjectorLog`. `connection`: the Kafka client's options."""

    def __init__(
        self, connection: Mapping[str, Any], clock: Clock, errors: PartitionErrors
    ) -> None:
        self._errors = errors.of(READER)
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock)
        self._reader: TopicsReader | None = None
        self._passed: Passed = {}
        self._pending: Callable[[], object | None] | None = None
        self._requested_s = 0.0

    def bounds(self) -> Mapping[TopicPartition, tuple[int, int]]:
        counts = self._ends.partition_counts(TOPICS)
        missing = [topic for topic, count in counts.items() if count == 0]
        if missing:
            raise Exit("TOPICS_MISSING", f"{', '.join(missing)}: run `npp topics apply`")
        places = [(topic, n) for topic in TOPICS for n in range(counts[topic])]
        low, high = self._ends.low(places), self._ends.high(places)
        return {place: (low[place], high[place]) for place in places}

    def follow(self, start: Mapping[TopicPartition, int]) -> None:
        self.close()
        self._reader = TopicsReader(
            self._connection, start, queued_kb=QUEUED_KB, errors=self._errors
        )
        self._reader.pass_over(self._passed)

    def pass_over(self, passed: Passed) -> None:
        self._passed = passed
        if self._reader is not None:
            self._reader.pass_over(passed)

    def read(self, count: int, wait_s: float) -> Reading:
        if self._reader is None:
            raise ValueError("follow comes before read")
        return self._reader.read(count, wait_s)

    def control(self, start: int) -> Sequence[LogRecord]:
        end = self._ends.stable([(CONTROL, 0)])[CONTROL, 0]
        if start >= end:
            return ()
        found = read_all(
            self._connection, CONTROL, start={0: start}, ends={0: end}, partitions=[0],
            clock=self._clock, passed=self._passed,
        )  # fmt: skip
        return [record for records in found for record in records]

    def answered(self) -> bool:
        now_s = self._clock.monotonic_s()
        if self._pending is None:
            if now_s - self._requested_s >= ASK_EVERY_S:
                self._requested_s = now_s
                self._pending = self._ends.ask_stable([(EVENTS, 0)])
            return False
        if self._pending() is None:
            return False
        self._pending = None
        return True

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
