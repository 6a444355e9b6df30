"""Adapters on the engine's worker: decodes each record and passes the instruction to the adapter.

An unreadable record is quarantined. If it cannot be decoded or answered yet, it is retried.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog
from structlog.contextvars import bound_contextvars

from control import quarantine
from core.words import QuarantineReason
from engine.clients.publisher import Outgoing
from engine.ports import InputRecord, RecordPosition
from engine.records import UNREADABLE_HEADERS, has_unreadable_headers
from engine.tracing import Span, Tracer, carried_by, of_record, passing_on, trace_id
from engine.worker.settings import TryAgain
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from processors.adapter.quarantine_writer import QuarantineWriter
from schemas.codec import Codec
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("processors.adapter.worker")

REGISTRY_PAUSE_S: Final = 1.0


class Adapter(Protocol):
    def handle(self, work: Work) -> float | None:
        """One step; the seconds until the next call, or None if it is done."""


class InstructionHandler:
    """Implements `engine.worker.settings.Handler` for an adapter, which publishes its own
    answers.
    """

    def __init__(
        self,
        *,
        name: str,
        adapter: Adapter,
        codec: Codec,
        publisher: Publisher,
        quarantine_partitions: int,
        metrics: AdapterMetrics,
        generation: Callable[[], int],
        tracer: Tracer | None = None,
    ) -> None:
        """`name` is used in metrics and logs; `generation` rises with every change of the
        assignment.
        """
        self._name = name
        self._adapter = adapter
        self._codec = codec
        self._aside = QuarantineWriter(publisher, metrics, name)
        self._quarantine_partitions = quarantine_partitions
        self._metrics = metrics
        self._tracer = tracer
        self._generation_now = generation
        self._under_way: dict[RecordPosition, Work] = {}
        self._under_way_generation = -1
        self._lock = threading.Lock()
        metrics.watch_oldest(name, self.oldest_decided_at_s)

    def oldest_decided_at_s(self) -> float:
        """When the oldest instruction in progress was decided, in Unix seconds; NaN if there is
        none. A restart does not reset it, and new instructions do not hide it.
        """
        with self._lock:
            if not self._under_way or self._generation_now() != self._under_way_generation:
                return float("nan")  # none, or all of an earlier assignment
            held = self._under_way.values()
            oldest_ms: int = min(work.instruction.header.decided_at for work in held)
            return oldest_ms / 1_000

    def __call__(self, record: InputRecord) -> Sequence[Outgoing]:
        """One step of the record's instruction.

        Raises TryAgain until it is done; NotConfirmed and Exit of the adapter pass through.
        """
        place = (record.topic, record.partition, record.offset)
        work = self._known(place)
        if work is None:
            work = self._read(record)
            if work is None:
                return ()
            with self._lock:
                self._under_way[place] = work
                self._count()
        again_s = self._handle(work)
        if again_s is not None:
            raise TryAgain(f"{self._name} waits", again_s)
        self._done(place, work)
        return ()

    def _handle(self, work: Work) -> float | None:
        """One step, with the payment and the record in its log lines. Calls and records made in it
        carry its own span if tracing is on, else the instruction's trace.
        """
        record, header = work.record, work.instruction.header
        parent = carried_by(record.headers) or header.traceparent
        payment = header.payment_intent_id
        with bound_contextvars(
            trace_id=trace_id(parent, payment),
            payment_intent_id=payment,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        ):
            if self._tracer is None:
                with passing_on(parent):
                    return self._adapter.handle(work)
            span = self._begin(self._tracer, work, parent)
            outcome = "failed"
            try:
                with passing_on(span.traceparent):
                    again_s = self._adapter.handle(work)
                outcome = "done" if again_s is None else "again"
                return again_s
            finally:
                span.end(outcome)

    def _begin(self, tracer: Tracer, work: Work, parent: str | None) -> Span:
        requested = work.instruction
        what = getattr(requested, "operation", None) or getattr(
            requested, "kind", type(requested).__name__
        )
        payment = requested.header.payment_intent_id
        attributes = of_record(work.record, payment) | {"npp.tries": work.tries}
        return tracer.begin(f"{self._name} {what}", parent, payment, attributes)

    def _known(self, place: RecordPosition) -> Work | None:
        """The instruction, if this assignment has already begun it.

        Work of an earlier assignment is dropped: the current owner of its partition reads the
        record again.
        """
        with self._lock:
            generation = self._generation_now()
            if generation != self._under_way_generation:
                self._under_way_generation = generation
                self._under_way.clear()
                self._count()
            return self._under_way.get(place)

    def _done(self, place: RecordPosition, work: Work) -> None:
        """Remove it, unless the assignment changed during the call: then it has been dropped, and
        the same record may have been read again.
        """
        with self._lock:
            if self._under_way.get(place) is work:
                del self._under_way[place]
                self._count()

    def _count(self) -> None:
        self._metrics.held.labels(self._name).set(len(self._under_way))

    def work_of(self, record: InputRecord, instruction: Any) -> Work:
        """An instruction as work; the rail's handler adds its own data."""
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
            # Another key may put it in another partition than the payment's other instructions.
            self._quarantine(record, "the key is not the paymentIntentId", quarantine.MISROUTED)
            return None
        return self.work_of(record, instruction)

    def _quarantine(
        self, record: InputRecord, detail: str, reason: QuarantineReason = quarantine.UNDECODABLE
    ) -> None:
        partition = record.partition % self._quarantine_partitions
        by_reference = self._aside.keep(record, reason, detail, partition)
        log.error(
            "instruction quarantined",
            adapter=self._name,
            reason=reason,
            detail=detail,
            partition=record.partition,
            offset=record.offset,
            by_reference=by_reference,
        )
