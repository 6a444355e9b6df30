"""Figures for the dashboard: what there is, what happened in 24 hours, the rates, and how far
behind the read model is. Worked out once a second at most, for all callers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from api.edge.views import View, iso, iso_or_none
from api.incidents.views import IncidentView, incident
from api.services import Services
from api.summary.day import DAY_MINUTES, Day
from core.monitoring import ProofState
from core.values import FailureReason, MoneyOutcome, State
from engine.errors import EngineError
from readmodel import minutes
from readmodel.rows import IncidentRow
from schemas.topology import EVENTS

FRESH_S: Final = 1.0
OPEN_ONLY: Final = True
OPEN_MAX: Final = 50  # one a rule is the most that can be open at once
PROOF_SILENT_MS: Final = 60_000  # a proof that runs tells every 2 s, but for its long steps
DELAY_MS_HIGH: Final = 30_000  # alerts above (API-03, DEP-06)


class MinuteView(View):
    """What was decided in one minute; minutes without anything are left out."""

    minute: str
    created: int
    settled: int
    failed: int
    expired: int
    cancelled: int
    first_attempts: int
    retries: int
    acknowledged: int
    late_failures: int


class RateView(View):
    """`part` of `whole` within the last `minutes`; `value` is null at zero traffic, and `enough`
    says whether so much was counted that it may alert."""

    value: float | None
    part: int
    whole: int
    enough: bool
    minutes: int


class RatesView(View):
    """Settled among attempts that ended; retries to first attempts; cancelled to created; failed
    after the acknowledgement to acknowledged."""

    success: RateView
    retry: RateView
    cancellation: RateView
    late_failure: RateView


class LatencyView(View):
    """One rail request."""

    submitted_at: str
    took_ms: int


class RailView(View):
    """The rail's answers: the last five, how many of them in a row were slow (over a second), and
    how many of the last 24 hours took at most `boundsMs[i]`; the last count is of all longer."""

    last: list[LatencyView]
    slow_in_a_row: int
    bounds_ms: list[int]
    histogram: list[int]


class ReadModelView(View):
    """How far the read model is behind the journal; null when Kafka does not answer. `delayMs` is
    for how long something is seen to be missing, and `late` says that this is too long."""

    records_behind: int | None
    delay_ms: int | None
    late: bool
    offsets: dict[str, int]


class ProofRunView(View):
    """The proofs of the whole log by `npp run replay`. While one runs it has read `done` of `total`
    records (0: not known yet); `stalled` says that it has told nothing for too long. The last one
    that ended has `verdict` PASSED, FAILED or NOT_CHECKABLE, over so many `events`."""

    running: bool
    stalled: bool
    began_at: str
    done: int
    total: int
    ended_at: str | None
    verdict: str | None
    events: int
    difference: str | None


class SummaryView(View):
    """Counts are of all payments; `incidents` are the open ones of the monitor; throughput,
    failures, retries and rail are of the last 24 hours; `proof` is null where nothing was told."""

    at: str
    states: dict[str, int]
    money_outcomes: dict[str, int]
    open_conflicts: int
    attention: int
    waiting_for_person: int
    approvals_waiting: int
    quarantined: int
    incidents: list[IncidentView]
    throughput: list[MinuteView]
    failures: dict[str, int]
    failure_sources: dict[str, int]
    rates: RatesView
    retry_success: RateView
    rail: RailView
    read_model: ReadModelView
    proof: ProofRunView | None


class Delay:
    """For how long the read model has not had what stood on the journal; the caller keeps it."""

    def __init__(self) -> None:
        self._missing: dict[int, tuple[int, int]] = {}  # partition: end that is waited for, since

    def look(self, projected: Mapping[int, int], ends: Mapping[int, int], now_ms: int) -> int:
        """Milliseconds, 0 when nothing is missing."""
        for partition, end in ends.items():
            have = projected.get(partition, 0)
            waited = self._missing.get(partition)
            if have >= end:
                self._missing.pop(partition, None)
            elif waited is None or have >= waited[0]:
                self._missing[partition] = (end, now_ms)
        return max((now_ms - since for _, since in self._missing.values()), default=0)


class Summary:
    """Safe for many threads: one works it out, the others get the same."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._delay = Delay()
        self._day = Day(services.reader)
        self._made: SummaryView | None = None
        self._made_at = 0.0

    def get(self) -> SummaryView:
        """At most FRESH_S old. Raises ReadModelDown."""
        with self._lock:
            now = self._services.clock.monotonic_s()
            if self._made is None or now - self._made_at >= FRESH_S:
                self._made = self._make()
                self._made_at = now
            return self._made

    def observe(self) -> ReadModelView:
        """How far the read model is; asked every few seconds, so that a delay is known in time.
        Raises ReadModelDown."""
        with self._lock:
            return self._read_model()

    def _make(self) -> SummaryView:
        reader, now = self._services.reader, self._services.clock.now_ms()
        counts = reader.counts()
        by_minute = self._day.look(minutes.minute_of(now), self._projected())
        day = minutes.total(by_minute.values())
        latencies = minutes.last_latencies(by_minute.values())
        return SummaryView(
            at=iso(now),
            states={state.value: counts.get(f"state:{state.value}", 0) for state in State},
            money_outcomes={m.value: counts.get(f"money:{m.value}", 0) for m in MoneyOutcome},
            open_conflicts=counts.get("openConflicts", 0),
            attention=counts.get("attention", 0),
            waiting_for_person=counts.get("waitingForPerson", 0),
            approvals_waiting=counts.get("approvalsReferred", 0),
            quarantined=counts.get("quarantined", 0),
            incidents=[
                incident(row)
                for row in reader.incidents(OPEN_ONLY, OPEN_MAX, None).items
                if isinstance(row, IncidentRow)
            ],
            throughput=[_minute(minute, each) for minute, each in by_minute.items()],
            failures=_failures(day, 0, [reason.value for reason in FailureReason])
            | {"CANCELLED": day.cancelled},
            failure_sources=_failures(day, 1, ["rail", "operator", "upstream", "system"]),
            rates=_rates(minutes.rates({(0, m): each for m, each in by_minute.items()}, now)),
            retry_success=_rate(minutes.retry_success([day]), DAY_MINUTES),
            rail=RailView(
                last=[LatencyView(iso(each.submitted_at), each.took_ms) for each in latencies],
                slow_in_a_row=minutes.slow_in_a_row(latencies),
                bounds_ms=list(minutes.LATENCY_BOUNDS_MS),
                histogram=list(day.histogram),
            ),
            read_model=self._read_model(),
            proof=proof_run(self._services.proofs.now(), now),
        )

    def _projected(self) -> dict[int, int]:
        """How far the read model has the journal, by partition."""
        found = self._services.reader.projected()
        return {number: offset for (topic, number), offset in found.items() if topic == EVENTS}

    def _read_model(self) -> ReadModelView:
        projected, now = self._projected(), self._services.clock.now_ms()
        try:
            ends: Mapping[int, int] = self._services.journal.ends()
        except EngineError:
            behind, delay = None, None
        else:
            behind = sum(max(0, end - projected.get(n, 0)) for n, end in ends.items())
            delay = self._delay.look(projected, ends, now)
        return ReadModelView(
            records_behind=behind,
            delay_ms=delay,
            late=delay is not None and delay > DELAY_MS_HIGH,
            offsets={str(partition): projected[partition] for partition in sorted(projected)},
        )


def proof_run(told: ProofState | None, now_ms: int) -> ProofRunView | None:
    """What was told, as of now."""
    if told is None:
        return None
    return ProofRunView.of(
        told,
        stalled=told.running and now_ms - told.at > PROOF_SILENT_MS,
        began_at=iso(told.began_at),
        ended_at=iso_or_none(told.ended_at),
    )


def _minute(minute: int, whole: minutes.Figures) -> MinuteView:
    return MinuteView(
        minute=iso(minute * minutes.MINUTE_MS),
        created=whole.created,
        settled=whole.settled,
        failed=sum(whole.failed.values()),
        expired=whole.expired,
        cancelled=whole.cancelled,
        first_attempts=whole.first_attempts,
        retries=whole.retries,
        acknowledged=whole.acknowledged,
        late_failures=whole.late_failures,
    )


def _failures(day: minutes.Figures, part: int, names: list[str]) -> dict[str, int]:
    """Failures by reason (0) or source (1), every known name included."""
    found = dict.fromkeys(names, 0)
    for name, count in day.failed.items():
        key = name.split("/")[part]
        found[key] = found.get(key, 0) + count
    return found


def _rates(found: Mapping[str, minutes.Rate]) -> RatesView:
    hour = minutes.HOUR_MINUTES
    return RatesView(
        success=_rate(found["success"], minutes.SUCCESS_MINUTES),
        retry=_rate(found["retry"], hour),
        cancellation=_rate(found["cancellation"], hour),
        late_failure=_rate(found["late_failure"], hour),
    )


def _rate(rate: minutes.Rate, window: int) -> RateView:
    return RateView(rate.value, rate.part, rate.whole, rate.enough, window)
