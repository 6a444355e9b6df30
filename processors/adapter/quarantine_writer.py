"""Puts aside what a gateway's process cannot handle: the whole record where it fits, else by
reference.
"""

from __future__ import annotations

from control import quarantine
from engine.clients.publisher import Refused
from engine.ports import InputRecord
from engine.records import LogRecord
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher
from schemas import topology

CONFIRM_S: float = 30.0


class QuarantineWriter:
    """Of the adapter `name`. Raises NotConfirmed when Kafka does not take the record."""

    def __init__(
        self,
        publisher: Publisher,
        metrics: AdapterMetrics,
        name: str,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._name = name
        self._confirm_s = confirm_s

    def keep(
        self, record: InputRecord | LogRecord, reason: str, detail: str, partition: int
    ) -> bool:
        """Whole, or by reference where Kafka refuses the whole copy; whether by reference."""
        copy = quarantine.copy_of(record, reason, detail)
        try:
            self._publish(copy, reason, partition)
        except Refused:
            copy = quarantine.reference_to(record, reason, detail)
            self._publish(copy, reason, partition)
        return copy.by_reference

    def refer_to(
        self,
        record: LogRecord,
        reason: str,
        detail: str,
        reference: quarantine.Reference,
        partition: int,
    ) -> None:
        """By reference alone: what is too large to be read was never whole here."""
        copy = quarantine.reference_to(record, reason, detail, reference)
        self._publish(copy, reason, partition)

    def _publish(self, copy: quarantine.Copy, reason: str, partition: int) -> None:
        self._publisher.publish(
            topology.QUARANTINE,
            copy.key,
            copy.value,
            partition=partition,
            headers=copy.headers,
            timeout_s=self._confirm_s,
        )
        self._metrics.quarantined.labels(self._name, reason).inc()
        self._metrics.by_reference.labels(self._name).inc(copy.by_reference)
