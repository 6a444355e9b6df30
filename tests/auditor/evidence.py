"""What the auditor looks at (records, ledgers, positions), and how it gets it from a cluster."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

EVENTS = "npp.payment.events.v1"
LIFECYCLE = "npp.payment.lifecycle.v1"
OUTCOMES = "npp.payment.outcomes.v1"
QUARANTINE = "npp.payment.quarantine.v1"
CHECKPOINTS = "npp.payment.checkpoints.v1"
SUBMISSIONS = "npp.rail.submissions.v1"
SUBMITTED = "npp.rail.submitted.v1"
DEPOSITS_REQUESTS = "npp.deposits.requests.v1"
CONTROL = "npp.control.v1"
OPERATOR_COMMANDS = "npp.payment.operator-commands.v1"
INPUTS = (
    "npp.resolve.decisions.v1",
    OPERATOR_COMMANDS,
    "npp.rail.reports.v1",
    "npp.deposits.results.v1",
    "npp.customer.notified.v1",
    "npp.payment.timers.v1",
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

    `uncommitted`: places that only a read_uncommitted reader sees (aborted, or still open).
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
    """Everything, twice: as read_committed and as read_uncommitted sees it. Joins no group."""
    common: dict[str, Any] = {"bootstrap.servers": bootstrap, **(config or {})}
    admin = AdminClient(common)
    known = admin.list_topics(timeout=CALL_SECONDS_MAX).topics
    partitions = [
        (topic, n)
        for topic in (*INPUTS, *OTHERS)
        if topic in known
        for n in known[topic].partitions
    ]
    stable = _ends(admin, partitions)
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
        positions=_positions(common, partitions),
        keys=keys or {},
    )


def _ends(
    admin: AdminClient, partitions: list[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    ends = []
    for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED):
        newest: Any = OffsetSpec.latest  # ships without types
        asked = {TopicPartition(t, n): newest() for t, n in partitions}
        answers = admin.list_offsets(asked, isolation_level=level, request_timeout=CALL_SECONDS_MAX)
        ends.append({(tp.topic, tp.partition): f.result().offset for tp, f in answers.items()})
    return {each: (ends[0][each], ends[1][each]) for each in partitions}


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
    headers: Any = message.headers() or ()
    return Record(topic, partition, offset, message.key(), message.value(), tuple(headers))


def _positions(
    common: dict[str, Any], partitions: list[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Asked by a consumer that never joins: the admin client's call may crash in librdkafka."""
    asked = [TopicPartition(t, n) for t, n in partitions if t in INPUTS]
    consumer = Consumer(
        {
            **common, "group.id": GROUP, "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
        }
    )  # fmt: skip
    try:
        found = consumer.committed(asked, timeout=CALL_SECONDS_MAX)
    finally:
        consumer.close()
    return {(tp.topic, tp.partition): tp.offset for tp in found}


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=CALL_SECONDS_MAX) as answer:
        return json.load(answer)


def _schemas(registry: str, ids: set[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for number in ids:
        try:
            answer = _json(f"{registry.rstrip('/')}/schemas/ids/{number}")
        except urllib.error.HTTPError as error:
            if error.code != 404:  # an id that nobody registered is poison, and judged as that
                raise
        else:
            found[number] = json.loads(answer["schema"])
    return found
