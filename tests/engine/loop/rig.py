"""The real loop over an in-memory Kafka: the test controls what its client fetches, pauses and
reports.

Partitions hold records by offset; transactions commit at once. A `stalled` partition is silently
not fetched; for a `broken` one the client reports an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import engine.loop.loop
from engine.clients.partition_errors import PartitionErrors
from engine.errors import PartitionError
from engine.loop.loop import Loop
from engine.loop.transaction import Status
from engine.loop.watch import Health
from engine.metrics import EngineMetrics
from engine.ports import TopicPartition
from engine.settings import EngineSettings
from engine.store.states import PartitionStates
from tests.clock import HeldClock
from tests.engine.store.memory import MemoryPartitionStore
from tests.engine.toy import Toy, ToyControl

START_MS = 1_767_225_600_000
STEP_MS = 200
FETCHED = 300  # records of one partition in one poll


class Message:
    """A record as the client returns it."""

    def __init__(
        self, name: TopicPartition, offset: int, key: bytes, value: bytes, now_ms: int
    ) -> None:
        self._name, self._offset, self._key, self._value = name, offset, key, value
        self._now_ms = now_ms

    def topic(self) -> str:
        return self._name[0]

    def partition(self) -> int:
        return self._name[1]

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 2, self._now_ms


class Log:
    """Records by partition; a marker takes an offset and is never delivered."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[tuple[bytes, bytes] | None]] = {}

    def append(self, name: TopicPartition, key: bytes, *values: bytes) -> None:
        self.records.setdefault(name, []).extend((key, value) for value in values)

    def mark(self, name: TopicPartition) -> None:
        """Append a transaction's marker."""
        self.records.setdefault(name, []).append(None)

    def end(self, name: TopicPartition) -> int:
        return len(self.records.get(name, ()))

    def ask(
        self, names: Sequence[TopicPartition]
    ) -> Callable[[], Mapping[TopicPartition, int] | None]:
        requested = {name: self.end(name) for name in names}
        return lambda: requested


class FakeConsumer:
    """See engine.loop.consumer.GroupConsumer."""

    def __init__(
        self, settings: Any, name: str, inputs: Sequence[str], clock: HeldClock,
        errors: PartitionErrors,
    ) -> None:  # fmt: skip
        self.errors = errors.of(name)
        self.epoch = self.rebalances = 0
        self.log = Log()
        self.clock = clock
        self.position: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()
        self.stalled: set[TopicPartition] = set()
        self.broken: set[TopicPartition] = set()
        self.tries = 0  # reads of broken partitions
        self.at_end: set[TopicPartition] = set()  # whose end was reported
        self._assigned: list[TopicPartition] | None = None

    def take_assigned(self) -> list[TopicPartition] | None:
        assigned, self._assigned = self._assigned, None
        return assigned

    def give_back(self, assigned: list[TopicPartition]) -> None:
        self._assigned = assigned

    def fetch_nothing(self) -> None:
        self.position = {}

    def fetch_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.errors.forget()
        self.position = dict(offsets)
        self.paused.clear()
        self.at_end.clear()

    def pause(self, names: Iterable[TopicPartition]) -> None:
        self.paused.update(names)

    def resume(self, names: Iterable[TopicPartition]) -> None:
        self.paused.difference_update(names)
        self.at_end.difference_update(names)  # the client reports it again

    def poll(self, count: int, wait_s: float) -> tuple[list[Message], dict[TopicPartition, int]]:
        self.clock.advance(STEP_MS)
        given: list[Message] = []
        ends: dict[TopicPartition, int] = {}
        for name in sorted(self.position):
            if name in self.paused or name in self.stalled:
                continue
            at, end = self.position[name], self.log.end(name)
            if name in self.broken and at < end:
                self.tries += 1
                self.errors.note(PartitionError(*name, at, "_BAD_COMPRESSION", "words", True))
                continue
            taken = self.log.records.get(name, [])[at : at + min(FETCHED, count - len(given))]
            for offset, record in enumerate(taken, at):
                if record is not None:
                    given.append(Message(name, offset, *record, self.clock.now_ms()))
            self.position[name] = at + len(taken)
            if taken:
                self.errors.given({name: self.position[name]})
                self.at_end.discard(name)
            if self.position[name] == end and name not in self.at_end:
                self.at_end.add(name)
                ends[name] = end
        return given, ends

    def metadata_for_commit(self) -> bytes:
        return b""


class FakeProducer:
    """See engine.loop.transaction.TransactionalProducer: every transaction commits."""

    def __init__(self, *_: Any) -> None:
        self.status = Status.READY
        self.committed: dict[TopicPartition, int] = {}
        self.outputs: list[Any] = []

    def begin(self) -> None:
        return None

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: bytes) -> None:
        self.committed.update(offsets)

    def produce(self, outputs: Sequence[Any], last_kept: Any) -> None:
        self.outputs.extend(outputs)

    def commit(self) -> None:
        return None

    def acknowledged(self) -> dict[TopicPartition, int]:
        return {}


class FakeStore:
    """See engine.store.store.Store: the rig's partitions have stores of their own."""

    def __init__(self, *_: Any) -> None:
        return None

    def memory_bytes(self) -> int:
        return 0


class FakeAssignmentSetup:
    """See engine.loop.assignment_setup: takes assigned partitions from their committed offsets."""

    epoch = 0
    blocked: Exception | None = None

    def __init__(self, app: Toy, *_: Any) -> None:
        self._app = app

    def released(self) -> None:
        return None

    def take(
        self,
        assigned: Sequence[TopicPartition],
        consumer: FakeConsumer,
        control: Any,
        producer: FakeProducer,
    ) -> tuple[dict[int, PartitionStates], dict[TopicPartition, int]]:
        if self.blocked is not None:
            raise self.blocked
        states = {
            number: PartitionStates(self._app, number, MemoryPartitionStore())
            for number in {number for _, number in assigned}
        }
        offsets = {name: producer.committed.get(name, 0) for name in assigned}
        consumer.fetch_from(offsets)
        return states, offsets


class FakeEnds:
    """See engine.clients.reader.LogEnds; `log` is the rig's."""

    log: Log

    def __init__(self, *_: Any) -> None:
        return None

    def cluster_id(self) -> str:
        return "cluster"

    def ask_stable(
        self, names: Sequence[TopicPartition]
    ) -> Callable[[], Mapping[TopicPartition, int] | None]:
        return self.log.ask(names)

    ask_high = ask_stable


class FakeControl:
    """See engine.clients.control_reader.ControlReader."""

    def __init__(self, *_: Any) -> None:
        return None

    def drain(self, state: ToyControl) -> None:
        return None

    def stopped(self, state: ToyControl) -> str | None:
        return state.stopped()


class Rig:
    """A loop that serves partitions 0 and 1 of the toy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, partitions: int = 2) -> None:
        for name, fake in (
            ("GroupConsumer", FakeConsumer), ("TransactionalProducer", FakeProducer),
            ("AssignmentSetup", FakeAssignmentSetup), ("LogEnds", FakeEnds),
            ("ControlReader", FakeControl),
            ("Store", FakeStore),
        ):  # fmt: skip
            monkeypatch.setattr(engine.loop.loop, name, fake)
        self.clock = HeldClock(START_MS)
        self.app = Toy(partitions)
        self.control = ToyControl()
        self.health = Health(self.clock)
        self.registry = CollectorRegistry()
        settings = EngineSettings(connection={}, instance_id="i", data_dir=folder)
        self.loop = Loop(
            self.app, self.control, settings, self.clock, EngineMetrics(self.registry), self.health,
            lambda *_: None,
        )  # fmt: skip
        self.consumer: FakeConsumer = self.loop._consumer  # type: ignore[assignment]
        self.producer: FakeProducer = self.loop._producer  # type: ignore[assignment]
        self.setup: FakeAssignmentSetup = self.loop._setup  # type: ignore[assignment]
        self.log = FakeEnds.log = self.consumer.log
        self.names = [(t, n) for t in self.app.topology.inputs for n in range(partitions)]
        self.consumer.give_back(self.names)
        self.steps(1)

    def steps(self, count: int) -> None:
        """That many turns. Raises what the loop raises."""
        for _ in range(count):
            self.loop._step()

    def seconds(self, seconds: float) -> None:
        """Turns until that much time has passed."""
        until_s = self.clock.monotonic_s() + seconds
        while self.clock.monotonic_s() < until_s:
            self.loop._step()

    def left(self, name: TopicPartition) -> int:
        """The offsets of a partition that are not decided."""
        return self.log.end(name) - self.loop._positions[name]
