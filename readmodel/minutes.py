"""Figures of the business by partition and minute of decision, and the rates over them.

Pure: events go in, counts and rates come out, and the same events give the same figures.
An event touches exactly one bucket. Definitions: domain, rates. Times are epoch milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from heapq import nlargest
from operator import attrgetter
from typing import Final

import msgspec

from core.monitoring import MinuteFigures
from core.payment import events as e

MINUTE_MS: Final = 60_000
SUCCESS_MINUTES: Final = 5
HOUR_MINUTES: Final = 60
SLOTS: Final = 1_500
LEAST_COUNT: Final = 20  # below it a rate alerts nobody
SLOW_MS: Final = 1_000  # a rail request that takes longer is slow (runbook, key metrics 2)
SLOW_IN_A_ROW: Final = 5
LATENCIES_KEPT: Final = 5
RUN_KEPT: Final = 64  # latencies within which a late one still finds its place
LATENCY_BOUNDS_MS: Final = (50, 100, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000)
RATES: Final = ("success", "retry", "cancellation", "late_failure")
_CANCELLED: Final = "CANCELLED"
_RAIL: Final = "rail"


class Latency(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """One rail request: when it was submitted, and how long the technical answer took."""

    submitted_at: int
    took_ms: int


class Figures(msgspec.Struct, array_like=True):
    """What was decided in one minute on one partition.

    `failed` counts by `REASON/source`. What a person or an upstream system cancelled is in
    `cancelled` alone; a rail's own CUST is a failure like any other.
    `latencies` are the last five by time of submission; `histogram[i]` counts those of at most
    LATENCY_BOUNDS_MS[i], not cumulated, with one place more for all longer ones. `offset` is the
    journal offset of the last event counted, or taken out as FOREIGN since. `retries_settled` and
    `retries_ended` are of attempts after the first, by the minute in which they ended, cancelled
    ones left out.
    """

    created: int = 0
    first_attempts: int = 0
    retries: int = 0
    acknowledged: int = 0
    settled: int = 0
    failed: dict[str, int] = {}
    cancelled: int = 0
    late_failures: int = 0
    expired: int = 0
    latencies: list[Latency] = []
    histogram: list[int] = []
    latency_ms_sum: int = 0
    retries_settled: int = 0
    retries_ended: int = 0
    offset: int = -1


class Rate(msgspec.Struct, frozen=True):
    """`part` of `whole` (retries may outnumber first attempts); `value` is None at zero traffic."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        return self.part / self.whole if self.whole else None

    @property
    def enough(self) -> bool:
        """Whether enough was counted for an alert."""
        return self.whole >= LEAST_COUNT


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Figures)
COUNTED: Final[tuple[type, ...]] = (
    e.PaymentIntentCreated,
    e.PaymentAttemptCreated,
    e.PaymentAcknowledged,
    e.PaymentSettled,
    e.PaymentFailed,
    e.PaymentExpired,
    e.RailStatusReported,
)
_COUNTED: Final = frozenset(COUNTED)


def pack(figures: Figures) -> bytes:
    """The figures as bytes: the same figures are always the same bytes."""
    return _encoder.encode(figures)


def unpack(packed: bytes) -> Figures:
    """Figures from their packed bytes. Raises ValueError when they cannot be read."""
    try:
        return _decoder.decode(packed)
    except ValueError as error:  # msgspec's own, or text that is no UTF-8
        raise ValueError(f"the minute's figures cannot be read: {error}") from error


def record_of(partition: int, minute: int, figures: Figures) -> MinuteFigures:
    """The figures as the monitor's topic carries them."""
    return MinuteFigures(
        partition=partition,
        minute=minute,
        offset=figures.offset,
        failed=tuple(figures.failed),
        failed_counts=tuple(figures.failed.values()),
        latency_submitted_at=tuple(each.submitted_at for each in figures.latencies),
        latency_took_ms=tuple(each.took_ms for each in figures.latencies),
        histogram=tuple(figures.histogram),
        **{name: getattr(figures, name) for name in _SUMMED},
    )


def figures_of(record: MinuteFigures) -> Figures:
    """The figures of a record. Raises ValueError when its lists do not belong together."""
    latencies = zip(record.latency_submitted_at, record.latency_took_ms, strict=True)
    return Figures(
        failed=dict(zip(record.failed, record.failed_counts, strict=True)),
        latencies=[Latency(*each) for each in latencies],
        histogram=list(record.histogram),
        offset=record.offset,
        **{name: getattr(record, name) for name in _SUMMED},
    )


def slot(partition: int, minute: int) -> bytes:
    """The record key of a minute: one key serves every 25 hours, so compaction bounds the topic."""
    return f"{partition}/{minute % SLOTS}".encode()


def minute_of(at_ms: int) -> int:
    """Epoch minute."""
    return at_ms // MINUTE_MS


def counts(event: e.Event) -> bool:
    """Whether this event touches a bucket at all."""
    kind = type(event)
    if kind not in _COUNTED:
        return False
    return kind is not e.RailStatusReported or latency_of(event) is not None


def add(figures: Figures, event: e.Event, offset: int) -> None:
    """Count one event, in place; `offset` is its place in the journal."""
    match event:
        case e.PaymentIntentCreated():
            figures.created += 1
        case e.PaymentAttemptCreated(header=header):
            if header.attempt == 1:
                figures.first_attempts += 1
            else:
                figures.retries += 1
        case e.PaymentAcknowledged():
            figures.acknowledged += 1
        case e.PaymentSettled(header=header):
            figures.settled += 1
            figures.retries_settled += header.attempt > 1
            figures.retries_ended += header.attempt > 1
        case e.PaymentFailed():
            _failed(figures, event)
        case e.PaymentExpired(header=header):
            figures.expired += 1
            figures.retries_ended += header.attempt > 1
        case e.RailStatusReported():
            found = latency_of(event)
            if found is None:
                return
            _add_latency(figures, found)
        case _:
            return
    figures.offset = offset


def latency_of(event: e.Event) -> Latency | None:
    """Submission to the rail's technical answer, where this event tells of one."""
    if type(event) is not e.RailStatusReported:
        return None
    if event.submitted_at is None or event.answered_at is None or event.via_enquiry:
        return None
    return Latency(event.submitted_at, max(0, event.answered_at - event.submitted_at))


def was_cancelled(event: e.PaymentFailed) -> bool:
    """Whether a person or an upstream system ended it: no rate of success counts it."""
    return event.header.reason == _CANCELLED and event.source != _RAIL


def _failed(figures: Figures, event: e.PaymentFailed) -> None:
    if event.late_failure:
        figures.late_failures += 1
    if was_cancelled(event):
        figures.cancelled += 1
        return
    figures.retries_ended += event.header.attempt > 1
    name = f"{event.header.reason}/{event.source}"
    figures.failed[name] = figures.failed.get(name, 0) + 1


def _add_latency(figures: Figures, found: Latency) -> None:
    if not figures.histogram:
        figures.histogram = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    figures.histogram[bisect_left(LATENCY_BOUNDS_MS, found.took_ms)] += 1
    figures.latency_ms_sum += found.took_ms
    insort(figures.latencies, found)
    del figures.latencies[:-LATENCIES_KEPT]


# -- over several minutes and partitions ---

Buckets = Mapping[tuple[int, int], Figures]  # (partition, minute)


def window(buckets: Buckets, now_ms: int, minutes: int) -> list[Figures]:
    """The buckets of the last `minutes`, the present one included; later ones are left out."""
    last = minute_of(now_ms)
    return [f for (_, minute), f in buckets.items() if last - minutes < minute <= last]


def success(figures: Iterable[Figures]) -> Rate:
    """Settled among the attempts that ended, cancelled ones left out."""
    settled = ended = 0
    for each in figures:
        settled += each.settled
        ended += each.settled + each.expired + sum(each.failed.values())
    return Rate(settled, ended)


def retry(figures: Iterable[Figures]) -> Rate:
    """Retries to first attempts."""
    return _share(figures, "retries", "first_attempts")


def retry_success(figures: Iterable[Figures]) -> Rate:
    """Settled among the retries that ended, cancelled ones left out."""
    return _share(figures, "retries_settled", "retries_ended")


def cancellation(figures: Iterable[Figures]) -> Rate:
    """Cancelled to created."""
    return _share(figures, "cancelled", "created")


def late_failure(figures: Iterable[Figures]) -> Rate:
    """Failed after the acknowledgement, to acknowledged."""
    return _share(figures, "late_failures", "acknowledged")


def rates(buckets: Buckets, now_ms: int) -> dict[str, Rate]:
    """The four rates of the runbook: success over five minutes, the others over an hour."""
    hour = window(buckets, now_ms, HOUR_MINUTES)
    return {
        "success": success(window(buckets, now_ms, SUCCESS_MINUTES)),
        "retry": retry(hour),
        "cancellation": cancellation(hour),
        "late_failure": late_failure(hour),
    }


def total(figures: Iterable[Figures]) -> Figures:
    """The sum of several buckets; the latencies are the last five of all."""
    all_of = list(figures)
    sums = [sum(column) for column in zip(*map(_summed, all_of), strict=True)]
    histograms = (each.histogram for each in all_of if each.histogram)
    failed: dict[str, int] = {}
    for each in all_of:
        for reason, count in each.failed.items():
            failed[reason] = failed.get(reason, 0) + count
    return Figures(
        failed=failed,
        latencies=last_latencies(all_of),
        histogram=[sum(column) for column in zip(_NO_LATENCY, *histograms, strict=True)],
        **dict(zip(_SUMMED, sums, strict=False)),  # none of nothing: then all are 0
    )


def last_latencies(figures: Iterable[Figures]) -> list[Latency]:
    """The last five rail requests by time of submission."""
    found = [latency for each in figures for latency in each.latencies]
    return nlargest(LATENCIES_KEPT, found)[::-1]


def slow_in_a_row(latencies: Iterable[Latency]) -> int:
    """How many of these, from the last one backwards, were slow."""
    run = 0
    for each in latencies:
        run = run + 1 if each.took_ms > SLOW_MS else 0
    return run


class SlowRuns:
    """Counts each fifth slow request in a row, in the order of submission.

    A request that arrives late still finds its place among the last RUN_KEPT; what has been
    counted once is neither taken back nor counted again.
    """

    def __init__(self, before: Iterable[Latency] = ()) -> None:
        """`before`: requests from before this process; they belong to a run and are not counted."""
        self.fives = 0
        self._counted_to: Latency | None = None
        self._kept: list[Latency] = []
        self.feed(before)
        self.fives = 0

    def feed(self, latencies: Iterable[Latency]) -> None:
        """Further requests, in any order."""
        for each in latencies:
            insort(self._kept, each)
        del self._kept[:-RUN_KEPT]
        run = 0
        for each in self._kept:
            if self._counted_to is not None and each <= self._counted_to:
                continue
            run = run + 1 if each.took_ms > SLOW_MS else 0
            if run == SLOW_IN_A_ROW:
                self.fives += 1
                self._counted_to = each
                run = 0


_SUMMED: Final = (
    "created",
    "first_attempts",
    "retries",
    "acknowledged",
    "settled",
    "cancelled",
    "late_failures",
    "expired",
    "latency_ms_sum",
    "retries_settled",
    "retries_ended",
)


def _share(figures: Iterable[Figures], part: str, whole: str) -> Rate:
    counted = [(getattr(each, part), getattr(each, whole)) for each in figures]
    return Rate(sum(p for p, _ in counted), sum(w for _, w in counted))


_summed: Final = attrgetter(*_SUMMED)
_NO_LATENCY: Final = (0,) * (len(LATENCY_BOUNDS_MS) + 1)
