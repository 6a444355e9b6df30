"""`npp control recover`: continues from what the journal, the outcomes and the quarantine record.

For lost consumer offsets or a lost log tail. Each input partition is read again from its first
input that nothing records: after the last recorded one if only offsets are lost, before it if
events have vanished. The lifecycle topic is restored from the journal. Instructions that the rail
may have although the journal lost their event are found by app.recovered_submissions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec

from app import rule_files
from app.cluster import Cluster
from app.exits import ExitCode, Problem
from app.recovered_submissions import AT_THE_RAIL, Submissions, report_of
from control import quarantine
from core.control_records import RecoverConfirmed, RecoverRequested
from core.payment.commands import CreatePayment
from core.payment.events import PaymentSentToRail
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import CorruptHistory
from core.records import Checkpoint, PaymentLifecycle
from engine.clients.groups import GroupAdmin
from engine.clients.publisher import NotConfirmed, Outgoing
from engine.clients.reader import read_all
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.replay import accounts, fold
from processors.replay.accounts import Accounts
from schemas import catalogue, topology
from schemas.errors import Undecodable

GROUP: Final = "npp-payments"
METADATA: Final = "recovered"
ACCEPTED: Final = "ACCEPTED"  # beside its events; without them it accounts for nothing
REBUILT_AT_ONCE_COUNT: Final = 10_000  # payments whose whole histories are held together
CHECKPOINTS_READ_COUNT: Final = 100  # the last of a partition is among its last records
FOUND_AT_ONCE_COUNT: Final = 10_000  # references in one control record: 310 kB
NOT_RECOVERED: Final = -1


class Signing(Protocol):
    """The second person, who signs the written records."""

    @property
    def person(self) -> str: ...

    def sign(self, record: Any, request: Any | None = None) -> Any:
        """The record, signed now."""


class Recovery(msgspec.Struct):
    """The plan of a recovery; nothing of it is written yet."""

    numbers: list[int]
    offsets: dict[TopicPartition, int]
    journal_ends: tuple[int, ...]
    checkpoints: tuple[int, ...]
    rebuilt: list[Outgoing] = []  # lifecycle records as the journal has them
    not_foldable: list[str] = []
    found: list[str] = []  # instructions to pay whose events the journal has lost
    reports: list[Outgoing] = []  # of those among them that no input repeats

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{topic}[{number}] → {at}" for (topic, number), at in self.offsets.items()]
        lines.append(f"lifecycle records put back: {len(self.rebuilt)}")
        lines.append(f"payment instructions without an event: {len(self.found)}")
        lines.append(f"of them reported, because no input repeats them: {len(self.reports)}")
        lines += [f"{payment} cannot be folded: its next input parks it" for payment in
                 self.not_foldable]  # fmt: skip
        return lines


def work_out(cluster: Cluster, request: RecoverRequested) -> Recovery:
    """Read everything that shows how far processing came. Raises Problem while a processor is
    running.
    """
    groups = GroupAdmin(cluster.connection, cluster.clock)
    if groups.members(GROUP):
        raise Problem(
            "Payments processors are running.",
            means="Offsets of a group with members cannot be set.",
            do="End every `npp run payments`, wait for their sessions to end, confirm again.",
        )
    count = cluster.partitions(topology.EVENTS)
    numbers = list(request.partitions) or list(range(count))
    wrong = [number for number in numbers if number >= count]
    if wrong:
        raise Problem(f"There is no partition {wrong[0]}: there are {count}.", code=ExitCode.USAGE)
    ends = {number: journal_end(cluster, number) for number in numbers}
    seen = _Seen(cluster, numbers)
    seen.read_submissions()
    seen.read_journal()
    seen.read_outcomes()
    seen.read_quarantine()
    seen.read_inputs()
    recovery = Recovery(
        numbers=numbers,
        offsets=seen.offsets(),
        journal_ends=tuple(ends.get(n, NOT_RECOVERED) for n in range(count)),
        checkpoints=tuple(_last_checkpoint(cluster, n) for n in range(count)),
    )
    seen.rebuild_lifecycle(recovery)
    seen.say_found(recovery, request.request_id)
    return recovery


def carry_out(
    cluster: Cluster, recovery: Recovery, request: RecoverRequested, confirmed_by: Signing
) -> None:
    """Write the lifecycle records, what was found, and the offsets. May be repeated.

    Raises Problem. The confirmation itself comes after all of it.
    """
    try:
        for outgoing in (recovery.rebuilt, recovery.reports):
            for start in range(0, len(outgoing), REBUILT_AT_ONCE_COUNT):
                cluster.publisher.publish_all(outgoing[start : start + REBUILT_AT_ONCE_COUNT])
    except NotConfirmed as error:
        raise Problem(f"Kafka did not confirm a record: {error}", do="Confirm again.") from error
    for start in range(0, len(recovery.found), FOUND_AT_ONCE_COUNT):
        found = tuple(recovery.found[start : start + FOUND_AT_ONCE_COUNT])
        now = cluster.clock.now_ms()
        confirmation = RecoverConfirmed(
            request_id=request.request_id,
            confirmed_at=now,
            actor=confirmed_by.person,
            submissions=found,
        )
        cluster.publish_control(confirmed_by.sign(confirmation, request))
    GroupAdmin(cluster.connection, cluster.clock).set_offsets(GROUP, recovery.offsets, METADATA)


class _Seen:
    """What the log records of the inputs of some partitions, and each payment's head."""

    def __init__(self, cluster: Cluster, numbers: Sequence[int]) -> None:
        self._cluster = cluster
        self._numbers = numbers
        self._inputs = [topic.name for topic in catalogue.load().inputs()]
        self._index = {topic: index for index, topic in enumerate(self._inputs)}
        ends = cluster.ends.high([(topic, n) for topic in self._inputs for n in numbers])
        self._accounts = {
            n: Accounts(self._inputs, {topic: ends[topic, n] for topic in self._inputs})
            for n in numbers
        }
        self._heads: dict[bytes, bytes] = {}  # 130 bytes per payment
        control = cluster.control()[0]
        self._rulings = control.dispositions
        self._passed = control.passed_over()
        for (topic, number), batches in self._passed.items():
            for first, last in batches:
                for offset in range(first, last + 1):  # two people account for these
                    self._mark(topic, number, offset, accounts.OUTCOME)
        self._submissions = Submissions(frozenset(numbers), cluster.partitions(topology.EVENTS))

    def _mark(self, topic: str, partition: int, offset: int, flag: int) -> None:
        account, index = self._accounts.get(partition), self._index.get(topic)
        if account is not None and index is not None and offset >= 0:
            account.mark(index, offset, flag)

    def _records(self, topic: str, numbers: Iterable[int] | None) -> Iterable[LogRecord]:
        """Committed records of these partitions (None: all) to the current end; of the
        journal without those that two people ruled foreign.
        """
        partitions = None if numbers is None else sorted(numbers)
        for batch in read_all(
            self._cluster.connection, topic, partitions=partitions, clock=self._cluster.clock,
            passed=self._passed,
        ):  # fmt: skip
            if topic == topology.EVENTS:
                skips = self._rulings.skips
                yield from (r for r in batch if not skips(r.partition, r.offset, r.value))
            else:
                yield from batch

    def _decoded(self, at: LogRecord) -> object:
        try:
            return self._cluster.codec.decode(at.topic, at.value, at.headers)
        except Undecodable as error:
            raise Problem(
                f"{at.topic}[{at.partition}]@{at.offset} cannot be read: {error.reason}",
                means="Without it the processed offset is unknown.",
                do="`npp replay verify` says more. Do not start anything.",
            ) from error

    def read_submissions(self) -> None:
        """Every attempt that was to be submitted, or was submitted by the rail adapter's record."""
        for at in self._records(topology.RAIL_SUBMISSIONS, None):
            instruction = self._decoded(at)
            if instruction.kind == "SUBMIT":  # type: ignore[attr-defined]
                self._submissions.stands(instruction.external_ref)  # type: ignore[attr-defined]
        for at in self._records(topology.RAIL_SUBMITTED, None):
            if at.value is not None:
                submission = self._decoded(at)
                if submission.phase in AT_THE_RAIL:  # type: ignore[attr-defined]
                    self._submissions.stands(submission.external_ref)  # type: ignore[attr-defined]

    def read_journal(self) -> None:
        """Every event's cause, the hash of each payment's last event, and what was sent."""
        for at in self._records(topology.EVENTS, self._numbers):
            event = self._decoded(at)
            header = event.header  # type: ignore[attr-defined]
            cause = header.cause
            self._mark(cause.topic, cause.partition, cause.offset, accounts.EVENTS)
            if at.key is not None:
                self._heads[at.key] = hashlib.sha256(at.value or b"").digest()
                self._submissions.made(at.key, header.attempt)
            if isinstance(event, PaymentSentToRail):
                self._submissions.sent(event.external_ref)

    def read_outcomes(self) -> None:
        """Every outcome's cause; ACCEPTED refers to events and does not replace them."""
        for at in self._records(topology.OUTCOMES, None):
            outcome = self._decoded(at)
            if outcome.result != ACCEPTED:  # type: ignore[attr-defined]
                cause = outcome.cause  # type: ignore[attr-defined]
                self._mark(cause.topic, cause.partition, cause.offset, accounts.OUTCOME)

    def read_quarantine(self) -> None:
        """Every quarantined input."""
        for at in self._records(topology.QUARANTINE, None):
            try:
                origin = quarantine.parse(at.headers)
            except ValueError:
                continue  # not written by the processor
            self._mark(origin.topic, origin.partition, origin.offset, accounts.QUARANTINE)

    def read_inputs(self) -> None:
        """Which offsets are inputs at all: markers take offsets too."""
        wanted = self._submissions.keys()
        for index, topic in enumerate(self._inputs):
            creates = CreatePayment in catalogue.load().topic(topic).record_types()
            for at in self._records(topic, self._numbers):
                self._accounts[at.partition].mark(index, at.offset, accounts.INPUT)
                if creates and at.key in wanted:
                    self._submissions.will_be_created(at.key)

    def say_found(self, recovery: Recovery, request_id: str) -> None:
        """Add to the plan the submissions that the rail may have without an event, and reports on
        those whose attempt no input creates again.
        """
        recovery.found = self._submissions.found()
        topic, now = topology.RAIL_REPORTS, self._cluster.clock.now_ms()
        for reference in self._submissions.orphaned(self._heads):
            report = report_of(reference, request_id, now)
            key = report.header.payment_intent_id.encode()
            value = self._cluster.codec.encode(topic, report)
            recovery.reports.append(Outgoing(topic, key, value))

    def offsets(self) -> dict[TopicPartition, int]:
        """The first input of each topic and partition that nothing records."""
        names = [(topic, number) for topic in self._inputs for number in self._numbers]
        low, high = self._cluster.ends.low(names), self._cluster.ends.high(names)
        found = {}
        for topic, number in names:
            account, index = self._accounts[number], self._index[topic]
            behind = account.last_accounted(index) + 1
            first = next(account.unaccounted(index), behind)
            found[topic, number] = min(max(first, low[topic, number]), high[topic, number])
        return found

    def rebuild_lifecycle(self, recovery: Recovery) -> None:
        """Add to the plan the lifecycle records that differ from the journal, and tombstones for
        payments that the journal does not have.
        """
        recorded: dict[bytes, bytes | None] = {}
        places: dict[bytes, int] = {}
        for at in self._records(topology.LIFECYCLE, self._numbers):
            if at.key is not None:
                recorded[at.key], places[at.key] = self._head_of(at), at.partition
        vanished = [k for k, head in recorded.items() if head is not None and k not in self._heads]
        recovery.rebuilt = [
            Outgoing(topology.LIFECYCLE, key, None, places[key]) for key in vanished
        ]
        wrong = [key for key, head in self._heads.items() if recorded.get(key) != head]
        for start in range(0, len(wrong), REBUILT_AT_ONCE_COUNT):
            self._rebuild(set(wrong[start : start + REBUILT_AT_ONCE_COUNT]), recovery)

    def _head_of(self, at: LogRecord) -> bytes | None:
        if at.value is None:
            return None
        try:
            record = self._cluster.codec.decode(at.topic, at.value, at.headers)
        except Undecodable:
            return b""  # equals no head: it is written again
        return record.head_hash if isinstance(record, PaymentLifecycle) else b""

    def _rebuild(self, keys: set[bytes], recovery: Recovery) -> None:
        histories: dict[bytes, list[bytes]] = {key: [] for key in keys}
        places: dict[bytes, int] = {}
        for at in self._records(topology.EVENTS, self._numbers):
            if at.key in histories and at.value is not None:
                histories[at.key].append(at.value)
                places[at.key] = at.partition
        codec = self._cluster.codec
        for key, values in histories.items():
            try:
                payment = fold.rebuild(codec, values, rule_files.rules_of)
            except (CorruptHistory, ValueError):
                recovery.not_foldable.append(key.decode("utf-8", "replace"))
                continue
            except KeyError as error:
                raise Problem(
                    f"Rule set {error} is not carried by this release.",
                    do="Recover with the release that wrote the last events.",
                ) from error
            record = lifecycle_record(payment, self._heads[key])
            value = codec.encode(topology.LIFECYCLE, record)
            recovery.rebuilt.append(Outgoing(topology.LIFECYCLE, key, value, places[key]))


def journal_end(cluster: Cluster, number: int) -> int:
    """The journal offset at which the partition continues: the journal's end; or, if the outcomes
    topic lost records that checkpoints cover, the last event of the first such checkpoint.
    Checkpoints from there on are void, and what is left is signed again.
    """
    end: int = cluster.ends.high([(topology.EVENTS, number)])[topology.EVENTS, number]
    outcomes = number % cluster.partitions(topology.OUTCOMES)
    outcomes_end = cluster.ends.high([(topology.OUTCOMES, outcomes)])[topology.OUTCOMES, outcomes]
    lost: list[int] = [
        each.to_offset
        for each in _checkpoints(cluster, number, 0)
        if each.to_outcome >= outcomes_end
    ]
    return max(0, min(lost, default=end))


def _last_checkpoint(cluster: Cluster, number: int) -> int:
    """Number of the partition's last checkpoint; 0 when there is none."""
    name = (topology.CHECKPOINTS, number)
    start = max(0, cluster.ends.high([name])[name] - CHECKPOINTS_READ_COUNT)
    return max((each.number for each in _checkpoints(cluster, number, start)), default=0)


def _checkpoints(cluster: Cluster, number: int, start: int) -> Iterator[Checkpoint]:
    for batch in read_all(
        cluster.connection, topology.CHECKPOINTS, start={number: start}, partitions=[number],
        clock=cluster.clock,
    ):  # fmt: skip
        for at in batch:
            record = cluster.entry(at).record
            if isinstance(record, Checkpoint):
                yield record
