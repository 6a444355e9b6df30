"""Monitors the brokers' live settings of topics that must be kept for years: the journal, its
inputs, the audit log. A setting that would remove records earlier is a metric, an alert and a log
line.

It changes nothing: `npp topics apply` restores the declared setting.
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
    """The required part of engine.topics.TopicAdmin."""

    def config_drift(self, topics: Sequence[TopicSpec]) -> list[Difference]:
        """Differences between the live and the declared configuration. Raises EngineError."""


class RetentionMetrics:
    """Result and time of the last check."""

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
    """Checks at start and then once a minute."""

    def __init__(
        self,
        admin: TopicConfigs,
        kept: Sequence[TopicSpec],
        clock: Clock,
        metrics: RetentionMetrics,
    ) -> None:
        """`kept`: the topics with only their retention settings."""
        self._admin = admin
        self._kept = kept
        self._clock = clock
        self._looked_s = float("-inf")
        self._metrics = metrics

    def look_if_due(self) -> None:
        """Compare, at most once in LOOK_EVERY_S. If the cluster does not answer, the last result
        and its time stay.
        """
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
