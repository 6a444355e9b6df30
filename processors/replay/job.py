"""The replay job: fold, chain and re-decide over a whole log or one payment.

Read-only and without a consumer group: it instructs nobody, writes nothing and counts in no live
metric. Memory is bounded: some partitions at a time, grouped by payment, spilled to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from core.payment.events import Event, ProcessingSuspended
from core.records import Checkpoint, ClusterRecorded, Outcome, SourceMapActivated
from core.values import Parties, Sealed
from engine.clock import Clock, SystemClock
from engine.partitioner import partition_of
from engine.reader import LogRecord
from evidence.chain import FOREIGN_EVENT, Link, read_link
from evidence.keys import Keyring
from processors import quarantine
from processors.payments import INPUTS
from processors.replay import accounts, buckets
from processors.replay.accounts import Accounts
from processors.replay.buckets import Buckets, Entry, History
from processors.replay.checkpointed import NO_KEYRING, CheckpointedPartition
from processors.replay.fold import RulesOf
from processors.replay.log import Place, ReplayLog
from processors.replay.prove import Limit, Prover
from processors.replay.redecide import Environment, SourceMap
from processors.replay.report import Failure, Report
from processors.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE
from schemas.codec import Codec
from schemas.errors import Undecodable

GROUP_RECORDS_MAX: Final = 5_000_000  # partitions are taken together up to this: about 3 GB of disk
SUSPECTS_MAX: Final = 10_000  # payments looked at twice on a live log; more are failures at once
PROGRESS_RECORDS: Final = 1_000
UNACCOUNTED: Final = "UNACCOUNTED_INPUT"
ACCOUNTED_WRONGLY: Final = "ACCOUNTED_WRONGLY"
NO_CLUSTER: Final = "the control topic names no cluster"
LIMITED_INPUTS: Final = "accounts of inputs: the replay ends before the log does"
LIMITED_CHECKPOINTS: Final = "checkpoints: the replay ends before the log does"

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""


class Settings(msgspec.Struct, frozen=True):
    """What to verify and with what. No `payment`: the whole log. No `keyring`: no signatures."""

    codec: Codec
    rules_of: RulesOf
    open_parties: Callable[[Sealed], Parties]
    payment: str | None = None
    limit: Limit = Limit()
    keyring: Keyring | None = None
    extra_inputs: tuple[str, ...] = ()
    progress: Progress | None = None


def verify(log: ReplayLog, settings: Settings, clock: Clock | None = None) -> Report:
    """Prove the log. Raises Exit when it can not be read; what is wrong is in the report."""
    clock = clock or SystemClock()
    report = Report(settings.payment, settings.limit.sentence())
    started_s = clock.monotonic_s()
    _Job(log, settings, report, clock).run()
    report.seconds = clock.monotonic_s() - started_s
    return report


class _Job:
    def __init__(self, log: ReplayLog, settings: Settings, report: Report, clock: Clock) -> None:
        self._log = log
        self._settings = settings
        self._report = report
        self._clock = clock
        self._topics = INPUTS + settings.extra_inputs
        self._topic_index = {topic: index for index, topic in enumerate(self._topics)}
        names = [EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE, CHECKPOINTS, CONTROL, *self._topics]
        self._counts = log.partitions(names)
        self._partitions = self._counts[EVENTS]
        self._key = None if settings.payment is None else settings.payment.encode()
        self._accounts: dict[int, Accounts] = {}
        self._ends: dict[Place, int] = {}
        self._done = self._total = 0
        environment = self._environment()
        self._prover = Prover(environment, report, settings.limit, clock, self._mark_event)

    def _environment(self) -> Environment:
        cluster_id, maps = "", []
        codec = self._settings.codec
        ends = self._log.ends([(CONTROL, 0)]) if self._counts[CONTROL] else {}
        for record in self._log.read(CONTROL, {0: (0, ends.get((CONTROL, 0), 0))}):
            try:
                control = codec.decode(CONTROL, record.value, record.headers)
            except Undecodable:
                continue
            if isinstance(control, ClusterRecorded):
                cluster_id = cluster_id or control.cluster_id
            elif isinstance(control, SourceMapActivated):
                sources = {
                    topic: frozenset(filter(None, listed.split(",")))
                    for topic, listed in zip(control.topics, control.sources, strict=True)
                }
                maps.append(SourceMap(control.activated_at, sources))
        return Environment(
            codec=codec,
            rules_of=self._settings.rules_of,
            cluster_id=cluster_id,
            topics=self._topics,
            source_maps=tuple(maps),
            open_parties=self._settings.open_parties,
        )

    # -- the whole ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Partition group after partition group."""
        report = self._report
        report.offsets = [0] * self._partitions
        if self._settings.keyring is None:
            report.chain.skip(NO_KEYRING)
        numbers = list(range(self._partitions))
        if self._key is not None and self._partitions:
            numbers = [partition_of(self._key, self._partitions)]
        for group in self._groups(numbers):
            self._prove_group(group)

    def _groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Partitions that are proven together, so that a small log needs few readers."""
        ends = self._capture([EVENTS, *self._topics], numbers)
        group: list[int] = []
        records = 0
        self._total = sum(ends.values())
        for number in numbers:
            size = sum(end for (_, partition), end in ends.items() if partition == number)
            if group and records + size > GROUP_RECORDS_MAX:
                yield group
                group, records = [], 0
            group.append(number)
            records += size
        if group:
            yield group

    def _capture(self, topics: Sequence[str], numbers: Sequence[int]) -> dict[Place, int]:
        """Ends as they stand now; a work topic's partition is the input's modulo their count."""
        places = {
            (topic, number % self._counts[topic])
            for topic in topics
            if self._counts[topic]
            for number in numbers
        }
        return dict(self._log.ends(sorted(places)))

    def _prove_group(self, numbers: list[int]) -> None:
        # In this order, so that the journal read knows its inputs, and its lifecycle record
        # is rarely ahead of it. Whatever a live log still turns over is looked at again.
        for topics in ([LIFECYCLE], [OUTCOMES, QUARANTINE, CHECKPOINTS], [EVENTS], self._topics):
            self._ends.update(self._capture(topics, numbers))
        self._accounts = {number: Accounts(self._topics) for number in numbers}
        expected = sum(self._ends.get((t, n), 0) for t in (EVENTS, *self._topics) for n in numbers)
        with Buckets(0 if self._key is not None else expected) as grouped:
            self._read_journal(numbers, grouped)
            self._read_lifecycle(numbers, grouped)
            self._read_inputs(numbers, grouped)
            self._read_outcomes(numbers, grouped)
            self._read_quarantine(numbers, {})
            suspects = self._prove_histories(grouped)
        if suspects:
            self._look_again(numbers, suspects)
        self._account(numbers)

    def _prove_histories(self, grouped: Buckets) -> dict[bytes, int]:
        suspects: dict[bytes, int] = {}
        for history in grouped.histories():
            partition = partition_of(history.key, self._partitions)
            required = self._prover.prove(history, partition)
            if required is not None and len(suspects) < SUSPECTS_MAX:
                suspects[history.key] = required
            elif required is not None:
                self._prover.compare_again(history, partition, required)
        return suspects

    def _look_again(self, numbers: list[int], suspects: Mapping[bytes, int]) -> None:
        """Lifecycle records that looked late: read both topics again, the compacted one last."""
        journal = self._capture([EVENTS], numbers)
        lifecycle = self._capture([LIFECYCLE], numbers)
        histories: dict[bytes, History] = {key: History(key) for key in suspects}
        for topic, ends in ((EVENTS, journal), (LIFECYCLE, lifecycle)):
            for record in self._log.read(topic, {n: (0, ends[topic, n]) for n in numbers}):
                history = histories.get(record.key or b"")
                if history is None:
                    continue
                entry = _entry(buckets.EVENT, record)
                if topic == EVENTS:
                    history.events.append(entry)
                else:
                    history.lifecycle = entry
        for key, history in histories.items():
            partition = partition_of(key, self._partitions)
            self._prover.compare_again(history, partition, suspects[key])

    # -- reading -----------------------------------------------------------------------------------

    def _read(
        self, topic: str, numbers: Sequence[int], start: Mapping[Place, int]
    ) -> Iterator[LogRecord]:
        ranges = {}
        for number in sorted(
            {n % self._counts[topic] for n in numbers} if self._counts[topic] else ()
        ):
            ranges[number] = (start.get((topic, number), 0), self._ends[topic, number])
        for record in self._log.read(topic, ranges):
            self._done += 1
            if self._done % PROGRESS_RECORDS == 0:
                self._tell(f"reading {topic}")
            yield record

    def _tell(self, what: str) -> None:
        if self._settings.progress is not None:
            self._settings.progress(what, min(self._done, self._total), self._total)

    def _wanted(self, key: bytes | None) -> bool:
        return self._key is None or key == self._key

    def _read_journal(self, numbers: list[int], grouped: Buckets) -> None:
        chain, limited = self._report.chain, bool(self._settings.limit)
        checked = {} if limited else {n: self._checkpointed(n) for n in numbers}
        if limited:
            chain.skip(LIMITED_CHECKPOINTS)
        for record in self._read(EVENTS, numbers, {}):
            value = record.value or b""
            link: Link | None = None
            try:
                link = read_link(value)
            except ValueError as error:
                if record.key is None:
                    self._foreign(record, str(error))
            if checked:
                checked[record.partition].event(record.offset, link, value)
            if record.key is not None and self._wanted(record.key):
                grouped.add(_entry(buckets.EVENT, record))
        for number in numbers:
            end = self._ends[EVENTS, number]
            self._report.offsets[number] = end
            if checked:
                checked[number].finish(end, chain)

    def _foreign(self, record: LogRecord, why: str) -> None:
        self._report.chain.fail(
            Failure(
                FOREIGN_EVENT, None, 0, EVENTS, record.partition, record.offset,
                f"the record has no key; {why}",
            )
        )  # fmt: skip

    def _checkpointed(self, number: int) -> CheckpointedPartition:
        return CheckpointedPartition(
            number,
            self._settings.keyring,
            iter(self._read(CHECKPOINTS, [number], {})),
            self._decode_checkpoint,
        )

    def _decode_checkpoint(self, record: LogRecord) -> Checkpoint:
        try:
            checkpoint = self._settings.codec.decode(CHECKPOINTS, record.value, record.headers)
        except Undecodable as error:
            raise ValueError(error.reason) from error
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(f"a {type(checkpoint).__name__} on the checkpoint topic")
        return checkpoint

    def _read_lifecycle(self, numbers: list[int], grouped: Buckets) -> None:
        for record in self._read(LIFECYCLE, numbers, {}):
            if record.key is not None and self._wanted(record.key):
                grouped.add(_entry(buckets.LIFECYCLE, record))

    def _read_inputs(self, numbers: list[int], grouped: Buckets) -> None:
        for index, topic in enumerate(self._topics):
            for record in self._read(topic, numbers, {}):
                if not self._wanted(record.key):
                    continue
                self._accounts[record.partition].mark(index, record.offset, accounts.INPUT)
                if record.key is not None and record.value is not None:
                    grouped.add(_entry(buckets.INPUT, record, index))

    def _read_outcomes(self, numbers: list[int], grouped: Buckets) -> None:
        for record, outcome in self._outcomes(numbers, {}):
            if outcome.result != "MISROUTED" and record.key is not None:
                grouped.add(_entry(buckets.OUTCOME, record))

    def _outcomes(
        self, numbers: list[int], start: Mapping[Place, int]
    ) -> Iterator[tuple[LogRecord, Outcome]]:
        """Outcomes of inputs in these partitions, each marked as an account."""
        flags = {"ACCEPTED": accounts.ACCEPTED, "MISROUTED": accounts.MISROUTED}
        for record in self._read(OUTCOMES, numbers, start):
            if not self._wanted(record.key):
                continue
            outcome = self._settings.codec.decode(OUTCOMES, record.value, record.headers)
            cause = outcome.cause
            account = self._accounts.get(cause.partition)
            if account is not None and cause.topic in self._topic_index:
                flag = accounts.OUTCOME | flags.get(outcome.result, 0)
                account.mark(self._topic_index[cause.topic], cause.offset, flag)
                yield record, outcome

    def _read_quarantine(self, numbers: list[int], start: Mapping[Place, int]) -> None:
        for record in self._read(QUARANTINE, numbers, start):
            if not self._wanted(record.key):
                continue
            origin = quarantine.parse(record.headers)
            account = self._accounts.get(origin.partition)
            if account is not None and origin.offset >= 0 and origin.topic in self._topic_index:
                index = self._topic_index[origin.topic]
                account.mark(index, origin.offset, accounts.QUARANTINE)

    def _mark_event(self, event: Event) -> None:
        """An event accounts for the input that it names as its cause."""
        cause = event.header.cause
        account = self._accounts.get(cause.partition)
        if account is not None and cause.topic in self._topic_index:
            flag = accounts.EVENTS
            if isinstance(event, ProcessingSuspended):
                flag |= accounts.SUSPENDED
            account.mark(self._topic_index[cause.topic], cause.offset, flag)

    # -- accounts ----------------------------------------------------------------------------------

    def _account(self, numbers: list[int]) -> None:
        """Every input up to the last decided one is accounted for exactly once."""
        if self._settings.limit:
            self._report.redecide.skip(LIMITED_INPUTS)
            return
        if any(self._suspicious(number) for number in numbers):
            self._read_tails(numbers)
        for number in numbers:
            account = self._accounts[number]
            for index, topic in enumerate(self._topics):
                self._count(account, index)
                for offset in account.unaccounted(index):
                    self._report.inputs.unaccounted += 1
                    why = "no event, outcome or quarantined record names this input"
                    self._fail_input(UNACCOUNTED, topic, number, offset, why)
                for offset, why in account.wrong(index):
                    self._report.inputs.unaccounted += 1
                    self._fail_input(ACCOUNTED_WRONGLY, topic, number, offset, why)

    def _suspicious(self, number: int) -> bool:
        account = self._accounts[number]
        return any(
            next(account.unaccounted(index), None) is not None
            or next(account.wrong(index), None) is not None
            for index in range(len(self._topics))
        )

    def _read_tails(self, numbers: list[int]) -> None:
        """On a live log an account may have been written while we read: read what came since."""
        before = dict(self._ends)
        for topics in ([OUTCOMES, QUARANTINE], [EVENTS], self._topics):
            self._ends.update(self._capture(topics, numbers))
        for index, topic in enumerate(self._topics):
            for record in self._read(topic, numbers, before):
                if self._wanted(record.key):
                    self._accounts[record.partition].mark(index, record.offset, accounts.INPUT)
        for record in self._read(EVENTS, numbers, before):
            if self._wanted(record.key):
                self._prover.mark(_entry(buckets.EVENT, record))
        for _ in self._outcomes(numbers, before):
            pass
        self._read_quarantine(numbers, before)

    def _count(self, account: Accounts, index: int) -> None:
        read, by_events, by_outcome, by_quarantine = account.counts(index)
        inputs = self._report.inputs
        inputs.read += read
        inputs.by_events += by_events
        inputs.by_outcome += by_outcome
        inputs.by_quarantine += by_quarantine
        inputs.pending += account.pending(index)

    def _fail_input(self, kind: str, topic: str, number: int, offset: int, why: str) -> None:
        self._report.redecide.fail(
            Failure(kind, self._settings.payment, 0, topic, number, offset, why)
        )


def _entry(kind: int, record: LogRecord, topic: int = 0) -> Entry:
    return Entry(
        kind,
        record.key or b"",
        topic,
        record.partition,
        record.offset,
        record.value or b"",
        record.headers or None,
    )
