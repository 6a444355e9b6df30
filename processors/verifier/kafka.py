"""The verifier's log on Kafka: one transactional producer, a reader without a group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from core.header import Cause
from engine.clients.lookup import RecordLookup
from engine.clients.partition_errors import PartitionErrors, ReaderErrors
from engine.clients.reader import LogEnds, PartitionReader, read_all
from engine.clock import Clock
from engine.errors import Abort, EngineError, Exit, Rebuild
from engine.loop.transaction import Status, TransactionalProducer, TransactionSettings
from engine.ports import RecordPosition
from engine.records import LogRecord
from processors.verifier.parked import is_parked
from processors.verifier.partition import RawCheckpoint
from processors.verifier.ports import Publication
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

# and the partitions: processes with the same ones fence each other
TRANSACTIONAL_ID: Final = "npp-verifier-"
WHOLE: Final = "journal"
READER: Final = "verifier"
OUTCOMES_READER: Final = "verifier-outcomes"
LIFECYCLE_READER: Final = "verifier-lifecycle"
PARKED_AMONG_COUNT: Final = 20_000  # the last ones are looked at first
READ_COUNT: Final = 5_000
# a reader's read-ahead; a verifier that is behind has three of them full
READ_AHEAD: Final = {
    "queued.max.messages.kbytes": 8 * 1024,
    "max.partition.fetch.bytes": 256 * 1024,
}
READ_AT_ONCE_MAX: Final = 50_000  # checkpoints of 250 bytes; more are read partition by partition


class KafkaVerifierLog:
    """See processors.verifier.process.VerifierLog. `connection`: the client's own configuration."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        clock: Clock,
        errors: PartitionErrors,
        name: str = WHOLE,
    ) -> None:
        """`name`: of the partitions it has."""
        self._transactional_id = TRANSACTIONAL_ID + name
        self._errors = errors.of(READER)
        self._connection = connection
        self._clock = clock
        self._ends = LogEnds(connection, clock)
        self._producer: TransactionalProducer | None = None
        self._reader: PartitionReader | None = None
        self._outcomes: PartitionReader | None = None
        self._lifecycle: PartitionReader | None = None
        self._outcome_errors = errors.of(OUTCOMES_READER)
        self._lifecycle_errors = errors.of(LIFECYCLE_READER)
        self._lookup = RecordLookup(connection, clock)
        self._count = 0

    def take(self) -> None:
        if self._producer is not None:
            self._producer.destroy()
        self._producer = TransactionalProducer(
            self._connection, self._transactional_id, self._clock, TransactionSettings()
        )
        self._producer.init()

    def partitions(self) -> int:
        counts = self._ends.partition_counts([EVENTS, CHECKPOINTS])
        if not 0 < counts[EVENTS] == counts[CHECKPOINTS]:
            raise Exit(
                "PARTITION_COUNT",
                f"the journal has {counts[EVENTS]} partitions, the checkpoints "
                f"{counts[CHECKPOINTS]}: run `npp topics apply`",
            )
        self._count = counts[EVENTS]
        return self._count

    def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        count = self._ends.partition_counts([topic])[topic]
        names = [(topic, number) for number in range(count)]
        low, high = self._ends.low(names), self._ends.high(names)
        return {number: (low[topic, number], high[topic, number]) for _, number in names}

    def checkpoints(self, starts: Mapping[int, int]) -> Mapping[int, Iterator[RawCheckpoint]]:
        names = [(CHECKPOINTS, number) for number in starts]
        ends = {number: end for (_, number), end in self._ends.high(names).items()}
        if sum(max(ends[number] - start, 0) for number, start in starts.items()) > READ_AT_ONCE_MAX:
            return {
                number: self._raw({number: start}, {number: ends[number]})
                for number, start in starts.items()
            }
        found: dict[int, list[RawCheckpoint]] = {number: [] for number in starts}
        for record in self._records(starts, ends):
            found[record.partition].append((record.offset, record.value or b""))
        return {number: iter(records) for number, records in found.items()}

    def control(self, start: int) -> Sequence[tuple[int, bytes, int]]:
        if start >= self._ends.stable([(CONTROL, 0)])[CONTROL, 0]:
            return ()
        read = read_all(
            self._connection, CONTROL, start={0: start}, partitions=[0], clock=self._clock
        )
        return [
            (r.offset, r.value, r.timestamp_ms)
            for records in read
            for r in records
            if r.value is not None
        ]

    def _raw(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[RawCheckpoint]:
        for record in self._records(starts, ends):
            yield record.offset, record.value or b""

    def _records(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[LogRecord]:
        for records in read_all(
            self._connection,
            CHECKPOINTS,
            start=starts,
            ends=ends,
            partitions=sorted(starts),
            clock=self._clock,
        ):
            yield from records

    def outcomes_partitions(self) -> int:
        return self._ends.partition_counts([OUTCOMES])[OUTCOMES]

    def follow(
        self, start: Mapping[int, int], outcomes: Mapping[int, int], lifecycle: Mapping[int, int]
    ) -> None:
        self._close_readers()
        self._lifecycle = self._following(LIFECYCLE, lifecycle, self._lifecycle_errors)
        self._reader = self._following(EVENTS, start, self._errors)
        self._outcomes = self._following(OUTCOMES, outcomes, self._outcome_errors)

    def _following(
        self, topic: str, start: Mapping[int, int], errors: ReaderErrors
    ) -> PartitionReader:
        return PartitionReader(self._connection, topic, start, errors=errors, extra=READ_AHEAD)

    def poll_outcomes(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        if self._outcomes is None:
            raise ValueError("follow comes before poll_outcomes")
        return self._outcomes.read(READ_COUNT, wait_s)

    def poll(self, wait_s: float) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        if self._reader is None:
            raise ValueError("follow comes before poll")
        return self._reader.read(READ_COUNT, wait_s)

    def publish(self, records: Sequence[Publication]) -> list[int]:
        producer = self._producer
        if producer is None:
            raise ValueError("take comes before publish")
        places = {(topic, number): at for at, (topic, number, _, _) in enumerate(records)}
        if len(places) != len(records):
            raise ValueError("one record a partition in one transaction")
        try:
            producer.begin()
            producer.produce(
                [(topic, value, key, number, None) for topic, number, key, value in records], places
            )
            acknowledged = producer.commit()
        except Exit:
            raise
        except EngineError as error:
            # In any case a new producer takes the id, and the topic shows whether it was committed.
            raise Rebuild(error.code, error.detail) from error
        if producer.status is not Status.READY or len(acknowledged) != len(places):
            raise Abort("UNACKNOWLEDGED", "a record was committed without its offset")
        return [acknowledged[topic, number] for topic, number, _, _ in records]

    def poll_lifecycle(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        if self._lifecycle is None:
            raise ValueError("follow comes before poll_lifecycle")
        return self._lifecycle.read(READ_COUNT, wait_s)

    def inputs(self, places: Iterable[RecordPosition]) -> Mapping[RecordPosition, LogRecord]:
        return self._lookup.at(places)

    def parked(self, cause: Cause) -> bool:
        number = cause.partition % self._ends.partition_counts([QUARANTINE])[QUARANTINE]
        name = (QUARANTINE, number)
        end = self._ends.stable([name])[name]
        recent = max(0, end - PARKED_AMONG_COUNT)
        return self._has_parked(cause, number, recent, end) or self._has_parked(
            cause, number, 0, recent
        )

    def _has_parked(self, cause: Cause, number: int, start: int, end: int) -> bool:
        for records in read_all(
            self._connection, QUARANTINE, start={number: start}, ends={number: end},
            partitions=[number], clock=self._clock,
        ):  # fmt: skip
            if any(is_parked(record, cause) for record in records):
                return True
        return False

    def _close_readers(self) -> None:
        for reader in (self._reader, self._outcomes, self._lifecycle):
            if reader is not None:
                reader.close()
        self._reader = self._outcomes = self._lifecycle = None

    def close(self) -> None:
        self._close_readers()
        self._lookup.close()
        if self._producer is not None:
            self._producer.destroy()
            self._producer = None
