"""What each gateway's process is built from, and its handler on the engine's worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from control.fold import Control
from engine.clients.publisher import Publisher
from engine.clock import Clock
from engine.loop.watch import Health
from engine.tracing import Tracer
from engine.worker.settings import WorkerSettings
from engine.worker.worker import Worker
from processors.adapter.handler import Common, GatewayHandler
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.worker import InstructionHandler
from schemas import topology
from schemas.codec import Codec


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of an adapter's process. `control` is this worker's own fold of the control
    topic.
    """

    connection: Mapping[str, Any]
    instance_id: str
    clock: Clock
    codec: Codec
    publisher: Publisher
    control: Control
    health: Health
    metrics: AdapterMetrics
    quarantine_partitions: int
    tracer: Tracer | None = None

    def common(self) -> Common:
        """The dependencies of a handler."""
        return {
            "publisher": self.publisher,
            "codec": self.codec,
            "clock": self.clock,
            "metrics": self.metrics,
        }

    def settings(self, name: str, topic: str, **more: Any) -> WorkerSettings:
        """The settings of a worker in group npp-`name` that reads `topic`."""
        return WorkerSettings(
            connection=self.connection,
            group=f"npp-{name}",
            instance_id=self.instance_id,
            topics=(topic,),
            control_topic=topology.CONTROL,
            **more,
        )


class LateWorker:
    """A reference to the worker for objects built before it: it and its handler need each other."""

    worker: Worker

    def generation(self) -> int:
        return self.worker.generation()


def gateway_worker(parts: Parts, handler: GatewayHandler) -> Worker:
    """The worker that reads this handler's instructions."""
    late = LateWorker()
    instructions = InstructionHandler(
        name=handler.name,
        adapter=handler,
        codec=parts.codec,
        publisher=parts.publisher,
        quarantine_partitions=parts.quarantine_partitions,
        metrics=parts.metrics,
        generation=late.generation,
        tracer=parts.tracer,
    )
    late.worker = Worker(
        parts.settings(handler.name, handler.requests, lanes=handler.lanes),
        instructions,
        parts.publisher,
        parts.control,
        parts.clock,
        parts.health,
    )
    return late.worker
