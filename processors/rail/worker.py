"""The rail adapter on the engine's worker: its lanes, the restore of its own record, its
look-ahead.

    WITHDRAW   rank 0 ┐
    RECALL     rank 1 ├ one lane per externalRef: never two of them at once
    SUBMIT     rank 2 ┘
    ENQUIRE    rank 3 ─ a lane of its own: in parallel with the others

A payment's attempts have different references, so none waits for another. engine.worker.lanes says
how lanes work; ruling 8 requires this order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from core.payment.instructions import RailInstruction
from core.records import RailSubmission
from core.values import ExternalRef
from engine.clients.publisher import Outgoing
from engine.clock import Clock
from engine.errors import Exit
from engine.ports import InputRecord
from engine.records import LogRecord, has_unreadable_headers
from engine.tracing import Tracer
from engine.worker.lanes import Lane, lane_of_key
from engine.worker.settings import TryAgain
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from processors.adapter.worker import REGISTRY_PAUSE_S, Adapter, InstructionHandler
from processors.rail.handler import INSTRUCTION_AGE_MS_MAX
from processors.rail.record import KEPT_MS, SubmissionRecord
from schemas import topology
from schemas.codec import Codec
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("processors.rail.worker")

RANKS: Final = {"WITHDRAW": 0, "RECALL": 1, "SUBMIT": 2, "ENQUIRE": 3}
LANES: Final = 40  # threads; a call that hangs occupies one of them
# Threads by rank: four are reserved for withdrawals, four more for withdrawals and recalls, …
ROOM: Final = (40, 36, 32, 16)
RECORDS_MAX: Final = 20_000  # about 12 MiB; beyond it nothing is read, not even a withdrawal
# Unfinished instructions; above it, while the rail does not answer, enquiries are not sent to it.
CROWDED_RECORDS: Final = 1_000

OLD_MS: Final = 30_000  # since the decision, so that records copied from another topic are old too
WITHDRAWN_MAX: Final = 1_000_000
WITHDRAWN_KEPT_MS: Final = 120_000  # after submitBefore, when nothing is submitted any more
SWEEP_MS: Final = 60_000
# Older entries of the own record are not read back.
RECORD_READ_MS: Final = INSTRUCTION_AGE_MS_MAX + 2 * KEPT_MS


class Withdrawn:
    """References whose withdrawal was read ahead. `observe` runs in the lookahead reader's
    thread.
    """

    def __init__(self, *, codec: Codec, is_fresh: Callable[[int], bool], clock: Clock) -> None:
        self._codec = codec
        self._is_fresh = is_fresh
        self._clock = clock
        self._references: dict[str, int] = {}  # submitBefore by reference
        self._swept_at = 0

    def observe(self, record: LogRecord) -> None:
        """One record of the submissions topic; an unreadable one is left to the handler.

        Raises Exit if more than WITHDRAWN_MAX withdrawals must be remembered, or the schema
        registry is needed and down: nothing may be submitted then.
        """
        if record.value is None:
            return
        try:
            instruction = self._codec.decode(record.topic, record.value, record.headers)
        except Undecodable:
            return
        except RegistryDown as error:
            raise Exit("REGISTRY_DOWN", "a withdraw may stand here and cannot be read") from error
        if isinstance(instruction, RailInstruction) and instruction.kind == "WITHDRAW":
            self._sweep(self._clock.now_ms())
            if len(self._references) >= WITHDRAWN_MAX:
                raise Exit("TOO_MANY_WITHDRAWS", f"more than {WITHDRAWN_MAX} are within their time")
            self._references[instruction.external_ref] = instruction.submit_before

    def is_fresh(self, partition: int) -> bool:
        return self._is_fresh(partition)

    def is_withdrawn(self, external_ref: ExternalRef) -> bool:
        return external_ref in self._references

    def _sweep(self, now_ms: int) -> None:
        if now_ms - self._swept_at > SWEEP_MS:
            self._swept_at = now_ms
            oldest_ms = now_ms - WITHDRAWN_KEPT_MS
            self._references = {r: at for r, at in self._references.items() if at > oldest_ms}


class WorkerOwnership:
    """`Ownership` by the worker's own group."""

    def __init__(self, still_ours: Callable[[str, int], bool]) -> None:
        self._still_ours = still_ours

    def confirm(self, partition: int) -> bool:
        return self._still_ours(topology.RAIL_SUBMISSIONS, partition)


class RecordReader(Protocol):
    """Reads the adapter's own topics; `processors.adapter.kafka.KafkaRecords` implements it."""

    def submissions(self, partition: int) -> Iterable[LogRecord]:
        """All available records of npp.rail.submitted.v1 up to its current end, in order."""

    def submissions_end(self, partition: int) -> int:
        """The end of npp.rail.submissions.v1, records of open transactions included."""


class RailHandler(InstructionHandler):
    """Restores the own record before the first instruction of a newly assigned partition."""

    def __init__(
        self,
        *,
        adapter: Adapter,
        codec: Codec,
        publisher: Publisher,
        quarantine_partitions: int,
        metrics: AdapterMetrics,
        record: SubmissionRecord,
        reader: RecordReader,
        generation: Callable[[], int],
        clock: Clock,
        tracer: Tracer | None = None,
    ) -> None:
        super().__init__(
            name="rail",
            adapter=adapter,
            codec=codec,
            publisher=publisher,
            quarantine_partitions=quarantine_partitions,
            metrics=metrics,
            generation=generation,
            tracer=tracer,
        )
        self._record = record
        self._reader = reader
        self._clock = clock
        self._generation = -1
        self._restoring = threading.Lock()

    def __call__(self, record: InputRecord) -> Sequence[Outgoing]:
        self._restore(record.partition)
        return super().__call__(record)

    def lane_of(self, record: InputRecord) -> Lane:
        """Called in topic order, before the record is processed. A SUBMIT is noted, because its
        withdrawal may be processed first and must know about it.

        Raises Exit if the schema registry is needed and down: in a wrong lane a SUBMIT could run
        concurrently with its WITHDRAW.
        """
        if record.value is None or has_unreadable_headers(record.headers):
            return lane_of_key(record)  # it is quarantined there
        try:
            instruction = self._codec.decode(record.topic, record.value, record.headers)
        except Undecodable:
            return lane_of_key(record)  # it is quarantined there
        except RegistryDown as error:
            raise Exit("REGISTRY_DOWN", "an instruction's lane cannot be told") from error
        if not isinstance(instruction, RailInstruction):
            return lane_of_key(record)
        reference = instruction.external_ref
        if instruction.kind == "SUBMIT" and not _is_old(record, instruction):
            self._record.note(
                reference,
                partition=record.partition,
                offset=record.offset,
                limit_ms=instruction.submit_before,
            )
        rank = RANKS.get(instruction.kind, RANKS["ENQUIRE"])
        name = reference if rank < RANKS["ENQUIRE"] else f"{reference}?"
        return Lane(name.encode(), rank)

    def work_of(self, record: InputRecord, instruction: Any) -> Work:
        """The instruction with its limit: the earlier of submitBefore and one day after it was
        appended; from then on it is never submitted.
        """
        limit_ms = min(instruction.submit_before, record.timestamp_ms + INSTRUCTION_AGE_MS_MAX)
        is_old = self._record.stood_before(record.partition, record.offset) or _is_old(
            record, instruction
        )
        return Work(record=record, instruction=instruction, limit_ms=limit_ms, is_old=is_old)

    def _restore(self, partition: int) -> None:
        """Once per partition and assignment: fold the own record and note the end of the
        instructions topic.
        """
        with self._restoring:
            generation = self._generation_now()
            if generation != self._generation:
                self._record.clear()
                self._generation = generation
            if self._record.has_begun(partition):
                return
            end = self._reader.submissions_end(partition)
            since_ms = self._read_back(partition, self._clock.now_ms())
            self._record.begin(partition, end=end, since_ms=since_ms)
            log.info(
                "rail record restored",
                partition=partition,
                known=len(self._record),
                end=end,
                since_ms=since_ms,
            )

    def _read_back(self, partition: int, now_ms: int) -> int | None:
        """Fold the entries that still count; returns the append time (epoch ms) of the topic's
        oldest one. Raises TryAgain while the registry is down, Exit for an unreadable entry.
        """
        since_ms: int | None = None
        for record in self._reader.submissions(partition):
            since_ms = record.timestamp_ms if since_ms is None else since_ms
            if record.value is None or record.timestamp_ms < now_ms - RECORD_READ_MS:
                continue
            self._record.fold(self._decoded(record, record.value), now_ms)
        return since_ms

    def _decoded(self, record: LogRecord, value: bytes) -> RailSubmission:
        try:
            found: RailSubmission = self._codec.decode(record.topic, value, record.headers)
        except Undecodable as error:
            # If it were skipped, a payment could be submitted twice.
            place = f"{record.partition}/{record.offset}"
            raise Exit("RAIL_RECORD_UNREADABLE", place) from error
        except RegistryDown as error:
            raise TryAgain(f"schema registry: {error}", REGISTRY_PAUSE_S) from error
        return found


def _is_old(record: InputRecord, instruction: RailInstruction) -> bool:
    """It was decided long before it was read: an earlier run may have handled it."""
    return record.polled_at_ms - instruction.header.decided_at > OLD_MS
