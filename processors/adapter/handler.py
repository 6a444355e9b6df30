"""What the handlers of the gateways' processes have in common: under STOP nothing is asked, and an
answer goes to the payment's own topic as one confirmed record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypedDict, Unpack

from core.header import InputHeader, InstructionHeader
from engine.clock import Clock
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher, Work
from schemas.codec import Codec

STOPPED_S: Final = 0.25


class Common(TypedDict):
    """What each handler is given. `stopped` gives why processing is stopped, or None."""

    publisher: Publisher
    codec: Codec
    clock: Clock
    stopped: Callable[[], str | None]
    metrics: AdapterMetrics


class GatewayHandler(ABC):
    """One instruction at a time, from any lane. `name` is the adapter's, `topic` where its answers
    go.
    """

    name: str
    topic: str

    def __init__(self, **common: Unpack[Common]) -> None:
        self._publisher = common["publisher"]
        self._codec = common["codec"]
        self._clock = common["clock"]
        self._stopped = common["stopped"]
        self._metrics = common["metrics"]

    def handle(self, work: Work) -> float | None:
        """Seconds until the instruction is tried again, or None when it is done.

        Raises NotConfirmed when Kafka does not take the answer.
        """
        return STOPPED_S if self._stopped() is not None else self.attempt(work)

    @abstractmethod
    def attempt(self, work: Work) -> float | None:
        """One try. As `handle`."""

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
        self._publisher.publish(self.topic, key, self._codec.encode(self.topic, answer))
        self._metrics.reports.labels(self.name, kind).inc()
