"""Builds the rail adapter's worker."""

from __future__ import annotations

from engine.worker.worker import Worker
from gateways.ports import Rail
from processors.adapter.kafka import KafkaRecords
from processors.adapter.parts import LateWorker, Parts
from processors.rail.handler import RailAdapter
from processors.rail.record import SubmissionRecord
from processors.rail.worker import (
    CROWDED_RECORDS,
    LANES,
    RECORDS_MAX,
    ROOM,
    RailHandler,
    Withdrawn,
    WorkerOwnership,
)
from processors.rail.writer import RailWriter
from schemas import topology


class _Late(LateWorker):
    def is_fresh(self, partition: int) -> bool:
        return self.worker.is_fresh(partition)

    def still_ours(self, topic: str, partition: int) -> bool:
        return self.worker.still_ours(topic, partition)

    def stopped(self) -> str | None:
        return self.worker.stopped()

    def crowded(self) -> bool:
        return self.worker.unfinished() > CROWDED_RECORDS


def rail_worker(parts: Parts, rail: Rail) -> Worker:
    """The rail adapter: group npp-rail on npp.rail.submissions.v1, with its own record."""
    late = _Late()
    withdrawn = Withdrawn(codec=parts.codec, is_fresh=late.is_fresh, clock=parts.clock)
    record = SubmissionRecord()
    writer = RailWriter(
        rail=rail,
        record=record,
        ownership=WorkerOwnership(late.still_ours),
        publisher=parts.publisher,
        codec=parts.codec,
        clock=parts.clock,
        metrics=parts.metrics,
    )
    adapter = RailAdapter(
        rail=rail,
        record=record,
        ahead=withdrawn,
        writer=writer,
        clock=parts.clock,
        stopped=late.stopped,
        crowded=late.crowded,
        metrics=parts.metrics,
    )
    handler = RailHandler(
        adapter=adapter,
        codec=parts.codec,
        publisher=parts.publisher,
        quarantine_partitions=parts.quarantine_partitions,
        metrics=parts.metrics,
        record=record,
        reader=KafkaRecords(parts.connection, parts.clock),
        generation=late.generation,
        clock=parts.clock,
        tracer=parts.tracer,
    )
    worker = Worker(
        parts.settings(
            "rail",
            topology.RAIL_SUBMISSIONS,
            lanes=LANES,
            lane_of=handler.lane_of,
            lane_room=ROOM,
            records_max=RECORDS_MAX,
            handler_obeys_stop=True,  # withdrawals and enquiries are answered under STOP
        ),
        handler,
        parts.publisher,
        parts.control,
        parts.clock,
        parts.health,
        observe=withdrawn.observe,
    )
    late.worker = worker
    return worker
