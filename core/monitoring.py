"""Records of the monitor: figures per minute, its ticks, and the incidents that it opens.

Times are epoch milliseconds; rates are numerator and denominator, so no record holds a fraction.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.words import IncidentRule, IncidentStatus, ProofVerdict


class MinuteFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was decided in one minute on one partition.

    `offset` is the journal offset of the last event counted, or removed as FOREIGN since: a record
    with a lower offset does not replace it. `failed` counts by `REASON/source`; `latency_*` are the
    last rail requests, in order of submission; `histogram` is as readmodel.minutes has it.
    """

    partition: int
    minute: int
    offset: int
    created: int
    first_attempts: int
    retries: int
    acknowledged: int
    settled: int
    cancelled: int
    late_failures: int
    expired: int
    failed: tuple[str, ...]
    failed_counts: tuple[int, ...]
    latency_submitted_at: tuple[int, ...]
    latency_took_ms: tuple[int, ...]
    latency_ms_sum: int
    retries_settled: int
    retries_ended: int
    histogram: tuple[int, ...]


class MonitorTick(msgspec.Struct, frozen=True, kw_only=True):
    """Sent once a second: the owner of the ticks judges the figures as of `at`."""

    at: int
    worker: str


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the runbook that was exceeded: OPEN, and later RESOLVED under the same id.

    A rate is `part` of `whole` against `limit_per_mille`; for latency `part` of the last `whole`
    rail requests took longer than `limit_ms`. `since` is when the breach began.
    """

    incident_id: str
    rule: IncidentRule
    status: IncidentStatus
    part: int
    whole: int
    limit_per_mille: int | None
    limit_ms: int | None
    since: int
    opened_at: int
    resolved_at: int | None


class ProofState(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of the running proof of the whole log, and the result of the last one.

    `at` is when this was published: `running` with an old `at` means that the process has died.
    `done` of `total` records are read. `verdict` of the last completed proof is PASSED, FAILED or
    NOT_CHECKABLE, over `events` events; `difference` is the first one found.
    """

    at: int
    running: bool
    began_at: int
    done: int
    total: int
    ended_at: int | None = None
    verdict: ProofVerdict | None = None
    events: int = 0
    difference: str | None = None


MONITORING_RECORDS: Final = (MinuteFigures, MonitorTick, Incident, ProofState)
