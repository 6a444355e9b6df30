"""Proves one part: all strengths over the payments of some partitions, with a report of its own.

Memory is bounded: the partitions' records are grouped by payment and spilled to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from core.control_records import FOREIGN
from core.payment.events import Event
from core.records import Checkpoint
from engine.clock import Clock
from engine.partitioner import partition_of
from engine.records import LogRecord
from evidence.chain import FOREIGN_EVENT, Link, read_link
from evidence.checkpoints import decode_checkpoint
from evidence.outcomes import OperatorOutcome, of_outcome
from evidence.redecide import Environment
from processors.replay import buckets
from processors.replay.accounting import Accounting
from processors.replay.buckets import Buckets
from processors.replay.checkpointed import CheckpointedPartition
from processors.replay.parts.scope import Scope
from processors.replay.prove import Prover
from processors.replay.reading import OnRead, Reading, entry_of
from processors.replay.report import Failure, Report
from schemas.topology import CHECKPOINTS, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

SUSPECTS_MAX: Final = 10_000  # payments looked at again; failures of more are reported at once
READ_AT_ONCE_MAX: Final = 50_000  # checkpoints of 250 bytes
LOOKS_MAX: Final = 3  # a payment that keeps changing during the replay is checked at the third read
PROGRESS_PAYMENTS: Final = 1_000  # between two calls of `on_read`


def proven(scope: Scope, numbers: Sequence[int], clock: Clock, on_read: OnRead) -> Report:
    """The report of these partitions. Raises Exit when the log cannot be read."""
    part = _Part(scope, numbers, clock, on_read)
    part.prove()
    return part.report


class _Part:
    def __init__(self, scope: Scope, numbers: Sequence[int], clock: Clock, on_read: OnRead) -> None:
        settings, rulings = scope.settings, scope.control.dispositions
        self.report = report = Report(settings.payment, settings.limit.sentence())
        report.offsets = [0] * scope.counts[EVENTS]
        if settings.from_checkpoint:
            report.since(scope.counts[EVENTS], settings.without)
        self._numbers = list(numbers)
        self._settings = settings
        self._control = scope.control
        self._on_read = on_read
        self._foreign_records: list[Failure] = []
        self._answered: dict[int, list[OperatorOutcome]] = {}
        self._reading = Reading(scope.log, settings.inputs, scope.counts, on_read, rulings)
        if settings.payment is not None:
            self._reading.only = frozenset({settings.payment.encode()})
        self._accounting: Accounting | None = None
        environment = Environment(
            codec=settings.codec,
            rules_of=settings.rules_of,
            cluster_id=scope.named.cluster_id,
            topics=settings.inputs,
            source_maps=tuple(scope.named.source_maps),
            open_parties=settings.open_parties,
            found=self._control.found,
        )
        self._prover = Prover(environment, report, settings.limit, clock, self._account, rulings)

    def prove(self) -> None:
        """Read and prove; look again at payments that fail, because the log may have grown."""
        reading, numbers = self._reading, self._numbers
        reading.capture(numbers)
        first_ends, kept = dict(reading.ends), reading.only
        accounting = Accounting(reading, self._settings.codec, self.report, numbers)
        self._accounting = accounting
        with Buckets(self._expected(numbers)) as grouped:
            self._read_outcomes(numbers, grouped, accounting)
            self._read_journal(numbers, grouped)
            self._read_rest(numbers, grouped, accounting)
            suspects = self._prove(grouped, {}, last_look=False)
        for look in range(1, LOOKS_MAX):
            if not suspects:
                break
            reading.capture(numbers)
            reading.only = frozenset(suspects)
            with Buckets(0) as grouped:
                for record in reading.wanted(EVENTS, numbers):
                    grouped.add(entry_of(buckets.EVENT, record))
                for record in reading.wanted(OUTCOMES, numbers):
                    grouped.add(entry_of(buckets.OUTCOME, record))
                self._read_rest(numbers, grouped, None)
                suspects = self._prove(grouped, suspects, last_look=look == LOOKS_MAX - 1)
        reading.only = kept
        if not self._settings.limit:
            accounting.finish(first_ends)

    def _expected(self, numbers: Sequence[int]) -> int:
        if self._reading.only is not None:
            return 0
        topics = (EVENTS, *self._reading.inputs)
        return sum(self._reading.ends.get((t, n), 0) for t in topics for n in numbers)

    def _prove(
        self, grouped: Buckets, required: Mapping[bytes, int], *, last_look: bool
    ) -> dict[bytes, int]:
        """Prove every payment. Returns those to look at again, each with the sequence that it had
        reached; `required` is this result of the previous look.
        """
        suspects: dict[bytes, int] = {}
        for count, history in enumerate(grouped.histories(), 1):
            if count % PROGRESS_PAYMENTS == 0:
                self._on_read("proving", 0)
            partition = partition_of(history.key, self._reading.partitions)
            last = last_look or len(suspects) >= SUSPECTS_MAX
            known = self._prover.prove(
                history, partition, required.get(history.key), last_look=last
            )
            if known is not None:
                suspects[history.key] = known
        return suspects

    def _account(self, event: Event, taken: bool) -> None:
        if self._accounting is not None:
            self._accounting.event(event, taken=taken)

    # -- reading -----------------------------------------------------------------------------------

    def _read_journal(self, numbers: list[int], grouped: Buckets) -> None:
        """Put every event into its payment's bucket, and feed all to the checkpoints' trees."""
        reading, chain = self._reading, self.report.chain
        checked = {} if self._settings.limit else self._checkpointed(numbers)
        for record in reading.all_records(EVENTS, numbers):
            value, key = record.value or b"", record.key
            ruled = reading.rulings.of(record.partition, record.offset, value)
            if ruled is not None and checked:
                checked[record.partition].ruled(record.offset, ruled)
            if ruled is not None and ruled.ruling == FOREIGN:
                continue
            link: Link | None = None
            try:
                link = read_link(value)
            except ValueError as error:
                if key is None:
                    self._foreign(record, str(error))
            if checked:
                checked[record.partition].event(record.offset, link, value)
            if key is not None and (reading.only is None or key in reading.only):
                grouped.add(entry_of(buckets.EVENT, record))
        for number in numbers:
            end = reading.ends[EVENTS, number]
            self.report.offsets[number] = end
            if checked:
                checked[number].finish(end, self.report)
        for failure in self._foreign_records:
            past = self.report.is_past(failure.partition, failure.offset)
            (self.report.excused if past else chain).fail(failure)
        self._foreign_records.clear()

    def _read_outcomes(self, numbers: list[int], grouped: Buckets, accounting: Accounting) -> None:
        """Put outcomes into buckets and accounts; keep operator commands' for the checkpoints."""
        reading = self._reading
        self._answered = {number: [] for number in numbers}
        for record in reading.records(OUTCOMES, numbers):
            wanted = reading.only is None or record.key in reading.only
            outcome = accounting.outcome(record, wanted=wanted)
            if outcome is None:
                continue
            answered = of_outcome(record, outcome, reading.counts[OUTCOMES])
            if answered is not None:
                self._answered[answered.partition].append(answered)
            if wanted and record.key is not None:
                grouped.add(entry_of(buckets.OUTCOME, record))

    def _foreign(self, record: LogRecord, why: str) -> None:
        self._foreign_records.append(
            Failure(
                FOREIGN_EVENT, None, 0, EVENTS, record.partition, record.offset,
                f"the record has no key; {why}",
            )
        )  # fmt: skip

    def _checkpointed(self, numbers: list[int]) -> dict[int, CheckpointedPartition]:
        """The partitions' checkpoints: up to READ_AT_ONCE_MAX are read at once, more one by one
        while the journal is read.
        """
        reading = self._reading
        recorded: dict[int, Iterator[LogRecord]]
        if sum(reading.ends.get((CHECKPOINTS, n), 0) for n in numbers) > READ_AT_ONCE_MAX:
            recorded = {n: reading.records(CHECKPOINTS, [n]) for n in numbers}
        else:
            lists: dict[int, list[LogRecord]] = {n: [] for n in numbers}
            for record in reading.records(CHECKPOINTS, numbers):
                lists[record.partition].append(record)
            recorded = {n: iter(records) for n, records in lists.items()}
        return {
            n: CheckpointedPartition(
                n,
                self._settings.keyring,
                recorded[n],
                self._decode_checkpoint,
                self._control.recovery_points(n),
                self._answered[n],
                self._reading.rulings,
            )
            for n in numbers
        }

    def _decode_checkpoint(self, record: LogRecord) -> Checkpoint:
        return decode_checkpoint(self._settings.codec, record.value, record.headers)

    def _read_rest(
        self, numbers: list[int], grouped: Buckets, accounting: Accounting | None
    ) -> None:
        """Put lifecycle records and inputs into buckets; account for inputs and quarantine."""
        reading = self._reading
        for record in reading.wanted(LIFECYCLE, numbers):
            if record.key is not None:
                grouped.add(entry_of(buckets.LIFECYCLE, record))
        for index, topic in enumerate(reading.inputs):
            for record in reading.wanted(topic, numbers):
                if accounting is not None:
                    accounting.input(index, record)
                if record.key is not None and record.value is not None:
                    grouped.add(entry_of(buckets.INPUT, record, index))
        if accounting is not None:
            for record in reading.wanted(QUARANTINE, numbers):
                accounting.quarantined(record)
