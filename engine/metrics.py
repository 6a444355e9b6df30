"""Every metric of the engine, defined once, updated once per batch. Record keys are never labels.

Every label set starts at 0, so that the first event shows as an increase. `catalogue` lists a
registry's metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.clock import MS_PER_S
from engine.meters import ANY, Meters
from engine.ports import EngineTopology, InputRecord, TopicPartition
from engine.store.budget import CacheBudget
from engine.store.states import PartitionStates

TRANSACTION_OUTCOMES: Final = (
    *("commit", "abort", "rebuild", "unknown_committed", "unknown_aborted"),
)
BATCH_PHASES: Final = ("decide", "offsets", "produce", "commit", "store")
PHASES: Final = ("poll", *BATCH_PHASES)
CACHES: Final = ("states", "store")
PARTITION_STATES: Final = ("running", "restoring", "halted")
ALARMS: Final = (
    "LOG_TAIL_LOST", "FOREIGN_RECORD", "STATE_DIFFERS", "STORE_DISCARDED", "CLOCK_OFF",
)  # fmt: skip
SECONDS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08),
    *(0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
COUNTS: Final = (1, 10, 50, 100, 500, 1_000, 2_000, 5_000, 10_000)


class BatchHistogram(Collector):
    """A histogram that takes a whole batch of observations in one pass."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe_all(self, values: Sequence[float]) -> None:
        """Add every value."""
        counts, bounds = self._counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)

    def collect(self) -> Iterable[Metric]:
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets, self._sum)
        yield family


class EngineMetrics:
    """The engine's own metrics of one instance."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._records = new.counter("npp_engine_records_polled", "Input records polled.")
        self._batch = new.histogram("npp_engine_batch_records", "Records per batch.", COUNTS)
        self._seconds = new.histogram(
            "npp_engine_batch_seconds",
            "Seconds per batch by phase, from the poll to the store.",
            SECONDS,
            phase=PHASES,
        )
        self._transactions = new.counter(
            "npp_engine_transactions",
            "Transactions by outcome; unknown_*: an unclear end, resolved by the nonce.",
            outcome=TRANSACTION_OUTCOMES,
        )
        self._fenced = new.counter("npp_engine_fenced", "Times a newer instance fenced this one.")
        self._consumers_lost = new.counter(
            "npp_engine_consumers_lost",
            "Times the consumer was replaced: it was fenced, had failed, or it reached no broker.",
        )
        self._rebalances = new.gauge("npp_engine_rebalances", "Rebalances of this process.")
        self._partitions = new.gauge(
            "npp_engine_partitions", "Partitions by state.", state=PARTITION_STATES
        )
        self._restoring = new.gauge(
            "npp_engine_restore_remaining_records", "State records still to restore."
        )
        self._lag = new.gauge(
            "npp_engine_input_lag_records", "Undecided records by input topic.", topic=ANY
        )
        self._stable_lag = new.gauge(
            "npp_engine_last_stable_offset_lag_records",
            "Records after the oldest open transaction began; a hanging transaction shows here.",
            topic=ANY,
        )
        self._stalled = new.gauge(
            "npp_engine_stalled_seconds",
            "How long inputs have waited in a partition that makes no progress, by "
            "input topic; the longest of its partitions.",
            topic=ANY,
        )
        self._end_to_end = BatchHistogram(
            "npp_engine_end_to_end_seconds",
            "From an input's append to the commit of its decision.",
            SECONDS,
            registry,
        )
        self._keys = new.gauge("npp_engine_open_states", "States not at rest.")
        self._cache = new.gauge(
            "npp_engine_cache_bytes",
            "Memory that the caches use: states, and RocksDB's memtables and blocks.",
            kind=CACHES,
        )
        self._cache_budget = new.gauge(
            "npp_engine_cache_budget_bytes",
            "Limits of the caches, from NPP_CACHE_BYTES.",
            kind=CACHES,
        )
        self._timers = new.gauge("npp_engine_timers_pending", "Deadlines that are set.")
        self._timers_made = new.counter("npp_engine_timers_made", "Timer records made.")
        self._lateness = new.histogram(
            "npp_engine_timer_lateness_seconds",
            "From the earliest deadline of a partition to its record.",
            SECONDS,
        )
        self._alarms = new.counter("npp_engine_alarms", "Alarms by name.", alarm=ALARMS)
        self._watchdog = new.gauge(
            "npp_engine_watchdog_age_seconds", "Seconds since the loop last made progress."
        )

    def watch(self, age_s: object) -> None:
        """`age_s`: a function without arguments, called at each scrape."""
        self._watchdog.set_function(age_s)  # type: ignore[arg-type]

    def start_topics(self, topology: EngineTopology) -> None:
        """Every input's lag and stall time start at 0."""
        self._inputs = topology.inputs
        for topic in topology.inputs:
            self._lag.labels(topic).set(0)
            self._stalled.labels(topic).set(0)
        for topic in (*topology.inputs, topology.journal):
            self._stable_lag.labels(topic).set(0)

    def polled(self, count: int, seconds: float) -> None:
        """A batch that had records."""
        self._records.inc(count)
        self._batch.observe(count)
        self._seconds.labels("poll").observe(seconds)

    def committed(
        self,
        records: Sequence[InputRecord],
        now_ms: int,
        marks_s: Sequence[float],
    ) -> None:
        """A batch that was committed; `marks_s` are the times between its phases."""
        self._transactions.labels("commit").inc()
        for phase, began_s, ended_s in zip(BATCH_PHASES, marks_s, marks_s[1:], strict=False):
            self._seconds.labels(phase).observe(ended_s - began_s)
        self._end_to_end.observe_all([(now_ms - r.timestamp_ms) / MS_PER_S for r in records])

    def transaction(self, outcome: str) -> None:
        """A transaction that did not simply commit."""
        self._transactions.labels(outcome).inc()

    def fenced(self) -> None:
        """A newer instance has taken over."""
        self._fenced.inc()

    def consumer_lost(self) -> None:
        """The group's consumer is replaced."""
        self._consumers_lost.inc()

    def rebalances(self, count: int) -> None:
        """Rebalances so far."""
        self._rebalances.set(count)

    def partitions(self, running: int, restoring: int, halted: int) -> None:
        """How many partitions are in which state."""
        for state, count in zip(PARTITION_STATES, (running, restoring, halted), strict=True):
            self._partitions.labels(state).set(count)
        if not restoring:
            self._restoring.set(0)

    def restoring(self, remaining: int) -> None:
        """Records still to restore."""
        self._restoring.set(remaining)

    def timers_made(self, count: int, lateness_ms: int) -> None:
        """Timer records of one partition."""
        if count:
            self._timers_made.inc(count)
            self._lateness.observe(max(0, lateness_ms) / MS_PER_S)

    def alarm(self, name: str) -> None:
        """Count an alarm."""
        self._alarms.labels(name).inc()

    def cache_budget(self, budget: CacheBudget) -> None:
        """The limits of this process's caches, in bytes."""
        self._cache_budget.labels("states").set(budget.states)
        self._cache_budget.labels("store").set(budget.memtables + budget.blocks)

    def observe_states(self, states: Mapping[int, PartitionStates], store_bytes: int) -> None:
        """How many states and timers there are, and the memory they use; every few seconds, never
        per batch.
        """
        self._cache.labels("states").set(sum(s.cached_bytes() for s in states.values()))
        self._cache.labels("store").set(store_bytes)
        self._keys.set(sum(s.open_count() for s in states.values()))
        self._timers.set(sum(len(s.timers) for s in states.values()))

    def observe_ends(
        self,
        positions: Mapping[TopicPartition, int],
        high: Mapping[TopicPartition, int],
        stable: Mapping[TopicPartition, int],
    ) -> None:
        """Lag by topic, from the inputs' positions and the brokers' end offsets."""
        lag: dict[str, int] = {}
        behind: dict[str, int] = {}
        for name in high.keys() & stable.keys():
            topic = name[0]
            behind[topic] = behind.get(topic, 0) + max(0, high[name] - stable[name])
            if name in positions:
                lag[topic] = lag.get(topic, 0) + max(0, stable[name] - positions[name])
        for topic, count in lag.items():
            self._lag.labels(topic).set(count)
        for topic, count in behind.items():
            self._stable_lag.labels(topic).set(count)

    def observe_stalled(self, seconds: Mapping[TopicPartition, float]) -> None:
        """The longest of each topic; topics without a stalled partition go back to 0."""
        longest = dict.fromkeys(self._inputs, 0.0)
        for (topic, _), stalled in seconds.items():
            longest[topic] = max(longest[topic], stalled)
        for topic, stalled in longest.items():
            self._stalled.labels(topic).set(stalled)


class Described(NamedTuple):
    """One line of the catalogue."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def catalogue(registry: CollectorRegistry) -> list[Described]:
    """Every metric of a registry, by name, for the generated page."""
    lines = []
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for s in family.samples for label in s.labels} - {"le", "quantile"}
        labels |= set(getattr(family, "_labelnames", ()))  # of one that has no sample yet
        lines.append(Described(name, family.type, tuple(sorted(labels)), family.documentation))
    return sorted(lines)
