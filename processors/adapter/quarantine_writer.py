"""Quarantines what a gateway's process cannot handle: a full copy if it fits, else a reference.

The payments processor quarantines in its batch's transaction instead
(`processors.payments.handler`).
"""

from __future__ import annotations

from control import quarantine
from core.words import QuarantineReason
from engine.clients.publisher import Refused
from engine.ports import InputRecord
from engine.records import LogRecord
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Publisher
from schemas import topology

CONFIRM_S: float = 30.0


class QuarantineWriter:
    """The quarantine of the adapter `name`. Each call raises NotConfirmed if Kafka does not confirm
    within `confirm_s` seconds.
    """

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
        self, record: InputRecord | LogRecord, reason: QuarantineReason, detail: str, partition: int
    ) -> bool:
        """Quarantine a full copy, or a reference if the copy is too large for Kafka; returns
        whether it is a reference.
        """
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
        reason: QuarantineReason,
        detail: str,
        reference: quarantine.Reference,
        partition: int,
    ) -> None:
        """By reference only, for a body that was too large to read completely."""
        copy = quarantine.reference_to(record, reason, detail, reference)
        self._publish(copy, reason, partition)

    def _publish(self, copy: quarantine.Copy, reason: QuarantineReason, partition: int) -> None:
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
