"""The replay job: fold, chain, re-decide, identity and money over a whole log or one payment.

Read-only and without a consumer group: it instructs nobody, writes nothing and counts in no live
metric. Memory is bounded: some partitions at a time, grouped by payment, spilled to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from control.fold import Control
from control.named import Named
from core.payment.events import Event
from core.records import FOREIGN, Checkpoint
from core.values import Parties, Sealed
from engine.clock import Clock, SystemClock
from engine.partitioner import partition_of
from engine.records import LogRecord
from evidence.chain import FOREIGN_EVENT, Link, read_link
from evidence.keys import Keyring
from evidence.outcomes import OperatorOutcome, of_outcome
from evidence.redecide import Environment, RulesOf
from processors.replay import buckets
from processors.replay.accounting import Accounting
from processors.replay.buckets import Buckets
from processors.replay.checkpointed import NO_KEYRING, CheckpointedPartition
from processors.replay.log import ReplayLog
from processors.replay.prove import Limit, Prover
from processors.replay.reading import Progress, Reading, entry_of
from processors.replay.report import Failure, Report
from schemas import topology
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE

GROUP_RECORDS_MAX: Final = 5_000_000  # partitions are taken together up to this: about 3 GB of disk
SUSPECTS_MAX: Final = 10_000  # payments looked at again; more are failures at once
READ_AT_ONCE_MAX: Final = 50_000  # checkpoints of 250 bytes
LOOKS_MAX: Final = 3  # a payment that goes on moving under the replay is judged at the third look
LIMITED_INPUTS: Final = "accounts of inputs: the replay ends before the log does"
LIMITED_CHECKPOINTS: Final = "checkpoints: the replay ends before the log does"


class Settings(msgspec.Struct, frozen=True):
    """What to verify and with what. No `payment`: the whole log. No `keyring`: no signatures."""

    codec: Codec
    rules_of: RulesOf
    open_parties: Callable[[Sealed], Parties]
    payment: str | None = None
    limit: Limit = Limit()
    keyring: Keyring | None = None
    from_checkpoint: bool = False
    without: tuple[str, ...] = ()  # payments left out; with `from_checkpoint` only
    extra_inputs: tuple[str, ...] = ()
    progress: Progress | None = None


def verify(log: ReplayLog, settings: Settings, clock: Clock | None = None) -> Report:
    """Prove the log. Raises Exit when it cannot be read; what is wrong is in the report."""
    clock = clock or SystemClock()
    report = Report(settings.payment, settings.limit.sentence())
    started_s = clock.monotonic_s()
    _Job(log, settings, report, clock).run()
    report.seconds = clock.monotonic_s() - started_s
    return report


def control_of(log: ReplayLog, codec: Codec) -> tuple[Control, Named]:
    """The control topic folded, to know where two persons let a damaged log go on, and what it
    named.
    """

    control, named = Control(codec.decode), Named()
    end = log.ends([(CONTROL, 0)])[CONTROL, 0] if log.partitions([CONTROL])[CONTROL] else 0
    for record in log.read(CONTROL, {0: (0, end)}):
        if record.value is not None:
            control.apply(record.offset, record.value, record.timestamp_ms)
            named.look(control)
    return control, named


class _Job:
    def __init__(self, log: ReplayLog, settings: Settings, report: Report, clock: Clock) -> None:
        topics = topology.INPUTS + settings.extra_inputs
        self._settings = settings
        self._report = report
        self._control, named = control_of(log, settings.codec)
        for (topic, number), batches in self._control.passed_over().items():
            for first, last in batches:
                where = f"{topic} partition {number} offsets {first} to {last}"
                report.redecide.skip(f"passed over by two persons: {where}", last - first + 1)
        rulings = self._control.dispositions
        for each in rulings:
            where = f"journal partition {each.request.partition} offset {each.request.offset}"
            report.redecide.skip(f"{each.ruling} by two persons: {where}")
        self._foreign_records: list[Failure] = []
        self._answered: dict[int, list[OperatorOutcome]] = {}
        self._reading = Reading(log, topics, settings.progress, rulings)
        self._accounting: Accounting | None = None
        environment = Environment(
            codec=settings.codec,
            rules_of=settings.rules_of,
            cluster_id=named.cluster_id,
            topics=topics,
            source_maps=tuple(named.source_maps),
            open_parties=settings.open_parties,
            found=self._control.found,
        )
        self._prover = Prover(environment, report, settings.limit, clock, self._account, rulings)

    def run(self) -> None:
        """Partition group after partition group."""
        report, reading = self._report, self._reading
        report.offsets = [0] * reading.partitions
        if self._settings.from_checkpoint:
            report.since(reading.partitions, self._settings.without)
        if self._settings.keyring is None:
            report.chain.skip(NO_KEYRING)
        numbers = list(range(reading.partitions))
        if self._settings.payment is not None and numbers:
            key = self._settings.payment.encode()
            reading.only = frozenset({key})
            numbers = [partition_of(key, reading.partitions)]
        for group in self._groups(numbers):
            self._prove_group(group)

    def _groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Partitions that are proven together, so that a small log needs few readers."""
        ends = self._reading.ends_now([EVENTS, *self._reading.inputs], numbers)
        group: list[int] = []
        records = 0
        self._reading.total = sum(ends.values())
        for number in numbers:
            size = sum(end for (_, partition), end in ends.items() if partition == number)
            if group and records + size > GROUP_RECORDS_MAX:
                yield group
                group, records = [], 0
            group.append(number)
            records += size
        if group:
            yield group

    def _prove_group(self, numbers: list[int]) -> None:
        reading = self._reading
        reading.capture(numbers)
        first_ends, kept = dict(reading.ends), reading.only
        accounting = Accounting(reading, self._settings.codec, self._report, numbers)
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
        if self._settings.limit:
            self._report.redecide.skip(LIMITED_INPUTS)
        else:
            accounting.finish(first_ends)

    def _expected(self, numbers: Sequence[int]) -> int:
        if self._reading.only is not None:
            return 0
        topics = (EVENTS, *self._reading.inputs)
        return sum(self._reading.ends.get((t, n), 0) for t in topics for n in numbers)

    def _prove(
        self, grouped: Buckets, required: Mapping[bytes, int], *, last_look: bool
    ) -> dict[bytes, int]:
        """Prove every payment; those to look at again, and the sequence each is known to have.

        `required`: what they were known to have at the look before.
        """
        suspects: dict[bytes, int] = {}
        for history in grouped.histories():
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
        """Every event to its payment's bucket; all of them to the checkpoints' trees."""
        reading, chain = self._reading, self._report.chain
        limited = bool(self._settings.limit)
        checked = {} if limited else self._checkpointed(numbers)
        if limited:
            chain.skip(LIMITED_CHECKPOINTS)
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
            self._report.offsets[number] = end
            if checked:
                checked[number].finish(end, self._report)
        for failure in self._foreign_records:
            past = self._report.is_past(failure.partition, failure.offset)
            (self._report.excused if past else chain).fail(failure)
        self._foreign_records.clear()

    def _read_outcomes(self, numbers: list[int], grouped: Buckets, accounting: Accounting) -> None:
        """To the buckets and accounts; those of operator commands wait for the checkpoints."""
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
        """Few checkpoints are read at once, many one by one beside the journal."""
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
        try:
            checkpoint = self._settings.codec.decode(CHECKPOINTS, record.value, record.headers)
        except Undecodable as error:
            raise ValueError(error.reason) from error
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(f"a {type(checkpoint).__name__} on the checkpoint topic")
        return checkpoint

    def _read_rest(
        self, numbers: list[int], grouped: Buckets, accounting: Accounting | None
    ) -> None:
        """Lifecycle records and inputs to the buckets; their accounts to `accounting`."""
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
