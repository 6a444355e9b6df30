"""Watches for transactions on the journal that never end.

A broker should abort a transaction after its timeout. If it does not, the last stable offset never
advances: no consumer reads later records, and no process reports why
(docs/decisions/0013-lost-clients.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry

from engine.clients.stall_detection import StalledPartitions
from engine.clock import Clock
from engine.errors import EngineError
from engine.meters import Meters
from engine.ports import TopicPartition

log = structlog.get_logger("npp.hanging")

LOOK_EVERY_S: Final = 5.0
HANGING_AFTER_S: Final = 60.0  # the processors' transactions end within 10 s


class Ends(Protocol):
    """The required part of engine.clients.reader.LogEnds."""

    def high(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """High watermarks. Raises EngineError."""

    def stable(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Last stable offsets. Raises EngineError."""


class HangingMetrics:
    """Results of the last check."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.open = new.gauge(
            "npp_journal_open_transaction_seconds",
            "For how long a transaction of the journal has been seen open, the oldest one; nobody "
            "reads what is written after it.",
        )


class HangingWatch:
    """Checks the partitions of one topic every LOOK_EVERY_S."""

    def __init__(
        self, ends: Ends, places: Sequence[TopicPartition], clock: Clock, metrics: HangingMetrics
    ) -> None:
        self._ends = ends
        self._places = places
        self._clock = clock
        self._looked_s = float("-inf")
        self._stalled = StalledPartitions()
        self._metrics = metrics

    def look_if_due(self) -> None:
        """Compare last stable offsets with high watermarks, at most once in LOOK_EVERY_S. If the
        cluster does not answer, the last result stays.
        """
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._looked_s
        if elapsed_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            # first: a transaction that ends meanwhile is not open
            high = self._ends.high(self._places)
            stable = self._ends.stable(self._places)
        except EngineError as error:
            log.warning("transactions_not_seen", error=str(error))
            return
        before = self._stalled.longest()
        self._stalled.look(stable, high, min(elapsed_s, 2 * LOOK_EVERY_S))
        self._metrics.open.set(self._stalled.longest())
        if before < HANGING_AFTER_S <= self._stalled.longest():
            for (topic, partition), seconds in self._stalled.seconds.items():
                if seconds >= HANGING_AFTER_S:
                    log.critical(
                        "transaction_hangs", topic=topic, partition=partition,
                        offset=stable[topic, partition], seconds=round(seconds),
                        do="kafka-transactions.sh find-hanging, then abort: docs/runbook.md",
                    )  # fmt: skip
