"""A world's log folded into a real read model, and the pack service over it, without a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.control_records import FOREIGN
from core.payment import commands as c
from core.values import Cents, Parties, Party, payment_intent_id
from engine.ports import TopicPartition
from engine.records import LogRecord
from evidence.checkpoints import End, Range, Sealed, build, seal
from evidence.keys import Keyring
from evidence.log import Later
from evidence.merkle import LeafData
from evidence.packs.service import PackService
from processors.projector.batch import Projection
from processors.projector.events import lookups_of
from processors.replay import MemoryLog
from readmodel import rows
from readmodel.model import open_model
from readmodel.reader import DatabaseReader
from schemas import catalogue
from schemas import topology as t
from schemas.codec.parties import seal as seal_parties
from schemas.codec.written import WrittenSchemas
from schemas.registry import setup as schema_setup
from schemas.topology import EVENTS
from tests.auditor.wire import sha256
from tests.processors.payments.clean_history import AMOUNT, SOURCE
from tests.processors.replay.world import VERIFIER_KEY, World, rules_of

PUBLISHED = (t.CONTROL, t.EVENTS, t.OUTCOMES, t.OPERATOR_COMMANDS)
TOPICS = (*PUBLISHED, t.CHECKPOINTS)


@lru_cache
def fingerprints() -> dict[int, str]:
    """Schema ids as every world registers them."""
    world = World()
    return schema_setup.register_all(world.registry, catalogue.load()).fingerprints()


def keyring(key: Any = VERIFIER_KEY) -> Keyring:
    """The verifier's key, and its statement about every schema id."""
    ring = Keyring()
    ring.add(key.public, 0)
    ring.state_schemas(key, fingerprints())
    return ring


class TestLog:
    """An EvidenceLog over a MemoryLog."""

    __test__ = False

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def at(self, topic: str, partition: int, offsets: Sequence[int]) -> Mapping[int, LogRecord]:
        found = self.log.read(topic, {partition: (0, 10**9)})
        return {each.offset: each for each in found if each.offset in set(offsets)}

    def control(self) -> Sequence[LogRecord]:
        return self.log.records.get((t.CONTROL, 0), [])

    def later(self, topic: str, partition: int, key: bytes, start: int) -> Later:
        found = list(self.log.read(topic, {partition: (start, 10**9)}))
        end = self.log.ends([(topic, partition)])[topic, partition]
        return Later([(r.offset, r.value or b"") for r in found if r.key == key], end, end)


class Harness:
    """A world, its log with a checkpoint for each call of `checkpoint`, and a read model of it."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.world = World()
        self.log = MemoryLog({})
        self.ring = keyring()
        self._taken: dict[TopicPartition, int] = {}
        self._last: dict[int, Sealed] = {}
        self._touched: dict[int, Range] = {}
        self._to: dict[int, int] = {}
        self._to_outcome = -1
        self._unsigned: list[LogRecord] = []
        self.model = open_model(url or f"sqlite:///{folder}")
        self.writer = self.model.writer()
        self.reader: DatabaseReader = self.model.reader()
        codec = self.world.codec
        self._projection = Projection(codec, lookups_of(self.writer), rules_of, lambda *_: None)
        self.packs = PackService(
            reader=self.reader,
            codec=codec,
            schemas=WrittenSchemas(fingerprints()),
            keyring=lambda: self.ring,
            log=TestLog(self.log),
        )

    def close(self) -> None:
        self.reader.close()
        self.writer.close()

    def publish(self) -> None:
        """Copy everything that the world has written since to the log."""
        for topic in PUBLISHED:
            for record in self.world.driver.committed(topic):
                place = (topic, record.partition)
                if record.offset < self._taken.get(place, 0):
                    continue
                self._taken[place] = record.offset + 1
                self.log.records.setdefault((topic, record.partition), []).append(record)
                if topic == EVENTS:
                    self._unsigned.append(record)
                elif topic == t.OUTCOMES:
                    self._answer(record)

    def _take(self) -> None:
        """As the verifier collects the events of the next checkpoints, under the
        current rulings.
        """
        for record in self._unsigned:
            ruled = self.world.control.dispositions.of(
                record.partition, record.offset, record.value
            )
            self._to[record.partition] = record.offset
            if ruled is not None:
                touched = self._touched.setdefault(record.partition, Range())
                payment = ruled.request.payment_intent_id
                touched.rule(payment, ruled.request_hash, ruled.ruled_at)
            if ruled is None or ruled.ruling != FOREIGN:
                self._touch(record)
        self._unsigned.clear()

    def _touch(self, record: LogRecord) -> None:
        header = self.world.codec.decode(EVENTS, record.value).header
        touched = self._touched.setdefault(record.partition, Range())
        touched.touch(header.payment_intent_id, header.sequence, sha256(record.value or b""))

    def _answer(self, record: LogRecord) -> None:
        outcome = self.world.codec.decode(t.OUTCOMES, record.value)
        self._to_outcome = record.offset
        if outcome.cause.topic == t.OPERATOR_COMMANDS and outcome.result != "MISROUTED":
            touched = self._touched.setdefault(outcome.cause.partition, Range())
            touched.answer(outcome.payment_intent_id, sha256(record.value or b""))

    def checkpoint(self, key: Any = VERIFIER_KEY) -> None:
        """Sign the new events of every partition."""
        self.publish()
        self._take()
        for partition, touched in self._touched.items():
            if len(touched):
                before = self._last.get(partition)
                end = End(self._to.get(partition, -1), self._to_outcome)
                draft = build(partition, before, touched, end, 1_000, key.key_id)
                sealed = seal(draft, key, lambda each: self.world.codec.encode(t.CHECKPOINTS, each))
                self._last[partition] = sealed
                self.log.append(t.CHECKPOINTS, partition, b"", sealed.raw)
                touched.clear()

    def checkpoint_among(self, others: Sequence[LeafData]) -> None:
        """As `checkpoint`, with other payments in every range."""
        self.publish()
        self._take()
        for touched in self._touched.values():
            for leaf in others:
                touched.touch(leaf.payment_intent_id, leaf.sequence, leaf.hash)
        self.checkpoint()

    def project(self) -> None:
        """Fold what the read model does not have yet."""
        self.publish()
        known = self.writer.offsets()
        read: dict[TopicPartition, list[LogRecord]] = {}
        moved = []
        for (topic, partition), records in self.log.records.items():
            before = known.get((topic, partition), 0)
            new = [each for each in records if each.offset >= before]
            if topic in TOPICS and new:
                read[topic, partition] = new
                moved.append(
                    rows.Moved(
                        topic=topic, partition=partition, before=before, after=new[-1].offset + 1
                    )
                )
        self._projection.follow_rulings(read.get((t.CONTROL, 0), []))
        if self._projection.rulings.due():
            self.writer.apply(self._projection.take_out()[0])
        batch, _ = self._projection.batch(read)
        batch.moved = moved
        self.writer.apply(batch)

    def all(self) -> None:
        """Sign, then fold."""
        self.checkpoint()
        self.project()

    def create(self, key: str, debtor: str, remittance: str) -> str:
        """A payment with this text."""
        payment = payment_intent_id(SOURCE, key)
        parties = Parties(
            debtor=Party(name=debtor, bsb="062000", account="12345678"),
            creditor=Party(name="Ben", bsb="082001", account="87654321"),
            remittance=remittance,
        )
        self.world.give(
            t.COMMANDS,
            c.CreatePayment(
                header=self.world.header(payment),
                source=SOURCE,
                idempotency_key=key,
                amount=Cents(AMOUNT),
                currency="AUD",
                parties=seal_parties(parties),
                end_to_end_id="E2E",
                service="sct",
                customer_id="customer-7",
            ),
        )
        return payment
