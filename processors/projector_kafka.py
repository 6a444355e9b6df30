"""The projector's log on Kafka: where partitions begin and end, and one reader of all topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.clock import Clock
from engine.errors import Exit
from engine.reader import LogEnds
from engine.topics_reader import Place, Reading, TopicsReader
from processors.projection_batch import TOPICS

QUEUED_KB: Final = 32 * 1024  # fetched ahead at most


class KafkaProjectorLog:
    """See projector_feed.ProjectorLog. `connection` is the client's own configuration."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock) -> None:
        self._connection = connection
        self._ends = LogEnds(connection, clock)
        self._reader: TopicsReader | None = None

    def bounds(self) -> Mapping[Place, tuple[int, int]]:
        counts = self._ends.partition_counts(TOPICS)
        missing = [topic for topic, count in counts.items() if count == 0]
        if missing:
            raise Exit("TOPICS_MISSING", f"{', '.join(missing)}: run `npp topics apply`")
        places = [(topic, n) for topic in TOPICS for n in range(counts[topic])]
        low, high = self._ends.low(places), self._ends.high(places)
        return {place: (low[place], high[place]) for place in places}

    def follow(self, start: Mapping[Place, int]) -> None:
        self.close()
        self._reader = TopicsReader(self._connection, start, queued_kb=QUEUED_KB)

    def read(self, count: int, wait_s: float) -> Reading:
        if self._reader is None:
            raise ValueError("follow comes before read")
        return self._reader.read(count, wait_s)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
