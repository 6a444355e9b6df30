"""The auditor's evidence (records, ledgers, positions), and how it is read from a cluster."""

from __future__ import annotations

import json
import operator
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

EVENTS = "npp.payment.events.v1"
LIFECYCLE = "npp.payment.lifecycle.v1"
OUTCOMES = "npp.payment.outcomes.v1"
QUARANTINE = "npp.payment.quarantine.v1"
UNREADABLE = ("(headers that cannot be read)", None)
CHECKPOINTS = "npp.payment.checkpoints.v1"
SUBMISSIONS = "npp.rail.submissions.v1"
SUBMITTED = "npp.rail.submitted.v1"
DEPOSITS_REQUESTS = "npp.deposits.requests.v1"
CONTROL = "npp.control.v1"
OPERATOR_COMMANDS = "npp.payment.operator-commands.v1"
TIMERS = "npp.payment.timers.v1"
INPUTS = (
    "npp.resolve.decisions.v1",
    OPERATOR_COMMANDS,
    "npp.rail.reports.v1",
    "npp.deposits.results.v1",
    "npp.customer.notified.v1",
    TIMERS,
    "npp.payment.commands.v1",
    "npp.payment.commands.batch.v1",
    "npp.payment.commands.api.v1",
)
OTHERS = (
    EVENTS, LIFECYCLE, OUTCOMES, QUARANTINE, CHECKPOINTS, SUBMISSIONS, SUBMITTED,
    DEPOSITS_REQUESTS, CONTROL,
)  # fmt: skip
GROUP = "npp-payments"
READ_SECONDS_MAX = 60.0
CALL_SECONDS_MAX = 20.0
ASK_AGAIN_SECONDS = 0.2
OPEN_SECONDS_MAX = 20.0  # a transaction lives 10 s and is aborted a second later; L allows 60
FUTURE_SECONDS_MAX = 60.0  # the client itself answers within CALL_SECONDS_MAX

T = TypeVar("T")

Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True, slots=True)
class Record:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> Place:
        return self.topic, self.partition, self.offset


@dataclass(slots=True)
class Evidence:
    """`records`: read_committed, by topic, ordered by partition and offset.

    `uncommitted`: offsets that only a read_uncommitted reader sees (aborted or still open).
    `schemas`: schema id → parsed JSON. `rail`, `deposits`: the simulators' GET /ledger, or None.
    `stable`: (topic, partition) → (last stable offset, high watermark). `positions`: (topic,
    partition) → the group's committed offset. `keys`: key id → raw Ed25519 public key.
    """

    records: dict[str, list[Record]]
    schemas: dict[int, dict[str, Any]]
    uncommitted: dict[Place, Record] = field(default_factory=dict)
    rail: dict[str, Any] | None = None
    deposits: dict[str, Any] | None = None
    stable: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    positions: dict[tuple[str, int], int] | None = None
    keys: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    sentence: str
    payment: str | None = None
    place: Place | None = None

    def __str__(self) -> str:
        where = "" if self.place is None else " at {}[{}]@{}".format(*self.place)
        return f"{self.invariant} {self.payment or '-'}{where}: {self.sentence}"


@dataclass(slots=True)
class Report:
    violations: list[Violation]
    counters: Counter[str]

    def invariants(self) -> set[str]:
        return {each.invariant for each in self.violations}

    def text(self, most: int = 30) -> str:
        lines = [str(each) for each in self.violations[:most]]
        if len(self.violations) > most:
            lines.append(f"… and {len(self.violations) - most} more")
        return "\n".join([f"{len(self.violations)} violations", *lines])


def read_kafka(
    bootstrap: str,
    registry: str,
    *,
    rail_ledger: str | None = None,
    deposits_ledger: str | None = None,
    keys: dict[str, bytes] | None = None,
    config: dict[str, str] | None = None,
) -> Evidence:
    """Read everything twice, as read_committed and as read_uncommitted. Joins no group."""
    common: dict[str, Any] = {"bootstrap.servers": bootstrap, **(config or {})}
    partitions = places(common, (*INPUTS, *OTHERS))
    stable = settled(common, partitions)
    committed = _read(common, partitions, stable, "read_committed")
    everything = _read(common, partitions, stable, "read_uncommitted")
    seen = {record.place for record in committed}
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(committed, key=lambda r: r.place):
        by_topic[record.topic].append(record)
    uncommitted = {r.place: r for r in everything if r.place not in seen and r.topic != LIFECYCLE}
    values = [r.value for r in everything]
    ids = {int.from_bytes(v[1:5], "big") for v in values if v and len(v) > 5 and v[0] == 0}
    return Evidence(
        records=dict(by_topic),
        schemas=_schemas(registry, ids),
        uncommitted=uncommitted,
        rail=_json(rail_ledger) if rail_ledger else None,
        deposits=_json(deposits_ledger) if deposits_ledger else None,
        stable=stable,
        positions=positions(common, [each for each in partitions if each[0] in INPUTS]),
        keys=keys or {},
    )


class Unanswered(Exception):
    """The client returned without an answer and without an error."""


def answered(question: Callable[[], T]) -> T:
    """Repeat the call for CALL_SECONDS_MAX: a broker that starts up may not know the
    leaders yet.
    """
    deadline = time.monotonic() + CALL_SECONDS_MAX
    while True:
        try:
            return question()
        except (KafkaException, Unanswered):
            if time.monotonic() > deadline:
                raise
            time.sleep(ASK_AGAIN_SECONDS)


def places(common: dict[str, Any], topics: Sequence[str]) -> list[tuple[str, int]]:
    """Every partition of those topics that exist."""

    def ask() -> list[tuple[str, int]]:
        known = AdminClient(common).list_topics(timeout=CALL_SECONDS_MAX)
        there = {t: known.topics[t].partitions for t in topics if t in known.topics}
        if not known.brokers or not all(there.values()):
            raise Unanswered("the cluster's description is not complete")
        return [(topic, n) for topic, numbers in there.items() for n in numbers]

    return answered(ask)


def ends(
    common: dict[str, Any], partitions: Sequence[tuple[str, int]], level: IsolationLevel
) -> dict[tuple[str, int], int]:
    """The next offset of each partition, or with READ_COMMITTED its last stable one."""

    def ask() -> dict[tuple[str, int], int]:
        newest: Any = OffsetSpec.latest  # ships without types
        admin = AdminClient(common)  # to be kept: its futures end with it, unanswered
        futures = admin.list_offsets(
            {TopicPartition(t, n): newest() for t, n in partitions},
            isolation_level=level,
            request_timeout=CALL_SECONDS_MAX,
        )
        found = {
            (tp.topic, tp.partition): f.result(FUTURE_SECONDS_MAX).offset
            for tp, f in futures.items()
        }
        if any(offset < 0 for offset in found.values()):  # how it reports an unknown leader
            raise Unanswered(f"no end: {found}")
        return found

    return answered(ask)


def settled(
    common: dict[str, Any], partitions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """(last stable offset, high watermark) of each partition: equal unless a transaction hangs.

    The verifier signs meanwhile, so the high watermark is read first, and a transaction that was
    open then has OPEN_SECONDS_MAX to end before it counts as hanging.
    """
    written = ends(common, partitions, IsolationLevel.READ_UNCOMMITTED)
    deadline = time.monotonic() + OPEN_SECONDS_MAX
    while True:
        decided = ends(common, partitions, IsolationLevel.READ_COMMITTED)
        hanging = any(decided[each] < written[each] for each in partitions)
        if not hanging or time.monotonic() > deadline:
            return {each: (decided[each], max(decided[each], written[each])) for each in partitions}
        time.sleep(ASK_AGAIN_SECONDS)


def _read(
    common: dict[str, Any],
    partitions: list[tuple[str, int]],
    ends: dict[tuple[str, int], tuple[int, int]],
    level: str,
) -> list[Record]:
    which = 0 if level == "read_committed" else 1
    consumer = Consumer(
        {
            **common, "group.id": "auditor-never-commits", "isolation.level": level,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
        }
    )  # fmt: skip
    wanted = {each for each in partitions if ends[each][which] > 0}
    consumer.assign([TopicPartition(t, n, 0) for t, n in wanted])
    records: list[Record] = []
    deadline = time.monotonic() + READ_SECONDS_MAX
    try:
        while wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the auditor could not read {sorted(wanted)} to the end")
            for message in consumer.consume(5_000, 0.2):
                if message.error() is not None:
                    raise RuntimeError(f"the auditor's consumer: {message.error()}")
                record = _record(message)
                if record.offset < ends[(record.topic, record.partition)][which]:
                    records.append(record)
            for here in consumer.position([TopicPartition(*each) for each in wanted]):
                if here.offset >= ends[(here.topic, here.partition)][which]:
                    wanted.discard((here.topic, here.partition))
    finally:
        consumer.close()
    return records


def _record(message: Message) -> Record:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise RuntimeError("a message without a place")
    try:
        headers: Any = operator.methodcaller("headers")(message) or ()
    except SystemError:  # a header name that is not UTF-8: no Python client can return it
        headers = (UNREADABLE,)
    return Record(topic, partition, offset, message.key(), message.value(), tuple(headers))


def positions(
    common: dict[str, Any], partitions: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """The processor's committed offsets, negative where there is none.

    Read by a consumer that never joins: the admin client's call crashes in librdkafka (a null
    pointer) while the coordinator is loading, and the tests kill brokers.
    """

    def ask() -> dict[tuple[str, int], int]:
        consumer = Consumer(
            {
                **common, "group.id": GROUP, "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
            }
        )  # fmt: skip
        try:
            requested = [TopicPartition(*each) for each in partitions]
            found = consumer.committed(requested, timeout=CALL_SECONDS_MAX)
        finally:
            consumer.close()
        for tp in found:
            if tp.error is not None:
                raise KafkaException(tp.error)
        return {(tp.topic, tp.partition): tp.offset for tp in found}

    return answered(ask)


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=CALL_SECONDS_MAX) as answer:
        return json.load(answer)


def _schemas(registry: str, ids: set[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for number in ids:
        try:
            answer = _json(f"{registry.rstrip('/')}/schemas/ids/{number}")
        except urllib.error.HTTPError as error:
            if error.code != 404:  # an unregistered id is a poison record and is checked as that
                raise
        else:
            found[number] = json.loads(answer["schema"])
    return found
