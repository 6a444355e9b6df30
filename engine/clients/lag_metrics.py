"""The number of unprocessed records of each partition, computed at the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.ports import TopicPartition


class LagMetrics(Collector):
    """One series for each partition of this process, so that no partition is shown twice."""

    NAME: Final = "npp_consumer_lag_records"
    LABELS: Final = ("reader", "topic", "partition")

    def __init__(self, registry: CollectorRegistry) -> None:
        self._readers: dict[str, Callable[[], Mapping[TopicPartition, int]]] = {}
        registry.register(self)

    def watch(self, reader: str, lag: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """`lag`: committed records by partition that are not processed yet."""
        self._readers[reader] = lag

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            self.NAME,
            "Records of a partition that its reader has not processed yet, as of its last check, "
            "seconds ago.",
            labels=self.LABELS,
        )
        for reader, lag in self._readers.items():
            for (topic, partition), records in lag().items():
                family.add_metric([reader, topic, str(partition)], records)
        yield family
