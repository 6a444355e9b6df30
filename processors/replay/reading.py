"""Reads the topics of some partitions up to captured ends, tells progress, keeps some payments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from core.dispositions import Dispositions
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.replay.buckets import Entry
from processors.replay.log import ReplayLog
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

PROGRESS_RECORDS: Final = 1_000

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""


class Reading:
    """`inputs` are the input topics; `ends` is where reading stops, captured topic by topic."""

    def __init__(
        self,
        log: ReplayLog,
        inputs: Sequence[str],
        progress: Progress | None = None,
        rulings: Dispositions | None = None,
    ) -> None:
        """`rulings` of two persons: FOREIGN records of the journal are left out."""
        self.rulings = rulings or Dispositions()
        self.inputs = tuple(inputs)
        names = [EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE, CHECKPOINTS, CONTROL, *inputs]
        self.counts = log.partitions(names)
        self.partitions = self.counts[EVENTS]
        self.ends: dict[TopicPartition, int] = {}
        self.only: frozenset[bytes] | None = None  # keys to keep; None keeps all
        self.total = 0
        self._done = 0
        self._log = log
        self._progress = progress

    def ends_now(self, topics: Sequence[str], numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Ends as they are now; a work topic's partition is the input's modulo their count."""
        places = {
            (topic, number % self.counts[topic])
            for topic in topics
            if self.counts[topic]
            for number in numbers
        }
        return dict(self._log.ends(sorted(places)))

    def capture(self, numbers: Sequence[int]) -> None:
        """Fix the ends of everything: the inputs last, so that each event's input is among them,
        and what checkpoints cover after these."""
        order = ([LIFECYCLE], [CHECKPOINTS], [OUTCOMES, QUARANTINE], [EVENTS], self.inputs)
        for topics in order:
            self.ends.update(self.ends_now(topics, numbers))

    def records(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """Every record up to the captured ends, whatever its key, without FOREIGN events."""
        for record in self.all_records(topic, numbers, start):
            place = (record.partition, record.offset)
            if topic != EVENTS or not self.rulings.skips(*place, record.value):
                yield record

    def all_records(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """With these."""
        ranges = {}
        if self.counts[topic]:
            for number in sorted({n % self.counts[topic] for n in numbers}):
                first = 0 if start is None else start.get((topic, number), 0)
                ranges[number] = (first, self.ends[topic, number])
        for record in self._log.read(topic, ranges):
            self._done += 1
            if self._progress is not None and self._done % PROGRESS_RECORDS == 0:
                self._progress(f"reading {topic}", min(self._done, self.total), self.total)
            yield record

    def wanted(
        self, topic: str, numbers: Sequence[int], start: Mapping[TopicPartition, int] | None = None
    ) -> Iterator[LogRecord]:
        """The records of the payments that are kept."""
        for record in self.records(topic, numbers, start):
            if self.only is None or record.key in self.only:
                yield record


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
