"""The common part of the gateway processes' handlers: an answer goes to its topic as one confirmed
record. During a STOP the engine's worker calls none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypedDict, Unpack

from core.header import InputHeader, InstructionHeader
from engine.clock import Clock
from engine.tracing import as_headers, passed_on
from engine.worker.lanes import LANES_COUNT
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from schemas.codec import Codec


class Common(TypedDict):
    """The dependencies of each handler."""

    publisher: Publisher
    codec: Codec
    clock: Clock
    metrics: AdapterMetrics


class GatewayHandler(ABC):
    """Handles one instruction at a time, in any lane's thread. `name`: the adapter's, in metrics;
    `requests`: the topic of its instructions; `topic`: the topic of its answers; `lanes`: threads,
    each of which waits for one call.
    """

    name: str
    requests: str
    topic: str
    lanes: int = LANES_COUNT

    def __init__(self, **common: Unpack[Common]) -> None:
        self._publisher = common["publisher"]
        self._codec = common["codec"]
        self._clock = common["clock"]
        self._metrics = common["metrics"]

    @abstractmethod
    def handle(self, work: Work) -> float | None:
        """One step: seconds until the next step, or None if the instruction is done.

        Raises NotConfirmed if Kafka does not confirm the answer.
        """

    def header(self, requested: InstructionHeader) -> InputHeader:
        """The header of the answer to an instruction with this header."""
        return InputHeader(
            payment_intent_id=requested.payment_intent_id,
            sent_at=self._clock.now_ms(),
            traceparent=requested.traceparent,
        )

    def publish(self, answer: Any, kind: str) -> None:
        """Publish the answer under its payment's key. `kind` counts it in the metrics.

        Raises NotConfirmed if Kafka does not confirm it.
        """
        key = answer.header.payment_intent_id.encode()
        value = self._codec.encode(self.topic, answer)
        self._publisher.publish(self.topic, key, value, headers=as_headers(passed_on()))
        self._metrics.reports.labels(self.name, kind).inc()
