"""What the rail adapter and the redriver read by offset, without a consumer group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock
from engine.records import LogRecord
from schemas import topology

GAP_MAX: Final = 1_000  # a gap of more offsets is skipped by a new read
# A compressed batch may unpack to a thousand times its size, so little is fetched at once; Kafka
# always returns at least one batch.
QUARANTINE_FETCH: Final = {"max.partition.fetch.bytes": 256 * 1024}
ORIGINAL_FETCH: Final = {"max.partition.fetch.bytes": 1_024}


class KafkaRecords:
    """`processors.rail.worker.RecordReader`, and `processors.redriver.handler.QuarantineReader`."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock)

    def submissions(self, partition: int) -> Iterable[LogRecord]:
        """The partition of npp.rail.submitted.v1, from its first available offset to its end."""
        for batch in read_all(
            self._connection,
            topology.RAIL_SUBMITTED,
            partitions=[partition],
            clock=self._clock,
        ):
            yield from batch

    def submissions_end(self, partition: int) -> int:
        """Next offset to be written to the submissions topic."""
        name = (topology.RAIL_SUBMISSIONS, partition)
        return self._ends.high([name])[name]

    def quarantined(self, partition: int, offsets: Sequence[int]) -> Iterator[LogRecord]:
        """The quarantined records at these offsets, in order; an offset without one is skipped."""
        yield from self._at(topology.QUARANTINE, partition, offsets, QUARANTINE_FETCH)

    def original(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        """The record at this position, or None if there is none (any more)."""
        return next(self._at(topic, partition, [offset], ORIGINAL_FETCH), None)

    def _at(
        self, topic: str, partition: int, offsets: Sequence[int], fetch: Mapping[str, Any]
    ) -> Iterator[LogRecord]:
        if not 0 <= partition < self._ends.partition_counts([topic])[topic]:
            return
        name = (topic, partition)
        end = self._ends.high([name])[name]
        for near in _near([each for each in offsets if 0 <= each < end]):
            wanted = set(near)
            for batch in read_all(
                self._connection,
                topic,
                start={partition: near[0]},
                ends={partition: near[-1] + 1},
                partitions=[partition],
                clock=self._clock,
                extra=fetch,
            ):
                yield from (record for record in batch if record.offset in wanted)


def _near(offsets: Sequence[int]) -> Iterator[list[int]]:
    """Groups of nearby offsets, each read in one pass."""
    run: list[int] = []
    for offset in offsets:
        if run and offset - run[-1] > GAP_MAX:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
