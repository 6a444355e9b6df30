"""Metrics of the projector: its delay, its work, and the business rates of the read model.

No payment id in a label. The rates are computed over event time in `readmodel.minutes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from core.values import FailureReason, MoneyOutcome, State
from engine.meters import Meters
from processors.projector.batch import SKIPPED, TOPICS
from readmodel import minutes
from readmodel.minutes import Figures, Rate

BATCH_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
COUNTED: Final = (
    *("created", "first_attempts", "retries", "acknowledged"),
    *("settled", "cancelled", "late_failures", "expired"),
)
SOURCES: Final = ("rail", "operator", "upstream", "system")
RETRY_SUCCESS: Final = "retry_success"
SHOWN_RATES: Final = (*minutes.RATES, RETRY_SUCCESS)
STUCK_STATES: Final = (State.SENT.value, State.ACKNOWLEDGED.value)
LEVELS: Final = ("ATTENTION", "ESCALATED")
QUEUES: Final[dict[str, str]] = {
    "openConflicts": "open_conflicts",
    "attention": "attention",
    "waitingForPerson": "waiting_for_person",
    "approvalsReferred": "approvals_referred",
    "quarantined": "quarantined",
}


class ProjectorMetrics:
    """Every known label set starts at 0; a rate without traffic is NaN."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self._delay = new.gauge(
            "npp_projector_delay_seconds",
            "Age of the oldest record that the read model does not have yet; 0 when caught up.",
            topic=TOPICS,
        )
        self.records = new.counter("npp_projector_records", "Records projected.", topic=TOPICS)
        self.skipped = new.counter(
            "npp_projector_skipped_records",
            "Records without a row: undecodable, or of an unknown type.",
            topic=TOPICS,
            reason=SKIPPED,
        )
        self.batch_seconds = new.histogram(
            "npp_projector_batch_seconds",
            "Folding a batch and writing it to the database.",
            BATCH_SECONDS,
        )
        self.waits = new.counter(
            "npp_projector_waits",
            "Pauses because the database or the schema registry did not answer.",
        )
        self._bypassed = new.gauge(
            "npp_idempotency_bypassed",
            "Payments in the read model under another id than their source's key gives.",
        )
        self.halted = new.gauge(
            "npp_projector_halted",
            "1 when an event does not follow the one before it: projection has stopped.",
        )
        self.generation = new.gauge("npp_projector_generation", "Generation of the read model.")
        self._rate = new.gauge(
            "npp_business_rate",
            "Share over 5 minutes (success), 24 hours (retry_success), else an hour; NaN at zero "
            "traffic.",
            kind=SHOWN_RATES,
        )
        self._rate_count = new.gauge(
            "npp_business_rate_count",
            "Denominator of the rate; below 20 there is no alert.",
            kind=SHOWN_RATES,
        )
        self._hour = new.gauge("npp_business_last_hour", "Decided in the last hour.", kind=COUNTED)
        self._failed = new.gauge(
            "npp_business_failed_last_hour",
            "Attempts that failed in the last hour, without cancelled ones.",
            reason=[each.value for each in FailureReason],
            source=SOURCES,
        )
        self._failed_of_day = new.gauge(
            "npp_business_failed_last_day",
            "Attempts that failed in the last 24 hours, cancelled ones included.",
            reason=[each.value for each in FailureReason],
        )
        self._latency = new.gauge(
            "npp_business_rail_latency_seconds",
            "Mean time to the rail's technical answer over the last 5 minutes.",
        )
        self._slow_now = new.gauge(
            "npp_business_rail_slow_in_a_row",
            "How many of the last five rail requests were slow, counted back from the latest.",
        )
        self.slow_runs = new.counter(
            "npp_business_rail_slow_runs",
            "Each fifth rail request in a row that took more than 1 s.",
        )
        self._stuck = new.gauge(
            "npp_payments_overdue",
            "Payments that wait too long for the rail: 5 minutes ATTENTION, 10 ESCALATED.",
            state=STUCK_STATES,
            level=LEVELS,
        )
        self._queue = new.gauge(
            "npp_read_model_queue", "What waits for people.", kind=QUEUES.values()
        )
        self._state = new.gauge(
            "npp_read_model_payments", "Payments by state.", state=[each.value for each in State]
        )
        self._money = new.gauge(
            "npp_read_model_money_outcomes",
            "Payments by money outcome.",
            outcome=[each.value for each in MoneyOutcome],
        )
        for kind in SHOWN_RATES:
            self._rate.labels(kind).set(float("nan"))

    def watch_delay(self, delay_s: Callable[[str], float]) -> None:
        """Call `delay_s` at each scrape, so that a loop that hangs does not hide its delay."""
        for topic in TOPICS:
            self._delay.labels(topic).set_function(_of(delay_s, topic))

    def business(self, buckets: minutes.Buckets, now_ms: int) -> None:
        """Show the rates and counts of these buckets."""
        for kind, rate in minutes.rates(buckets, now_ms).items():
            self._show(kind, rate)
        hour = minutes.total(minutes.window(buckets, now_ms, minutes.HOUR_MINUTES))
        for kind in COUNTED:
            self._hour.labels(kind).set(getattr(hour, kind))
        for reason in FailureReason:
            for source in SOURCES:
                count = hour.failed.get(f"{reason.value}/{source}", 0)
                self._failed.labels(reason.value, source).set(count)
        recent = minutes.total(minutes.window(buckets, now_ms, minutes.SUCCESS_MINUTES))
        self._latency.set(mean_latency_s(recent))
        self._slow_now.set(minutes.slow_in_a_row(hour.latencies))

    def day(self, figures: Figures) -> None:
        """Show the figures of the last 24 hours."""
        self._show(RETRY_SUCCESS, minutes.retry_success([figures]))
        for reason, count in minutes.failures(figures).items():
            self._failed_of_day.labels(reason).set(count)

    def counts(self, counts: Mapping[str, int]) -> None:
        """Show the result of `Reader.counts`."""
        for name, kind in QUEUES.items():
            self._queue.labels(kind).set(counts.get(name, 0))
        self._bypassed.set(counts.get("bypassed", 0))
        for state in State:
            self._state.labels(state.value).set(counts.get(f"state:{state.value}", 0))
        for outcome in MoneyOutcome:
            self._money.labels(outcome.value).set(counts.get(f"money:{outcome.value}", 0))

    def stuck(self, stuck: Mapping[tuple[str, str], int]) -> None:
        """Show how many payments wait too long, by state and level."""
        for state in STUCK_STATES:
            for level in LEVELS:
                self._stuck.labels(state, level).set(stuck.get((state, level), 0))

    def _show(self, kind: str, rate: Rate) -> None:
        self._rate.labels(kind).set(_value(rate))
        self._rate_count.labels(kind).set(rate.whole)


def mean_latency_s(figures: Figures) -> float:
    """Mean rail latency; NaN when there was no request."""
    count = sum(figures.histogram)
    return figures.latency_ms_sum / count / 1_000 if count else float("nan")


def _value(rate: Rate) -> float:
    value = rate.value
    return float("nan") if value is None else value


def _of(delay_s: Callable[[str], float], topic: str) -> Callable[[], float]:
    return lambda: delay_s(topic)
