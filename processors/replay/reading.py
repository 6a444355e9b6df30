"""Reads the topics of some partitions up to captured ends, reports progress, and filters
payments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from core.dispositions import Dispositions
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.replay.buckets import Entry
from processors.replay.log import ReplayLog
from schemas.topology import CHECKPOINTS, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

PROGRESS_RECORDS: Final = 1_000

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""

OnRead = Callable[[str, int], None]
"""What is being done, and how many records were read since the last call."""


class Reading:
    """`inputs` are the input topics; `ends` is where reading stops, captured topic by topic."""

    def __init__(
        self,
        log: ReplayLog,
        inputs: Sequence[str],
        counts: Mapping[str, int],
        on_read: OnRead,
        rulings: Dispositions,
    ) -> None:
        """`counts`: partitions by topic. `rulings`: FOREIGN records of the journal are omitted."""
        self.rulings = rulings
        self.inputs = tuple(inputs)
        self.counts = counts
        self.partitions = self.counts[EVENTS]
        self.ends: dict[TopicPartition, int] = {}
        self.only: frozenset[bytes] | None = None  # keys to keep; None keeps all
        self._unreported = 0
        self._log = log
        self._on_read = on_read

    def ends_now(self, topics: Sequence[str], numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """The current ends; a work topic's partition is the input's modulo their count."""
        places = {
            (topic, number % self.counts[topic])
            for topic in topics
            if self.counts[topic]
            for number in numbers
        }
        return dict(self._log.ends(sorted(places)))

    def capture(self, numbers: Sequence[int]) -> None:
        """Capture the ends of all topics. The inputs come last, so that they include each event's
        input; what checkpoints cover comes after the checkpoints.
        """
        order = ([LIFECYCLE], [CHECKPOINTS], [OUTCOMES, QUARANTINE], [EVENTS], self.inputs)
        for topics in order:
            self.ends.update(self.ends_now(topics, numbers))

    def records(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """Every record up to the captured ends, without FOREIGN events."""
        found, skips = self.all_records(topic, numbers, start), self.rulings.skips
        if topic != EVENTS or not len(self.rulings):
            return found
        return (each for each in found if not skips(each.partition, each.offset, each.value))

    def all_records(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """As `records`, with FOREIGN events."""
        ranges = {}
        if self.counts[topic]:
            for number in sorted({n % self.counts[topic] for n in numbers}):
                first = 0 if start is None else start.get((topic, number), 0)
                ranges[number] = (first, self.ends[topic, number])
        for record in self._log.read(topic, ranges):
            self._unreported += 1
            if self._unreported >= PROGRESS_RECORDS:
                self._on_read(f"reading {topic}", self._unreported)
                self._unreported = 0
            yield record

    def wanted(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """The records of the payments that are kept."""
        found, only = self.records(topic, numbers, start), self.only
        return found if only is None else (each for each in found if each.key in only)


def entry_of(kind: int, record: LogRecord, topic: int = 0) -> Entry:
    """A record as an entry of a bucket."""
    return Entry(
        kind,
        record.key or b"",
        topic,
        record.partition,
        record.offset,
        record.value or b"",
        record.headers or None,
    )
