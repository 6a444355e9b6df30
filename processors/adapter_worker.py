"""Adapters on the engine's worker: bytes to instruction, instruction to a desk.

What can never be read is quarantined; what can not be read now, or answered now, comes again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from engine.clock import Clock
from engine.errors import Exit
from engine.ports import InputRecord
from engine.publisher import Outgoing, Refused
from engine.records import UNREADABLE_HEADERS, LogRecord, has_unreadable_headers
from engine.worker_settings import TryAgain
from processors import quarantine, topology
from processors.adapter_metrics import AdapterMetrics
from processors.adapter_ports import Codec, Publisher, Work
from processors.rail import INSTRUCTION_AGE_MS_MAX
from processors.rail_record import KEPT_MS, SubmissionRecord
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("processors.adapter_worker")

REGISTRY_PAUSE_S: Final = 1.0
OLD_MS: Final = 30_000  # since it was decided: a topic that is replayed into itself is old, too
WITHDRAWN_MAX: Final = 1_000_000
RECORD_READ_MS: Final = INSTRUCTION_AGE_MS_MAX + 2 * KEPT_MS  # how far back the own record counts


class Desk(Protocol):
    def handle(self, work: Work) -> float | None:
        """One step; the seconds until it is to be called again, or None when all is done."""


class InstructionHandler:
    """`engine.worker_settings.Handler` over a desk. It publishes itself and returns no answers."""

    def __init__(
        self,
        *,
        adapter: str,
        desk: Desk,
        codec: Codec,
        publisher: Publisher,
        quarantine_partitions: int,
        metrics: AdapterMetrics,
        generation: Callable[[], int],
    ) -> None:
        """`generation` rises with every change of what is assigned."""
        self._adapter = adapter
        self._desk = desk
        self._codec = codec
        self._publisher = publisher
        self._quarantine_partitions = quarantine_partitions
        self._metrics = metrics
        self._generation_now = generation
        self._under_way: dict[tuple[str, int, int], Work] = {}
        self._under_way_generation = -1
        self._lock = threading.Lock()

    def __call__(self, record: InputRecord) -> Sequence[Outgoing]:
        """Raises TryAgain; NotConfirmed and Exit go up to the worker."""
        place = (record.topic, record.partition, record.offset)
        work = self._known(place)
        if work is None:
            work = self._read(record)
            if work is None:
                return ()
            with self._lock:
                self._under_way[place] = work
                self._count()
        again_s = self._desk.handle(work)
        if again_s is not None:
            raise TryAgain(f"{self._adapter} waits", again_s)
        self._done(place, work)
        return ()

    def _known(self, place: tuple[str, int, int]) -> Work | None:
        """The instruction when it was begun already, by this assignment.

        What an earlier assignment began is forgotten: its records are read again, by whoever has
        their partitions now.
        """
        with self._lock:
            generation = self._generation_now()
            if generation != self._under_way_generation:
                self._under_way_generation = generation
                self._under_way.clear()
                self._count()
            return self._under_way.get(place)

    def _done(self, place: tuple[str, int, int], work: Work) -> None:
        """It need not be there any more: the assignment may have changed during the call, and the
        same record may have been read again since."""
        with self._lock:
            if self._under_way.get(place) is work:
                del self._under_way[place]
                self._count()

    def _count(self) -> None:
        self._metrics.held.labels(self._adapter).set(len(self._under_way))

    def work_of(self, record: InputRecord, instruction: Any) -> Work:
        """An instruction as work; the rail's handler adds what it knows of it."""
        return Work(record=record, instruction=instruction)

    def _read(self, record: InputRecord) -> Work | None:
        if record.value is None:
            self._quarantine(record, "the record has no value")
            return None
        if has_unreadable_headers(record.headers):
            self._quarantine(record, UNREADABLE_HEADERS)
            return None
        try:
            instruction = self._codec.decode(record.topic, record.value, record.headers)
        except Undecodable as error:
            self._quarantine(record, str(error))
            return None
        except RegistryDown as error:
            raise TryAgain(f"schema registry: {error}", REGISTRY_PAUSE_S) from error
        key = record.key.decode(errors="replace") if record.key is not None else None
        if key != instruction.header.payment_intent_id:
            # Lanes are by key: under another one it could overtake its own withdraw.
            self._quarantine(record, "the key is not the paymentIntentId", quarantine.MISROUTED)
            return None
        return self.work_of(record, instruction)

    def _quarantine(
        self, record: InputRecord, detail: str, reason: str = quarantine.UNDECODABLE
    ) -> None:
        """Whole where it fits, else by reference: also where Kafka refuses the whole copy."""
        copy = quarantine.copy_of(record, reason, detail)
        try:
            self._publish(record, copy)
        except Refused:
            copy = quarantine.reference_to(record, reason, detail)
            self._publish(record, copy)
        self._metrics.quarantined.labels(self._adapter, reason).inc()
        self._metrics.by_reference.labels(self._adapter).inc(copy.by_reference)
        log.error(
            "instruction quarantined",
            adapter=self._adapter,
            reason=reason,
            detail=detail,
            partition=record.partition,
            offset=record.offset,
            by_reference=copy.by_reference,
        )

    def _publish(self, record: InputRecord, copy: quarantine.Copy) -> None:
        self._publisher.publish(
            topology.QUARANTINE,
            copy.key,
            copy.value,
            partition=record.partition % self._quarantine_partitions,
            headers=copy.headers,
        )


class Withdrawn:
    """References whose withdraw the scout has read. `observe` runs in the scout's thread."""

    def __init__(self, *, codec: Codec, is_fresh: Callable[[int], bool]) -> None:
        self._codec = codec
        self._is_fresh = is_fresh
        self._references: dict[str, None] = {}

    def observe(self, record: LogRecord) -> None:
        """One record of the submissions topic. What can not be read is the handler's to judge.

        Raises Exit when more withdraws are unhandled than can be: submitting must end then.
        """
        if record.value is None:
            return
        try:
            instruction = self._codec.decode(record.topic, record.value, record.headers)
        except Undecodable:
            return
        except RegistryDown as error:
            raise Exit("REGISTRY_DOWN", "a withdraw may stand here and can not be read") from error
        if isinstance(instruction, RailInstruction) and instruction.kind == "WITHDRAW":
            if len(self._references) >= WITHDRAWN_MAX:
                raise Exit("TOO_MANY_WITHDRAWS", f"more than {WITHDRAWN_MAX} are unhandled")
            self._references[instruction.external_ref] = None

    def is_fresh(self, partition: int) -> bool:
        return self._is_fresh(partition)

    def is_withdrawn(self, external_ref: str) -> bool:
        return external_ref in self._references

    def forget(self, external_ref: str) -> None:
        self._references.pop(external_ref, None)


class WorkerOwnership:
    """`Ownership` by the worker's own group."""

    def __init__(self, still_ours: Callable[[str, int], bool]) -> None:
        self._still_ours = still_ours

    def confirm(self, partition: int) -> bool:
        return self._still_ours(topology.RAIL_SUBMISSIONS, partition)


class RecordReader(Protocol):
    """Reads the adapter's own topics; engine.reader fills it."""

    def submissions(self, partition: int, since_ms: int) -> Iterable[LogRecord]:
        """Records of npp.rail.submitted.v1, from those appended at `since_ms` to the end now."""

    def submissions_end(self, partition: int) -> int:
        """The end of npp.rail.submissions.v1, records of open transactions included."""


class RailHandler(InstructionHandler):
    """Reads the own record back before the first instruction of a newly assigned partition."""

    def __init__(
        self,
        *,
        desk: Desk,
        codec: Codec,
        publisher: Publisher,
        quarantine_partitions: int,
        metrics: AdapterMetrics,
        record: SubmissionRecord,
        reader: RecordReader,
        generation: Callable[[], int],
        clock: Clock,
    ) -> None:
        super().__init__(
            adapter="rail",
            desk=desk,
            codec=codec,
            publisher=publisher,
            quarantine_partitions=quarantine_partitions,
            metrics=metrics,
            generation=generation,
        )
        self._record = record
        self._reader = reader
        self._clock = clock
        self._generation = -1
        self._ends: dict[int, int] = {}
        self._restoring = threading.Lock()

    def __call__(self, record: InputRecord) -> Sequence[Outgoing]:
        self._restore(record.partition)
        return super().__call__(record)

    def work_of(self, record: InputRecord, instruction: Any) -> Work:
        """Too old is what is past submitBefore, or has stood on the topic for a day."""
        limit_ms = min(instruction.submit_before, record.timestamp_ms + INSTRUCTION_AGE_MS_MAX)
        is_old = (
            record.offset < self._ends.get(record.partition, record.offset + 1)
            or record.polled_at_ms - instruction.header.decided_at > OLD_MS
        )
        return Work(record=record, instruction=instruction, limit_ms=limit_ms, is_old=is_old)

    def _restore(self, partition: int) -> None:
        """Once per partition and assignment: fold the own record, note where the topic ended."""
        with self._restoring:
            generation = self._generation_now()
            if generation != self._generation:
                self._record.clear()
                self._ends.clear()
                self._generation = generation
            if partition in self._ends:
                return
            end = self._reader.submissions_end(partition)
            now_ms = self._clock.now_ms()
            known = self._record.restore(self._read_back(partition, now_ms), now_ms)
            self._ends[partition] = end
            log.info("rail record restored", partition=partition, known=known, end=end)

    def _read_back(self, partition: int, now_ms: int) -> Iterable[RailSubmission]:
        for record in self._reader.submissions(partition, now_ms - RECORD_READ_MS):
            if record.value is None:
                continue
            try:
                yield self._codec.decode(record.topic, record.value, record.headers)
            except Undecodable as error:
                # Whoever reads past it could submit twice.
                raise Exit("RAIL_RECORD_UNREADABLE", f"{partition}/{record.offset}") from error
            except RegistryDown as error:
                raise TryAgain(f"schema registry: {error}", REGISTRY_PAUSE_S) from error
