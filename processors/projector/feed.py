"""Feeds one generation from the log: read, fold, write, in steps that can be retried. The running
projector and a rebuild use the same feed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from core.payment.state import CorruptHistory
from core.rules import Rules
from engine.clients.partition_errors import Passed
from engine.clients.topics_reader import Reading
from engine.clock import Clock
from engine.errors import OFFSETS_LOST, Exit
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.projector.batch import Projection
from processors.projector.events import Changes, lookups_of
from processors.projector.progress import Progress
from readmodel import rows
from readmodel.ports import Fenced, Reader, ReadModelDown, Writer
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS

READ_COUNT: Final = 4_000  # records of one transaction: half a second, and only in a backlog
MARKERS_EVERY_S: Final = 1.0  # offsets that moved without a record are written this often
CONTROL_PAGE: Final = 1_000
FROM_THE_START: Final = frozenset({EVENTS, CONTROL, CHECKPOINTS})  # kept forever
LOG_START_LOST: Final = "LOG_START_LOST"
LOG_TAIL_LOST: Final = "LOG_TAIL_LOST"
PARTITIONS_CHANGED: Final = "PARTITIONS_CHANGED"
REBUILD: Final = "run `npp replay rebuild`"


class ProjectorLog(Protocol):
    """A feed's port to Kafka: committed records only, with log offsets."""

    def bounds(self) -> Mapping[TopicPartition, tuple[int, int]]:
        """First offset and next offset to be written of every partition of every topic.

        Raises Exit when a topic is not there.
        """

    def follow(self, start: Mapping[TopicPartition, int]) -> None:
        """Read from these offsets on."""

    def pass_over(self, passed: Passed) -> None:
        """Skip these batches, which no client can read; they may be on any topic that is read."""

    def read(self, count: int, wait_s: float) -> Reading:
        """New records, and the ends of partitions read to their end.

        Raises Exit OFFSETS_LOST when a position is no longer on the log.
        """

    def control(self, start: int) -> Sequence[LogRecord]:
        """The control topic from this offset to its current end, regardless of `follow`."""

    def answered(self) -> bool:
        """Whether the brokers have answered since the last call. Never waits."""

    def close(self) -> None:
        """Close the client."""


class Written(msgspec.Struct, frozen=True):
    """The result of one step: records by topic, and their counts."""

    records: Mapping[str, int]
    changes: Changes


class _Pending(msgspec.Struct):
    batch: rows.Batch
    written: Written
    doubtful: bool = False  # a try ended without an answer: it may have been written


class Feed:
    """The feed of one generation. `step` raises ReadModelDown and RegistryDown and may then be
    called again; after any other error the feed is unusable.
    """

    def __init__(
        self,
        *,
        source: ProjectorLog,
        writer: Writer,
        codec: Codec,
        rules_of: Callable[[int], Rules],
        clock: Clock,
        skip: Callable[[str, str], None],
        progress: Progress,
    ) -> None:
        self._source = source
        self._writer = writer
        self._clock = clock
        self._progress = progress
        self.projection = Projection(codec, lookups_of(writer), rules_of, skip)
        self._committed: dict[TopicPartition, int] = {}
        self._position: dict[TopicPartition, int] = {}
        self._moving: set[TopicPartition] = set()
        self._reading: Reading | None = None
        self._pending: _Pending | None = None
        self._written_s = 0.0

    @property
    def partitions(self) -> int:
        """Partitions of the journal."""
        return sum(topic == EVENTS for topic, _ in self._position)

    def total(self) -> int:
        """Sum of all positions, for a progress bar."""
        return sum(self._position.values())

    def has(self, reached: Mapping[TopicPartition, int]) -> bool:
        """Whether everything below these offsets has been written."""
        return all(self._committed.get(place, 0) >= offset for place, offset in reached.items())

    def hurry(self) -> None:
        """The next step also writes offsets that moved without a record."""
        self._written_s = float("-inf")

    # -- beginning -------------------------------------------------------------------------------

    def open(self, known: Reader | None) -> None:
        """Start at this generation's offsets. `known` reads them; None for a new generation.

        Raises Exit if the log no longer has the next records, or has other partitions.
        """
        self._committed = dict(self._writer.offsets())
        bounds = self._source.bounds()
        gone = self._committed.keys() - bounds.keys()
        if gone:
            raise Exit(PARTITIONS_CHANGED, f"{sorted(gone)} of the read model are not on the log")
        self._position = {
            place: self._start(place, low, high) for place, (low, high) in bounds.items()
        }
        if known is not None:
            self._fold_control(known)
        self._obey_control()
        self.ruled_anew()  # read existing rulings before folding any event
        self._source.follow(self._position)
        self._progress.opened(self._position)
        self._written_s = self._clock.monotonic_s()

    def _start(self, place: TopicPartition, low: int, high: int) -> int:
        topic, partition = place
        at = self._committed.get(place)
        if at is None:
            if low and topic in FROM_THE_START:
                raise Exit(LOG_START_LOST, f"{topic}/{partition} begins at {low}, not at 0")
            return low
        if at < low:
            raise Exit(
                LOG_START_LOST,
                f"{topic}/{partition} begins at {low}, the read model has it to {at}: {REBUILD}",
            )
        if at > high:
            raise Exit(
                LOG_TAIL_LOST,
                f"{topic}/{partition} ends at {high}, the read model has it to {at}: records "
                f"that people were shown have vanished; after `npp control recover` {REBUILD}",
            )
        return at

    def ruled_anew(self) -> bool:
        """Read the control topic to its end; returns whether there are new rulings on journal
        records. Raises RegistryDown, and may then be called again.
        """
        rulings = self.projection.rulings
        before = len(rulings)
        self.projection.follow_rulings(self._source.control(rulings.next_offset))
        return len(rulings) != before

    def _fold_control(self, known: Reader) -> None:
        after = -1
        while True:
            page = known.control(after, CONTROL_PAGE)
            self.projection.control_before(page)
            if len(page) < CONTROL_PAGE:
                return
            after = page[-1].offset

    def _obey_control(self) -> None:
        self._source.pass_over(self.projection.control.passed_over())
        recorded = self.projection.control.partitions()
        if recorded is not None and recorded != self.partitions:
            raise Exit(
                PARTITIONS_CHANGED,
                f"the journal has {self.partitions} partitions, {recorded} are recorded: the "
                "count is fixed for life",
            )

    # -- one step --------------------------------------------------------------------------------

    def step(self, wait_s: float) -> Written | None:
        """Read, fold and write new records; None if there was nothing to write."""
        if self._pending is None:
            if self._reading is None:
                self._reading = self._take(wait_s)
            self.projection.follow_rulings(self._reading.records.get((CONTROL, 0), ()))
            self._pending = self._taken_out()
        if self._pending is None:
            assert self._reading is not None
            self._pending = self._fold(self._reading)
            self._reading = None
            if self._pending is None:
                return None
        return self._write(self._pending)

    def _taken_out(self) -> _Pending | None:
        """The batch that removes FOREIGN records from the model, before the new records are folded.
        It moves no offset, and is written only if no other writer has moved one.
        """
        while self.projection.rulings.due():
            batch, changes = self.projection.take_out()
            if batch.taken_out:
                places = {(EVENTS, row.partition) for row in batch.taken_out}
                batch.moved = [
                    _moved(place, self._committed[place], self._committed[place])
                    for place in sorted(places)
                ]
                return _Pending(batch, Written({}, changes))
        return None

    def _take(self, wait_s: float) -> Reading:
        try:
            reading = self._source.read(READ_COUNT, wait_s)
        except Exit as error:
            if error.code == OFFSETS_LOST:
                raise Exit(LOG_START_LOST, f"{error.detail}: {REBUILD}") from error
            raise
        self._progress.read(reading)
        if reading.records or reading.ends or self._source.answered():
            self._progress.answered()
        for place, found in reading.records.items():
            self._position[place] = found[-1].offset + 1
            self._moving.add(place)
        for place, end in reading.ends.items():
            if end > self._position[place]:  # past the markers of a transaction
                self._position[place] = end
                self._moving.add(place)
        return reading

    def _fold(self, reading: Reading) -> _Pending | None:
        if not reading.records and not self._markers_due():
            self._progress.written()  # everything read before has been written
            return None
        try:
            batch, changes = self.projection.batch(reading.records)
        except CorruptHistory as error:
            self._check_owner(error)
            raise
        if batch.control:
            self._obey_control()
        batch.moved = [
            _moved(place, self._committed.get(place, 0), self._position[place])
            for place in sorted(self._moving)
        ]
        self._moving.clear()
        counted: dict[str, int] = {}
        for (topic, _), found in reading.records.items():
            counted[topic] = counted.get(topic, 0) + len(found)
        return _Pending(batch, Written(counted, changes))

    def _check_owner(self, error: CorruptHistory) -> None:
        """Raise if another projector writes: its later state is then not a corruption."""
        if dict(self._writer.offsets()) != self._committed:
            raise Fenced("another projector writes this read model") from error

    def _markers_due(self) -> bool:
        due_s = self._written_s + MARKERS_EVERY_S
        return bool(self._moving) and self._clock.monotonic_s() >= due_s

    def _write(self, pending: _Pending) -> Written:
        try:
            self._writer.apply(pending.batch)
        except ReadModelDown:
            pending.doubtful = True
            raise
        except Fenced:
            if not (pending.doubtful and self._is_written(pending.batch.moved)):
                raise
        for move in pending.batch.moved:
            self._committed[move.topic, move.partition] = move.after
        self._pending = None
        self._written_s = self._clock.monotonic_s()
        if self._reading is None:
            self._progress.written()
        return pending.written

    def _is_written(self, moved: Sequence[rows.Moved]) -> bool:
        """Whether the unanswered try did write this batch."""
        there = self._writer.offsets()
        return all(there.get((move.topic, move.partition)) == move.after for move in moved)


def _moved(place: TopicPartition, before: int, after: int) -> rows.Moved:
    topic, partition = place
    return rows.Moved(topic=topic, partition=partition, before=before, after=after)
