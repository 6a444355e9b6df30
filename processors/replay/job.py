"""The replay job: fold, chain, re-decide, identity and money over a whole log or one payment.

Read-only and without a consumer group: it sends nothing, writes nothing and counts in no live
metric. The partitions are divided into parts; a large log's are proven by several processes at
once, and the report is the same whatever their number.
"""

from __future__ import annotations

from typing import Final

from engine.clock import Clock, SystemClock
from engine.partitioner import partition_of
from processors.replay.checkpointed import NO_KEYRING
from processors.replay.log import ReplayLog
from processors.replay.parts import workers as by_processes
from processors.replay.parts.part import proven
from processors.replay.parts.scope import Scope, Settings, divided, scope_of, sizes_of
from processors.replay.parts.workers import Workers
from processors.replay.report import Report
from schemas.topology import EVENTS

GROUP_RECORDS_MAX: Final = 5_000_000  # of the parts proven at once, together: about 3 GB of disk
WORKER_RECORDS: Final = 50_000  # fewer are proven faster than another process starts
LIMITED_INPUTS: Final = "accounts of inputs: the replay ends before the log does"
LIMITED_CHECKPOINTS: Final = "checkpoints: the replay ends before the log does"


def verify(
    log: ReplayLog, settings: Settings, clock: Clock | None = None, workers: Workers | None = None
) -> Report:
    """Prove the log, with `workers` in several processes when it is large enough.

    Raises Exit if it cannot be read, or if a process ends early. What is wrong with the log is in
    the report.
    """
    clock = clock or SystemClock()
    started_s = clock.monotonic_s()
    with by_processes.seldom_collected():
        report = _proven(log, settings, clock, workers)
    report.seconds = clock.monotonic_s() - started_s
    return report


def _proven(log: ReplayLog, settings: Settings, clock: Clock, workers: Workers | None) -> Report:
    scope = scope_of(log, settings)
    report = _begun(scope)
    numbers = list(range(scope.counts[EVENTS]))
    if settings.payment is not None and numbers:
        numbers = [partition_of(settings.payment.encode(), len(numbers))]
    sizes = sizes_of(scope, numbers)
    total = sum(sizes.values())
    progress = _Progress(settings, total)
    count = 1
    if workers is not None and settings.payment is None:
        count = min(workers.count, len(numbers), max(total // WORKER_RECORDS, 1))
    parts = divided(sizes, count, max(GROUP_RECORDS_MAX // count, 1))
    if count == 1 or workers is None:
        for part in parts:
            report.join(proven(scope, part, clock, progress), part)
    else:
        by_processes.prove(workers, count, scope.control_end, parts, report.join, progress, clock)
    return report


def _begun(scope: Scope) -> Report:
    """A new report, with what concerns the whole log and not one part."""
    settings = scope.settings
    report = Report(settings.payment, settings.limit.sentence())
    report.offsets = [0] * scope.counts[EVENTS]
    if settings.from_checkpoint:
        report.since(scope.counts[EVENTS], settings.without)
    for (topic, number), batches in scope.control.passed_over().items():
        for first, last in batches:
            where = f"{topic} partition {number} offsets {first} to {last}"
            report.redecide.skip(f"skipped under dual control: {where}", last - first + 1)
    for each in scope.control.dispositions:
        where = f"journal partition {each.request.partition} offset {each.request.offset}"
        report.redecide.skip(f"{each.ruling} by two people: {where}")
    if settings.keyring is None:
        report.chain.skip(NO_KEYRING)
    if settings.limit:
        report.redecide.skip(LIMITED_INPUTS)
        report.chain.skip(LIMITED_CHECKPOINTS)
    return report


class _Progress:
    """Progress over all parts. `total`: records there are, about."""

    def __init__(self, settings: Settings, total: int) -> None:
        self._progress = settings.progress
        self._total = total
        self._done = 0

    def __call__(self, what: str, read: int) -> None:
        self._done += read
        if self._progress is not None:
            self._progress(what, min(self._done, self._total), self._total)
