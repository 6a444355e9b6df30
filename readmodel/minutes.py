"""Payment figures by partition and minute of decision, and the rates over them (domain §11).

Pure: the same events give the same figures. An event counts in exactly one bucket, which is one
minute of one partition. Times are epoch milliseconds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from heapq import nlargest
from operator import attrgetter
from typing import Final, assert_never, get_args

import msgspec

from core.monitoring import MinuteFigures
from core.payment import events as e
from core.values import FailureReason

MINUTE_MS: Final = 60_000
SUCCESS_MINUTES: Final = 5
HOUR_MINUTES: Final = 60
SLOTS: Final = 1_500
LEAST_COUNT: Final = 20  # below it a rate raises no alert
SLOW_MS: Final = 1_000  # a rail request that takes longer is slow (runbook, key metrics 2)
SLOW_IN_A_ROW: Final = 5
LATENCIES_KEPT: Final = 5
RUN_KEPT: Final = 64  # latest requests that are kept to sort a late one in
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

    `failed` counts by `REASON/source`. A payment that a person or an upstream system cancelled is
    only in `cancelled`; the rail's own CUST is a failure like any other. `latencies` are the last
    five by time of submission. `histogram` counts latencies up to each bound of LATENCY_BOUNDS_MS,
    not cumulated, and last all longer ones. `offset` is the journal offset of the last event
    counted, or taken out as FOREIGN since. `retries_settled` and `retries_ended` are of attempts
    after the first, by the minute in which they ended, without cancelled ones.
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
    """`part` per `whole`; may be above 1 (retries). `value` is None when `whole` is 0."""

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
Answers = e.RailStatusReported | e.NonPaymentConfirmed | e.ReconciliationRequired
Counted = (
    e.PaymentIntentCreated
    | e.PaymentAttemptCreated
    | e.PaymentAcknowledged
    | e.PaymentSettled
    | e.PaymentFailed
    | e.PaymentExpired
    | Answers
)
COUNTED: Final[tuple[type, ...]] = get_args(Counted)
# Events of which only the rail's latency is counted.
_ANSWERS: Final = frozenset(get_args(Answers))
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
    """The figures as a record of the monitor's topic."""
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
    """The figures of a record. Raises ValueError when its lists differ in length."""
    latencies = zip(record.latency_submitted_at, record.latency_took_ms, strict=True)
    return Figures(
        failed=dict(zip(record.failed, record.failed_counts, strict=True)),
        latencies=[Latency(*each) for each in latencies],
        histogram=list(record.histogram),
        offset=record.offset,
        **{name: getattr(record, name) for name in _SUMMED},
    )


def slot(partition: int, minute: int) -> bytes:
    """The record key of a minute. Keys repeat every 25 hours, so compaction bounds the topic."""
    return f"{partition}/{minute % SLOTS}".encode()


def minute_of(at_ms: int) -> int:
    """The epoch minute of a time (epoch ms)."""
    return at_ms // MINUTE_MS


def counts(event: e.Event) -> bool:
    """Whether this event changes any figure."""
    kind = type(event)
    if kind not in _COUNTED:
        return False
    return kind not in _ANSWERS or latency_of(event) is not None


def add(figures: Figures, event: e.Event, offset: int) -> None:
    """Count one event in `figures`, which changes in place; `offset` is its journal offset."""
    if not isinstance(event, Counted):
        return
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
            found = latency_of(event)
            if found is not None:
                _add_latency(figures, found)
        case e.PaymentExpired(header=header):
            figures.expired += 1
            figures.retries_ended += header.attempt > 1
        case e.RailStatusReported() | e.NonPaymentConfirmed() | e.ReconciliationRequired():
            found = latency_of(event)
            if found is None:
                return
            _add_latency(figures, found)
        case _:
            assert_never(event)
    figures.offset = offset


def latency_of(event: e.Event) -> Latency | None:
    """The time from a submission to the rail's technical answer (domain §11), if this event has
    both. RailStatusReported may also carry an enquiry's answer, which does not count.
    """
    if not isinstance(event, e.PaymentFailed | Answers):
        return None
    if isinstance(event, e.RailStatusReported) and event.via_enquiry:
        return None
    if event.submitted_at is None or event.answered_at is None:
        return None
    return Latency(event.submitted_at, max(0, event.answered_at - event.submitted_at))


def was_cancelled(event: e.PaymentFailed) -> bool:
    """Whether a person or an upstream system cancelled it: the success rate leaves it out."""
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
    """The buckets of the last `minutes`, with the current minute and without later ones."""
    last = minute_of(now_ms)
    return [f for (_, minute), f in buckets.items() if last - minutes < minute <= last]


def success(figures: Iterable[Figures]) -> Rate:
    """Settled per attempts that ended, without cancelled ones."""
    settled = ended = 0
    for each in figures:
        settled += each.settled
        ended += each.settled + each.expired + sum(each.failed.values())
    return Rate(settled, ended)


def retry(figures: Iterable[Figures]) -> Rate:
    """Retries per first attempts."""
    return _share(figures, "retries", "first_attempts")


def retry_success(figures: Iterable[Figures]) -> Rate:
    """Settled per retries that ended, without cancelled ones."""
    return _share(figures, "retries_settled", "retries_ended")


def cancellation(figures: Iterable[Figures]) -> Rate:
    """Cancelled per created payments."""
    return _share(figures, "cancelled", "created")


def late_failure(figures: Iterable[Figures]) -> Rate:
    """Failed after the acknowledgement, per acknowledged."""
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


def failures(figures: Figures) -> dict[str, int]:
    """Attempts that ended FAILED, by recorded reason, with cancelled ones."""
    found = dict.fromkeys((each.value for each in FailureReason), 0)
    for name, count in figures.failed.items():
        reason = name.split("/")[0]
        found[reason] = found.get(reason, 0) + count
    found[_CANCELLED] += figures.cancelled
    return found


def total(figures: Iterable[Figures]) -> Figures:
    """The sum of several buckets, with the last five latencies of all. It has no offset (-1)."""
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
        **dict(zip(_SUMMED, sums, strict=False)),  # no sums for no buckets: all stay 0
    )


def last_latencies(figures: Iterable[Figures]) -> list[Latency]:
    """The last five rail requests by time of submission."""
    found = [latency for each in figures for latency in each.latencies]
    return nlargest(LATENCIES_KEPT, found)[::-1]


def slow_in_a_row(latencies: Iterable[Latency]) -> int:
    """How many of these were slow without a break, counted back from the last one."""
    run = 0
    for each in latencies:
        run = run + 1 if each.took_ms > SLOW_MS else 0
    return run


class SlowRuns:
    """Counts runs of SLOW_IN_A_ROW slow requests, in the order of submission.

    A request that is reported late is sorted in among the last RUN_KEPT. A run that was counted is
    neither taken back nor counted again.
    """

    def __init__(self, before: Iterable[Latency] = ()) -> None:
        """`before`: requests from before this process. They can begin a run; runs that end among
        them are not counted.
        """
        self.counted = 0
        self._counted_to: Latency | None = None
        self._kept: list[Latency] = []
        self.feed(before)
        self.counted = 0

    def feed(self, latencies: Iterable[Latency]) -> None:
        """Add requests, in any order."""
        for each in latencies:
            insort(self._kept, each)
        del self._kept[:-RUN_KEPT]
        run = 0
        for each in self._kept:
            if self._counted_to is not None and each <= self._counted_to:
                continue
            run = run + 1 if each.took_ms > SLOW_MS else 0
            if run == SLOW_IN_A_ROW:
                self.counted += 1
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
