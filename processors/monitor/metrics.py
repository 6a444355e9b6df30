"""Figures of the monitor itself. No payment id in a label."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from processors.monitor.rules import RULES

UNDECODABLE: Final = "undecodable"
OLDER: Final = "older"  # what a restart published again, or a tick that was judged already


class MonitorMetrics:
    """Every known label set starts at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.last_tick = Gauge(
            "npp_monitor_last_tick_seconds",
            "Time of the last tick that this worker judged; 0 while another worker judges.",
            registry=registry,
        )
        self.owner = Gauge(
            "npp_monitor_owner", "1 while this worker judges the ticks.", registry=registry
        )
        self.minutes = Counter(
            "npp_monitor_minutes", "Records of a minute's figures taken.", registry=registry
        )
        self.ticks = Counter("npp_monitor_ticks", "Ticks judged.", registry=registry)
        self.skipped = Counter(
            "npp_monitor_skipped", "Records not taken.", ["reason"], registry=registry
        )
        self.incident = Gauge(
            "npp_incident_open",
            "1 while an incident of this rule is open.",
            ["rule"],
            registry=registry,
        )
        for reason in (UNDECODABLE, OLDER):
            self.skipped.labels(reason)
        for rule in RULES:
            self.incident.labels(rule)
