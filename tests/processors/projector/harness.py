"""Hand-made logs for the projector: an in-memory source and a real database."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from control import quarantine
from core import rules
from core.payment import commands as c
from core.rules import Rules
from core.values import ConflictId
from engine.clients.partition_errors import Passed
from engine.clients.topics_reader import Reading
from engine.clock import Clock
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.projector.batch import TOPICS
from processors.projector.feed import Feed
from processors.projector.progress import Progress
from readmodel.model import Model, open_model
from readmodel.ports import AuditFilter, Page, PaymentFilter, Writer
from schemas import topology as t
from schemas.codec import Codec
from tests.clock import HeldClock
from tests.processors.payments.clean_history import AMOUNT, PARTITIONS, Outside
from tests.rooms import ROOT

RULES_FILE = ROOT / "core" / "rules" / "1.yaml"
START_MS = 1_700_000_000_000
STEPS_MAX = 100_000


RULES = rules.parse(RULES_FILE.read_bytes())


def carried(number: int) -> Rules:
    """Only the production rule set."""
    return {RULES.number: RULES}[number]


class MemorySource:
    """A `ProjectorLog` over records; with a seed it returns them in portions of random size."""

    def __init__(
        self, records: Iterable[LogRecord], partitions: Mapping[str, int], seed: int | None = None
    ) -> None:
        self.log: dict[TopicPartition, list[LogRecord]] = {
            (topic, n): [] for topic in TOPICS for n in range(partitions.get(topic, 1))
        }
        self.passed: Passed = {}
        self.low: dict[TopicPartition, int] = {}
        self._random = None if seed is None else random.Random(seed)
        self._position: dict[TopicPartition, int] = {}
        self._ends_given: set[TopicPartition] = set()
        for record in records:
            self.append(record)

    def append(self, record: LogRecord) -> None:
        self.log[record.topic, record.partition].append(record)

    def bounds(self) -> Mapping[TopicPartition, tuple[int, int]]:
        return {
            place: (self.low.get(place, 0), found[-1].offset + 1 if found else 0)
            for place, found in self.log.items()
        }

    def follow(self, start: Mapping[TopicPartition, int]) -> None:
        self._position = dict(start)
        self._ends_given = set()

    def pass_over(self, passed: Passed) -> None:
        self.passed = passed

    def read(self, count: int, wait_s: float) -> Reading:
        records: dict[TopicPartition, list[LogRecord]] = {}
        ends: dict[TopicPartition, int] = {}
        places = list(self._position)
        if self._random is not None:
            count = self._random.randint(1, 40)
            self._random.shuffle(places)
        for place in places:
            unread = [r for r in self.log[place] if r.offset >= self._position[place]]
            taken = unread[:count]
            count -= len(taken)
            if taken:
                records[place] = taken
                self._position[place] = taken[-1].offset + 1
                self._ends_given.discard(place)
            if len(taken) == len(unread) and place not in self._ends_given:
                self._ends_given.add(place)
                ends[place] = self._position[place]
        return Reading(records, ends)

    def control(self, start: int) -> Sequence[LogRecord]:
        return [each for each in self.log.get((t.CONTROL, 0), []) if each.offset >= start]

    def answered(self) -> bool:
        return True

    def close(self) -> None:
        self._position = {}


def model_in(folder: Path, clock: Clock | None = None, *, url: str = "") -> Model:
    """A read model at this address, or SQLite in the folder."""
    return open_model(url or f"sqlite:///{folder / 'readmodel'}", clock=clock)


class Skips:
    """Counts the skipped records."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, topic: str, why: str) -> None:
        self.seen.append((topic, why))


def feed_of(
    source: MemorySource, writer: Writer, codec: Codec, clock: Clock, skips: Skips | None = None
) -> Feed:
    return Feed(
        source=source,
        writer=writer,
        codec=codec,
        rules_of=carried,
        clock=clock,
        skip=skips or Skips(),
        progress=Progress(clock),
    )


def project(source: MemorySource, model: Model, codec: Codec, clock: HeldClock) -> Feed:
    """Project everything into the current generation."""
    writer = model.writer()
    reader = model.reader()
    feed = feed_of(source, writer, codec, clock)
    feed.open(reader)
    run(feed, clock)
    reader.close()
    writer.close()
    return feed


def run(feed: Feed, clock: HeldClock, steps: int = STEPS_MAX) -> int:
    """Step until there is nothing more to write; return the number of batches."""
    written = 0
    for _ in range(steps):
        if feed.step(0.0) is None:
            clock.advance(2_000)  # progress without a record is written now
            if feed.step(0.0) is None:
                return written
        written += 1
    return written


def history(seed: int, payments: int = 12, turns: int = 60) -> Outside:
    """A log that the product's own code made of a random but repeatable run."""
    world = Outside()
    chance = random.Random(seed)
    names = [world.create(f"{seed}-{n}") for n in range(payments)]
    for _ in range(turns):
        payment = chance.choice(names)
        turn = chance.choice(TURNS)
        turn(world, payment, chance)
        if chance.random() < 0.1:
            world.driver.advance(chance.choice((1_000, 61_000, 301_000, 601_000)))
            world.settle()
    return world


def _report(world: Outside, payment: str, chance: random.Random) -> None:
    kind = chance.choice(("RECEIVED", "ACCEPTED", "SETTLED", "REJECTED", "STATUS", "RETURNED"))
    code = {"REJECTED": chance.choice(("AB08", "AC01", "FRAD", "CUST"))}.get(kind)
    now = world.driver.clock.now_ms()
    times = {"submitted_at": now, "answered_at": now + chance.randint(1, 4_000)}
    amount = {"SETTLED": chance.choice((AMOUNT, AMOUNT, AMOUNT + 1))}
    more = {"amount": amount[kind]} if kind in amount else {}
    attempt = chance.choice((1, 1, 1, 2))
    world.report(
        payment, kind, attempt=attempt, code=code, transaction_id=f"TX-{chance.randint(0, 99)}",
        **(times if kind in ("RECEIVED", "STATUS", "REJECTED") else {}), **more,
    )  # fmt: skip


def _ask(world: Outside, payment: str, chance: random.Random) -> None:
    action = chance.choice(("RETRY", "CANCEL", "MARK_FAILED", "RETRY_UNCERTAIN", "EXPIRE"))
    request = c.RequestApproval(
        header=world.header(payment),
        operator=world.operator(),
        action=cast(Any, action),
        reason=f"\x1b[31m {action} \u202e 💸",
        failure_reason="RAIL" if action == "MARK_FAILED" else None,
    )
    before = len(world.approvals)
    world.give(t.OPERATOR_COMMANDS, request)
    if len(world.approvals) == before:
        return
    name = world.approvals[-1].approval_id
    verdict = chance.choice(("APPROVED", "APPROVED", "REJECTED", "REFERRED"))
    answer = c.ApprovalDecision(
        header=world.header(payment),
        approval_id=name,
        verdict=cast(Any, verdict),
        decided_by="apv_002",
        rules_evaluated=("two",),
        policy_version="1",
    )
    world.give(t.RESOLVE_DECISIONS, answer)


def _act(world: Outside, payment: str, chance: random.Random) -> None:
    header, operator = world.header(payment), world.operator()
    command = chance.choice(
        (
            c.RetryPayment(header=header, operator=operator, attempt_id="att_002", reason="again"),
            c.CancelPayment(
                header=header, operator=operator, reason="the customer asked", customer_id="CUST-1"
            ),
            c.MarkPaymentFailed(
                header=header, operator=operator, reason="RAIL", details="no answer"
            ),
            c.ResolveReconciliation(
                header=header,
                operator=operator,
                conflict_id=ConflictId("cnf_001"),
                attempt=1,
                verdict="NOT_PAID",
                details="the bank says",
            ),
            c.ExpirePayment(header=header, operator=operator, reason="too long"),
        )
    )
    world.give(t.OPERATOR_COMMANDS, command)


def _resolve(world: Outside, payment: str, chance: random.Random) -> None:
    verdict = chance.choice(("NOT_PAID", "SETTLED_AFTER_ALL"))
    request = c.RequestApproval(
        header=world.header(payment),
        operator=world.operator(),
        action="RESOLVE_RECONCILIATION",
        reason="seen at the bank",
        attempt=1,
        conflict_id=ConflictId("cnf_001"),
        verdict=cast(Any, verdict),
    )
    before = len(world.approvals)
    world.give(t.OPERATOR_COMMANDS, request)
    if len(world.approvals) == before:
        return
    name = world.approvals[-1].approval_id
    answer = c.ApprovalDecision(
        header=world.header(payment),
        approval_id=name,
        verdict="APPROVED",
        decided_by="apv_002",
        rules_evaluated=("two",),
        policy_version="1",
    )
    world.give(t.RESOLVE_DECISIONS, answer)
    act = c.ResolveReconciliation(
        header=world.header(payment),
        operator=world.operator(),
        conflict_id=ConflictId("cnf_001"),
        attempt=1,
        verdict=cast(Any, verdict),
        details="statement of today",
    )
    world.give(t.OPERATOR_COMMANDS, act)


TURNS = (_report, _report, _report, _ask, _act, _resolve)


def log_of(world: Outside) -> list[LogRecord]:
    """What a projector would read from this world."""
    return [record for topic in TOPICS for record in world.driver.committed(topic)]


def source_of(records: Iterable[LogRecord], seed: int | None = None) -> MemorySource:
    """These records as a log with a world's partitions."""
    many = (t.EVENTS, t.OPERATOR_COMMANDS, t.CHECKPOINTS)
    return MemorySource(records, dict.fromkeys(many, PARTITIONS), seed)


def dump(model: Model) -> dict[str, Any]:
    """Everything that a reader can see."""
    reader = model.reader()
    try:
        payments = _pages(lambda cursor: reader.payments(PaymentFilter(), 200, cursor))
        names = [row.payment_intent_id for row in payments]
        now_ms = reader.counts()
        return {
            "payments": payments,
            "events": [reader.events(name, 0, 10_000) for name in names],
            "outcomes": [reader.outcomes(name, 10_000) for name in names],
            "approvals": _pages(lambda cursor: reader.approvals(None, None, 200, cursor)),
            "conflicts": _pages(lambda cursor: reader.conflicts(None, False, 200, cursor)),
            "attention": _pages(lambda cursor: reader.attention(200, cursor)),
            "quarantine": _pages(lambda cursor: reader.quarantine(None, None, 200, cursor)),
            "audit": _pages(lambda cursor: reader.audit(AuditFilter(), 200, cursor)),
            "control": reader.control(-1, 10_000),
            "minutes": reader.minutes(0, 2**40),
            "found": [sorted(reader.find(row.external_ref or "", 10)) for row in payments],
            "counts": {name: count for name, count in now_ms.items() if count},
            "projected": dict(reader.projected()),
        }
    finally:
        reader.close()


def _pages(ask: Callable[[str | None], Page[Any]]) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = ask(cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


# Headers of quarantined records that our own code never writes.
POISON: tuple[list[tuple[str, bytes | None]], ...] = (
    [],
    [("npp-reason", b"\xff")],
    [(name, b"\x00\xff\xfe") for name in quarantine.OWN_HEADERS],
    quarantine.headers(
        quarantine.PARKED, "d", topic="t", partition=10**30, offset=10**30, timestamp_ms=0
    ),
    quarantine.headers(
        quarantine.PARKED, "nul \0 and \x1a", topic="t\0", partition=1, offset=-1, timestamp_ms=0
    ),
    [(quarantine.COPY, quarantine.BY_REFERENCE)],
    [(quarantine.COPY, None), ("x", b"1")],
)
