"""A verifier over the log of a world: decisions of the product's own code, and a foreign writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from core.control_records import ProcessingStopped
from core.header import Cause
from core.records import Checkpoint
from engine.partitioner import partition_of
from engine.ports import RecordPosition
from engine.records import LogRecord
from evidence.keys import Keyring
from processors.verifier.metrics import VerifierMetrics
from processors.verifier.parked import is_parked
from processors.verifier.ports import Publication
from processors.verifier.process import Verifier
from processors.verifier.store import VerifierStore
from schemas import topology as t
from tests.clock import HeldClock
from tests.keys import key_from_seed
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.replay.world import World
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.rig import context_of

KEY = key_from_seed(b"k" * 32)
TOPICS = (*t.INPUTS, t.EVENTS, t.LIFECYCLE, t.OUTCOMES, t.QUARANTINE, t.CONTROL)


class WorldLog:
    """A VerifierLog over records in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[LogRecord]] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self.hidden: set[tuple[str, int]] = set()  # partitions whose end is not visible yet
        self.shown_to: dict[
            tuple[str, int], int
        ] = {}  # records from that offset on are not visible
        self.cut: dict[tuple[str, int], int] = {}  # a read ends there, by its count: at no end

    def log(self, topic: str, partition: int) -> list[LogRecord]:
        return self.records.setdefault((topic, partition), [])

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Any = None,
        at: int = 0,
    ) -> int:
        log = self.log(topic, partition)
        offset = log[-1].offset + 1 if log else 0
        log.append(LogRecord(topic, partition, offset, at, key, value, list(headers or [])))
        return offset

    def take(self) -> None:
        """There is no other verifier."""

    def partitions(self) -> int:
        return PARTITIONS

    def outcomes_partitions(self) -> int:
        return 1

    def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return {n: (0, self._end(topic, n)) for n in range(PARTITIONS)}

    def _end(self, topic: str, partition: int) -> int:
        log = self.log(topic, partition)
        return log[-1].offset + 1 if log else 0

    def checkpoints(self, starts: Mapping[int, int]) -> Mapping[int, Iterator[tuple[int, bytes]]]:
        return {
            n: iter([(r.offset, r.value or b"") for r in self.log(t.CHECKPOINTS, n)][start:])
            for n, start in starts.items()
        }

    def control(self, start: int) -> Sequence[tuple[int, bytes, int]]:
        log = self.log(t.CONTROL, 0)
        return [(r.offset, r.value or b"", r.timestamp_ms) for r in log if r.offset >= start]

    def follow(
        self, start: Mapping[int, int], outcomes: Mapping[int, int], lifecycle: Mapping[int, int]
    ) -> None:
        self._positions = {}
        for topic, places in (
            (t.EVENTS, start), (t.OUTCOMES, outcomes), (t.LIFECYCLE, lifecycle),
        ):  # fmt: skip
            self._positions.update({(topic, n): at for n, at in places.items()})

    def poll(self, wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        return self._poll(t.EVENTS)

    def poll_outcomes(self, wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        return self._poll(t.OUTCOMES)

    def poll_lifecycle(self, wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        return self._poll(t.LIFECYCLE)

    def _poll(self, topic: str) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        batches, ends = {}, {}
        for (name, number), position in list(self._positions.items()):
            if name != topic or (name, number) in self.hidden:
                continue
            cut = self.cut.get((name, number), 2**63)
            end = min(self._end(name, number), self.shown_to.get((name, number), 2**63), cut)
            new = [r for r in self.log(name, number) if position <= r.offset < end]
            if new:
                batches[number] = new
            self._positions[name, number] = end
            if end < cut:
                ends[number] = end
        return batches, ends

    def inputs(self, places: Iterable[RecordPosition]) -> Mapping[RecordPosition, LogRecord]:
        wanted = set(places)
        return {
            (topic, n, r.offset): r
            for (topic, n), records in self.records.items()
            for r in records
            if (topic, n, r.offset) in wanted
        }

    def parked(self, cause: Cause) -> bool:
        return any(is_parked(record, cause) for record in self.log(t.QUARANTINE, 0))

    def publish(self, records: Sequence[Publication]) -> list[int]:
        return [self.put(topic, n, key, value) for topic, n, key, value in records]

    def close(self) -> None:
        """Nothing to give back."""


class WorldRig:
    """A world, its log, and a verifier that is stepped by hand."""

    def __init__(self) -> None:
        self.world = World()
        self.log = WorldLog()
        self.store: VerifierStore = MemoryStore()
        self.clock = HeldClock(1_000_000)
        self.keyring = Keyring()
        self.keyring.add(KEY.public, 0)
        self._taken: dict[tuple[str, int], int] = {}
        self.copy()
        self.start()

    def copy(self) -> None:
        """Copy everything that the world has written since to the log."""
        for topic in TOPICS:
            for record in self.world.driver.committed(topic):
                place = (topic, record.partition)
                if record.offset >= self._taken.get(place, 0):
                    self._taken[place] = record.offset + 1
                    self.log.put(
                        topic,
                        record.partition,
                        record.key,
                        record.value,
                        record.headers,
                        record.timestamp_ms,
                    )

    def start(self, partitions: Sequence[int] | None = None) -> None:
        """A verifier with the current store, for these partitions or all."""
        self.registry = CollectorRegistry()
        self.verifier = Verifier(
            journal=self.log, codec=self.world.codec, store=self.store, key=KEY,
            keyring=self.keyring, clock=self.clock, metrics=VerifierMetrics(self.registry),
            partition_of=partition_of, partitions=partitions,
            context=context_of(self.world.codec, self.log, self.store),
        )  # fmt: skip
        self.verifier.open()

    def work(self, seconds: int = 10) -> None:
        """Follow the world for that long; sign on the way."""
        self.copy()
        for _ in range(seconds):
            self.verifier.step(0)
            self.clock.advance(1_000)
        self.verifier.step(0)
        self.verifier.sign_round()

    def stops(self) -> list[ProcessingStopped]:
        found = [self.world.codec.decode(t.CONTROL, r.value) for r in self.log.log(t.CONTROL, 0)]
        return [each for each in found if isinstance(each, ProcessingStopped)]

    def signed_to(self, partition: int) -> int:
        """The last journal offset that a checkpoint covers; -1 if there is none."""
        last = -1
        for record in self.log.log(t.CHECKPOINTS, partition):
            checkpoint = self.world.codec.decode(t.CHECKPOINTS, record.value)
            assert isinstance(checkpoint, Checkpoint)
            last = checkpoint.to_offset
        return last

    def whole(self) -> bool:
        """Whether every event is covered."""
        return all(self.signed_to(n) == self.log._end(t.EVENTS, n) - 1 for n in range(PARTITIONS))

    # -- the foreign writer ------------------------------------------------------------------------

    def partition(self, payment: str) -> int:
        return partition_of(payment.encode(), PARTITIONS)

    def last(self, payment: str) -> Any:
        """The payment's last event."""
        return self.world.codec.decode(t.EVENTS, self.values(payment)[-1])

    def values(self, payment: str) -> list[bytes]:
        log = self.log.log(t.EVENTS, self.partition(payment))
        return [r.value or b"" for r in log if r.key == payment.encode()]

    def header(self, payment: str, **changes: Any) -> dict[str, Any]:
        """A header that continues the payment's chain."""
        raw = self.values(payment)[-1]
        header = self.world.codec.decode(t.EVENTS, raw).header
        values = {name: getattr(header, name) for name in header.__struct_fields__}
        values |= {
            "sequence": header.sequence + 1,
            "previous_hash": hashlib.sha256(raw).digest(),
        }
        return values | changes

    def forge(self, payment: str, event: Any) -> int:
        """Append an event to the journal; return its offset."""
        raw = self.world.codec.encode(t.EVENTS, event)
        return self.log.put(t.EVENTS, self.partition(payment), payment.encode(), raw)
