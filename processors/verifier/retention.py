"""Watches the brokers' live settings of what must be kept for years: the journal, its inputs, the
audit log. A setting that would remove records earlier is a metric, an alert and a log line.

It changes nothing: `npp topics apply` puts the declared setting back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry

from engine.clock import MS_PER_S, Clock
from engine.errors import EngineError
from engine.meters import Meters
from engine.topics import Difference, TopicSpec

log = structlog.get_logger("npp.retention")

LOOK_EVERY_S: Final = 60.0


class TopicConfigs(Protocol):
    """The part of engine.topics.TopicAdmin that is needed."""

    def config_drift(self, topics: Sequence[TopicSpec]) -> list[Difference]:
        """Where the live configuration is not the declared one. Raises EngineError."""


class RetentionMetrics:
    """What the last look found, and when it was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.contradictions = new.gauge(
            "npp_retention_contradictions",
            "Live settings that would remove records earlier than declared.",
        )
        self.looked_at = new.gauge(
            "npp_retention_last_look_seconds", "Time at which the live settings were last read."
        )


class RetentionWatch:
    """Looks once a minute; the first look is at the start."""

    def __init__(
        self,
        admin: TopicConfigs,
        kept: Sequence[TopicSpec],
        clock: Clock,
        metrics: RetentionMetrics,
    ) -> None:
        """`kept`: the topics with the settings that say how long, and no others."""
        self._admin = admin
        self._kept = kept
        self._clock = clock
        self._looked_s = float("-inf")
        self._metrics = metrics

    def look_if_due(self) -> None:
        """Compare, at most once in LOOK_EVERY_S. A cluster that does not say keeps the last
        answer, and the time of the last look grows old."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            found = self._admin.config_drift(self._kept)
        except EngineError as error:
            log.warning("retention_not_seen", error=str(error), topics=len(self._kept))
            return
        self._metrics.contradictions.set(len(found))
        self._metrics.looked_at.set(self._clock.now_ms() / MS_PER_S)
        for each in found:
            log.critical(
                "retention_contradicted", setting=each.name, declared=each.wanted, live=each.found,
                do="npp topics apply",
            )  # fmt: skip
