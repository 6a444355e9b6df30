"""Metrics of the gateways' processes. A label is one of our own names, never an id or an external
code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from control.quarantine import REASONS
from engine.meters import ANY, Meters

CALL_SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ADAPTERS: Final = ("rail", "deposits", "resolve", "notifications")

CALLBACK_RESULTS: Final = (
    "reported",
    "unmatched",
    "undecodable",
    "too_large",
    "denied",
    "incomplete",
    "not_taken",
)


class AdapterMetrics:
    """One set per process, on its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.calls = new.counter(
            "npp_adapter_calls",
            "Calls to the outside, by adapter, operation and outcome",
            adapter=ANY,
            operation=ANY,
            outcome=ANY,
        )
        self.call_seconds = new.histogram(
            "npp_adapter_call_seconds",
            "From sending a call to its technical answer",
            CALL_SECONDS_BUCKETS,
            adapter=ANY,
            operation=ANY,
        )
        self.reports = new.counter(
            "npp_adapter_reports",
            "Records reported back, by adapter and kind",
            adapter=ANY,
            kind=ANY,
        )
        self.callbacks = new.counter(
            "npp_rail_callbacks", "Callbacks of the rail, by result", result=CALLBACK_RESULTS
        )
        self.quarantined = new.counter(
            "npp_adapter_quarantined",
            "Records and callbacks put into quarantine, by adapter and reason",
            adapter=ADAPTERS,
            reason=sorted(REASONS),
        )
        self.by_reference = new.counter(
            "npp_adapter_quarantined_by_reference",
            "Records and callbacks too large to copy, put into quarantine by reference, by adapter",
            adapter=ADAPTERS,
        )
        self.held = new.gauge(
            "npp_adapter_instructions_held", "Instructions read and not done", adapter=ADAPTERS
        )
        self.oldest = new.gauge(
            "npp_adapter_oldest_instruction_seconds",
            "Unix time at which the oldest instruction that was read and is not done was decided; "
            "NaN when there is none",
            adapter=ANY,
        )
        self.stalled = new.gauge(
            "npp_adapter_stalled_seconds",
            "How long instructions have waited in a partition that makes no progress, the "
            "longest of its partitions",
            adapter=ANY,
        )
        self.redriven = new.counter("npp_redriven_records", "Quarantined records put back")

    def watch(self, adapter: str, stalled_s: Callable[[], float]) -> None:
        """At each scrape `npp_adapter_stalled_seconds` is the result of `stalled_s`."""
        self.stalled.labels(adapter).set_function(stalled_s)

    def watch_oldest(self, adapter: str, decided_at_s: Callable[[], float]) -> None:
        """At each scrape `npp_adapter_oldest_instruction_seconds` is that of `decided_at_s`."""
        self.oldest.labels(adapter).set_function(decided_at_s)

    def start_at_zero(
        self,
        adapter: str,
        *,
        operations: Iterable[str],
        outcomes: Sequence[str],
        kinds: Iterable[str],
    ) -> None:
        """Every counter exists from the start, so that the first event shows as an increase."""
        for operation in operations:
            for outcome in outcomes:
                self.calls.labels(adapter, operation, outcome).inc(0)
        for kind in kinds:
            self.reports.labels(adapter, kind).inc(0)

    def called(self, adapter: str, operation: str, outcome: str, millis: int) -> None:
        """Count one call and its duration in milliseconds."""
        self.calls.labels(adapter, operation, outcome).inc()
        self.call_seconds.labels(adapter, operation).observe(max(0, millis) / 1000)
