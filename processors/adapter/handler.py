"""What the handlers of the gateways' processes have in common: an answer goes to the payment's own
topic as one confirmed record. Under STOP the engine's worker calls none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypedDict, Unpack

from core.header import InputHeader, InstructionHeader
from engine.clock import Clock
from engine.tracing import as_headers, passed_on
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from schemas.codec import Codec


class Common(TypedDict):
    """What each handler is given."""

    publisher: Publisher
    codec: Codec
    clock: Clock
    metrics: AdapterMetrics


class GatewayHandler(ABC):
    """One instruction at a time, from any lane. `name` is the adapter's, `asked` the topic of its
    instructions, `topic` where its answers go.
    """

    name: str
    asked: str
    topic: str

    def __init__(self, **common: Unpack[Common]) -> None:
        self._publisher = common["publisher"]
        self._codec = common["codec"]
        self._clock = common["clock"]
        self._metrics = common["metrics"]

    @abstractmethod
    def handle(self, work: Work) -> float | None:
        """Seconds until the instruction is tried again, or None when it is done.

        Raises NotConfirmed when Kafka does not take the answer.
        """

    def header(self, asked: InstructionHeader) -> InputHeader:
        """The header of an answer to what had this one."""
        return InputHeader(
            payment_intent_id=asked.payment_intent_id,
            sent_at=self._clock.now_ms(),
            traceparent=asked.traceparent,
        )

    def publish(self, answer: Any, kind: str) -> None:
        """The answer to its payment. `kind` counts it in the metrics."""
        key = answer.header.payment_intent_id.encode()
        value = self._codec.encode(self.topic, answer)
        self._publisher.publish(self.topic, key, value, headers=as_headers(passed_on()))
        self._metrics.reports.labels(self.name, kind).inc()
