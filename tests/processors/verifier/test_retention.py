"""What the retention watch reports about the brokers' live settings (RET-01)."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from app.topic_specs import RETENTION_KEYS, kept_specs
from engine.errors import Abort
from engine.topics import Difference, TopicSpec
from processors.verifier.retention import LOOK_EVERY_S, RetentionMetrics, RetentionWatch
from schemas import catalogue
from tests.clock import HeldClock

START_MS = 1_800_000_000_000
SHORTENED = Difference("config", "npp.payment.events.v1 retention.ms", "-1", "604800000")


class Brokers:
    """Answers as the test sets it, and counts the requests."""

    def __init__(self) -> None:
        self.found: list[Difference] = []
        self.down = False
        self.requested: list[list[str]] = []

    def config_drift(self, topics: Sequence[TopicSpec]) -> list[Difference]:
        self.requested.append([each.name for each in topics])
        if self.down:
            raise Abort("_TIMED_OUT", "no broker answers")
        return self.found


class Harness:
    """A watch over these brokers, and its metrics registry."""

    def __init__(self) -> None:
        self.brokers = Brokers()
        self.clock = HeldClock(START_MS)
        self.registry = CollectorRegistry()
        self.kept = kept_specs(catalogue.load(), "production")
        metrics = RetentionMetrics(self.registry)
        self.watch = RetentionWatch(self.brokers, self.kept, self.clock, metrics)

    def seen(self) -> tuple[float | None, float | None]:
        """(contradictions, time of the check in seconds)."""
        names = ("npp_retention_contradictions", "npp_retention_last_look_seconds")
        contradictions, looked_at = map(self.registry.get_sample_value, names)
        return contradictions, looked_at


def test_the_journal_its_inputs_and_the_audit_log_are_watched() -> None:
    """The topics in the runbook's Compliance & Audit, by the three settings that remove records,
    none of them by size.
    """
    kept = {each.name: each.config for each in kept_specs(catalogue.load(), "production")}
    needed = {"npp.payment.events.v1", "npp.operator.audit.v1", "npp.payment.outcomes.v1"}
    inputs = {topic.name for topic in catalogue.load().inputs()}
    assert needed | inputs <= kept.keys()
    assert {tuple(config) for config in kept.values()} == {RETENTION_KEYS}
    assert {config["retention.bytes"] for config in kept.values()} == {"-1"}
    assert "npp.rail.submissions.v1" not in kept


def test_a_shortened_retention_is_counted_until_it_is_corrected() -> None:
    """At the start, and once a minute."""
    harness = Harness()
    harness.brokers.found = [SHORTENED]
    harness.watch.look_if_due()
    harness.watch.look_if_due()
    assert harness.seen() == (1, START_MS / 1000)
    assert harness.brokers.requested == [[each.name for each in harness.kept]]
    harness.brokers.found = []
    harness.clock.sleep(LOOK_EVERY_S)
    harness.watch.look_if_due()
    assert harness.seen() == (0, START_MS / 1000 + LOOK_EVERY_S)


def test_without_an_answer_the_last_result_and_its_age_are_kept() -> None:
    """Nothing unseen is reported as good; the alert on the last check's age fires."""
    harness = Harness()
    harness.brokers.found = [SHORTENED]
    harness.watch.look_if_due()
    harness.brokers.down = True
    harness.clock.sleep(LOOK_EVERY_S)
    harness.watch.look_if_due()
    assert harness.seen() == (1, START_MS / 1000)
    assert len(harness.brokers.requested) == 2
