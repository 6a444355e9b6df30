"""Metrics of the monitor itself. No payment id in a label."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from engine.meters import Meters
from processors.monitor.rules import RULES

UNDECODABLE: Final = "undecodable"
OLDER: Final = "older"  # repeats after a restart, or ticks already judged


class MonitorMetrics:
    """Every known label set starts at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.last_tick = new.gauge(
            "npp_monitor_last_tick_seconds",
            "Time of the last tick that this worker judged; 0 while another worker judges.",
        )
        self.owner = new.gauge("npp_monitor_owner", "1 while this worker judges the ticks.")
        self.minutes = new.counter("npp_monitor_minutes", "Records of a minute's figures taken.")
        self.ticks = new.counter("npp_monitor_ticks", "Ticks judged.")
        self.skipped = new.counter(
            "npp_monitor_skipped", "Records not taken.", reason=(UNDECODABLE, OLDER)
        )
        self.incident = new.gauge(
            "npp_incident_open", "1 while an incident of this rule is open.", rule=RULES
        )
