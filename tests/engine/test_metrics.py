"""The engine's metrics: every label set starts at zero."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from engine.metrics import ALARMS, TRANSACTION_OUTCOMES, EngineMetrics, catalogue
from tests.engine.toy import ADD, ANSWERS, topology


def test_every_label_set_starts_at_zero_and_is_in_the_catalogue() -> None:
    """So the first event shows as a rise. Nothing from a record is a label."""
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.start_topics(topology(1))
    samples = {(s.name, *s.labels.values()): s.value for f in registry.collect() for s in f.samples}
    for outcome in TRANSACTION_OUTCOMES:
        assert samples["npp_engine_transactions_total", outcome] == 0
    for alarm in ALARMS:
        assert samples["npp_engine_alarms_total", alarm] == 0
    assert samples["npp_engine_input_lag_records", ADD] == 0
    assert samples["npp_engine_stalled_seconds", ADD] == 0
    lines = catalogue(registry)
    assert {label for line in lines for label in line.labels} == {
        "phase",
        "outcome",
        "state",
        "topic",
        "alarm",
        "kind",
    }
    assert all(line.text for line in lines)


def test_the_longest_stall_of_a_topic_shows_and_falls_again() -> None:
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    metrics.start_topics(topology(2))

    def seen(topic: str) -> float | None:
        return registry.get_sample_value("npp_engine_stalled_seconds", {"topic": topic})

    metrics.observe_stalled({(ADD, 0): 5.0, (ADD, 1): 20.0})
    assert (seen(ADD), seen(ANSWERS)) == (20.0, 0.0)
    metrics.observe_stalled({(ANSWERS, 1): 10.0})
    assert (seen(ADD), seen(ANSWERS)) == (0.0, 10.0)
