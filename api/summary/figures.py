"""Figures for the dashboard: current counts, the last 24 hours, the rates, and the read model's
delay. Computed at most once a second, for all callers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from api.edge.views import View, iso, iso_or_none
from api.incidents.views import IncidentView, incident
from api.services import Services
from core.monitoring import ProofState
from core.values import MoneyOutcome, State
from engine.errors import EngineError
from readmodel import minutes
from readmodel.day import DAY_MINUTES, Day, journal_offsets
from readmodel.ports import AuditFilter

FRESH_S: Final = 1.0
OPEN_ONLY: Final = True
ACTIONS_COUNT: Final = 12
OPEN_MAX: Final = 50  # more than can be open: one for each rule
PROOF_SILENT_MS: Final = 60_000  # a running proof reports every 2 s, except in its long steps
SOURCES: Final = ("rail", "operator", "upstream", "system")  # of a failure
OVERDUE: Final = ("ATTENTION", "ESCALATED")  # after 5 and 10 minutes (ruling 7)
OVERDUE_STATES: Final = (State.SENT.value, State.ACKNOWLEDGED.value)
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
    """`part` per `whole` within the last `minutes`; `value` is null when `whole` is 0, and `enough`
    says whether it is above the minimum count for an alert.
    """

    value: float | None
    part: int
    whole: int
    enough: bool
    minutes: int


class RatesView(View):
    """Settled per attempts that ended; retries per first attempts; cancelled per created; failed
    after the acknowledgement per acknowledged.
    """

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
    how many of the last 24 hours took at most `boundsMs[i]`; the last count is of all longer.
    """

    last: list[LatencyView]
    slow_in_a_row: int
    bounds_ms: list[int]
    histogram: list[int]


class ReadModelView(View):
    """How far the read model is behind the journal; null when Kafka does not answer. `delayMs` is
    how long records have been missing; `late` says that this is too long.
    """

    records_behind: int | None
    delay_ms: int | None
    late: bool
    offsets: dict[str, int]


class ProofRunView(View):
    """The proofs of the whole log by `npp run replay`. While one runs it has read `done` of `total`
    records (0: not known yet); `stalled`: it has reported nothing for too long. The last one
    that ended has `verdict` PASSED, FAILED or NOT_CHECKABLE, over so many `events`.
    """

    running: bool
    stalled: bool
    began_at: str
    done: int
    total: int
    ended_at: str | None
    verdict: str | None
    events: int
    difference: str | None


class ActionView(View):
    """One audited request, without reason and detail, which only the audit log's readers see."""

    at: str
    operator_id: str
    action: str
    payment_intent_id: str | None
    result: str | None


class SummaryView(View):
    """Counts are of all payments; `overdue`: those that wait too long for the rail, by state, and
    `overdueEscalated` those of them past the second limit; `bypassed`: payments whose id is not the
    one that their source and key give; `quarantinedLately` is of 10 minutes and `violatedLately`,
    inputs refused for an invariant, of 5, both counted up to 1,000; `incidents` are the open ones;
    throughput, failures, retries and rail are of the last 24 hours; `recentActions` are the last
    twelve of operators, newest first; `proof` is null if nothing was published.
    """

    at: str
    states: dict[str, int]
    money_outcomes: dict[str, int]
    open_conflicts: int
    attention: int
    waiting_for_person: int
    approvals_waiting: int
    quarantined: int
    quarantined_lately: int
    violated_lately: int
    bypassed: int
    parked: int
    overdue: dict[str, int]
    overdue_escalated: int
    incidents: list[IncidentView]
    throughput: list[MinuteView]
    failures: dict[str, int]
    failure_sources: dict[str, int]
    rates: RatesView
    retry_success: RateView
    rail: RailView
    recent_actions: list[ActionView]
    read_model: ReadModelView
    proof: ProofRunView | None


class Delay:
    """For how long the read model has lacked journal records. For one thread at a time."""

    def __init__(self) -> None:
        self._missing: dict[int, tuple[int, int]] = {}  # partition: end that is waited for, since

    def look(self, projected: Mapping[int, int], ends: Mapping[int, int], now_ms: int) -> int:
        """Milliseconds since a record is missing, 0 when none is."""
        for partition, end in ends.items():
            have = projected.get(partition, 0)
            waited = self._missing.get(partition)
            if have >= end:
                self._missing.pop(partition, None)
            elif waited is None or have >= waited[0]:
                self._missing[partition] = (end, now_ms)
        return max((now_ms - since for _, since in self._missing.values()), default=0)


class Summary:
    """Safe for many threads: one computes the figures, the others get the same."""

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
        """How far the read model is behind. Call it every few seconds, so that a delay is measured
        from its start. Raises ReadModelDown.
        """
        with self._lock:
            return self._read_model()

    def _make(self) -> SummaryView:
        reader, now = self._services.reader, self._services.clock.now_ms()
        counts = reader.counts()
        by_minute = self._day.look(minutes.minute_of(now), journal_offsets(reader))
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
            quarantined_lately=counts.get("quarantinedLately", 0),
            violated_lately=counts.get("violatedLately", 0),
            bypassed=counts.get("bypassed", 0),
            parked=counts.get("parked", 0),
            overdue={state: _overdue(counts, [state], OVERDUE) for state in OVERDUE_STATES},
            overdue_escalated=_overdue(counts, OVERDUE_STATES, OVERDUE[-1:]),
            incidents=list(map(incident, reader.incidents(OPEN_ONLY, OPEN_MAX, None).items)),
            throughput=[_minute(minute, each) for minute, each in by_minute.items()],
            failures=minutes.failures(day),
            failure_sources=_sources(day),
            rates=_rates(minutes.rates({(0, m): each for m, each in by_minute.items()}, now)),
            retry_success=_rate(minutes.retry_success([day]), DAY_MINUTES),
            rail=RailView(
                last=[LatencyView(iso(each.submitted_at), each.took_ms) for each in latencies],
                slow_in_a_row=minutes.slow_in_a_row(latencies),
                bounds_ms=list(minutes.LATENCY_BOUNDS_MS),
                histogram=list(day.histogram),
            ),
            recent_actions=[
                ActionView.of(row, at=iso(row.at))
                for row in reader.audit(AuditFilter(), ACTIONS_COUNT, None).items
            ],
            read_model=self._read_model(),
            proof=proof_run(self._services.proofs.now(), now),
        )

    def _read_model(self) -> ReadModelView:
        projected = journal_offsets(self._services.reader)
        now = self._services.clock.now_ms()
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


def proof_run(state: ProofState | None, now_ms: int) -> ProofRunView | None:
    """The published state as a response body; `stalled` is as of `now_ms`."""
    if state is None:
        return None
    return ProofRunView.of(
        state,
        stalled=state.running and now_ms - state.at > PROOF_SILENT_MS,
        began_at=iso(state.began_at),
        ended_at=iso_or_none(state.ended_at),
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


def _overdue(counts: Mapping[str, int], states: Iterable[str], levels: Iterable[str]) -> int:
    names = [f"overdue:{state}:{level}" for state in states for level in levels]
    return sum(counts.get(name, 0) for name in names)


def _sources(day: minutes.Figures) -> dict[str, int]:
    """Failures by who ended the attempt, without cancelled ones."""
    found = dict.fromkeys(SOURCES, 0)
    for name, count in day.failed.items():
        source = name.split("/")[1]
        found[source] = found.get(source, 0) + count
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
