"""Runs an application without a broker: the same batch, decision and timer code over an in-memory
log.

The log keeps Kafka's promise and no more: a transaction's records and offsets become visible
together. A test pipes records in, moves the clock, crashes the process at any named step, restarts
it and reads what is committed.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from engine.errors import Abort, Exit
from engine.loop.batch import BatchRun, in_decision_order
from engine.loop.timer_gate import Ends, TimerGate
from engine.partitioner import partition_of
from engine.ports import Application, ControlState, Headers, InputRecord
from engine.records import LogRecord
from engine.store.states import PartitionStates
from tests.clock import HeldClock
from tests.engine.store.memory import MemoryPartitionStore

# Turns per call of `run`; a toy or a payment comes to rest within dozens.
TURNS_MAX: Final = 100_000
START_MS: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HELD_RETRY_MS: Final = 1_000


class Crashed(Exception):
    """The process ended at a named step; `restart` continues from what is committed."""


class Driver:
    """One instance of an application with its log and its clock."""

    def __init__(
        self,
        application: Callable[[], Application],
        control: ControlState | None = None,
        *,
        start_ms: int = START_MS,
        batch_count: int = 500,
        seed: int | None = None,
        topic_bytes_max: Callable[[str], int] | None = None,
    ) -> None:
        """`application` is called at every (re)start. With `seed`, each batch size is drawn at
        random. A record of more than `topic_bytes_max(topic)` bytes is refused, as by Kafka.
        """
        self.clock = HeldClock(start_ms)
        self._application = application
        self._control = control
        self._batch_count = batch_count
        self._topic_bytes_max = topic_bytes_max
        self._random = random.Random(seed) if seed is not None else None
        self._log: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
        self._committed: dict[tuple[str, int], int] = defaultdict(int)
        self._stores: dict[int, MemoryPartitionStore] = {}
        self._taken: dict[tuple[str, int], int] = defaultdict(int)
        self._crash_point: tuple[str, int] | None = None
        self._blocked: dict[int, list[InputRecord]] = {}
        self._held_until_ms = 0
        self.transactions = 0
        self.restart()

    # -- what a test does --------------------------------------------------------------------------

    def pipe(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> LogRecord:
        """Append one input record, partitioned as the Java client would unless stated otherwise."""
        if partition is None:
            partition = partition_of(key or b"", self.app.topology.partitions)
        return self._append(topic, partition, key, value, headers or [], timestamp_ms)

    def pipe_control(self, value: bytes) -> None:
        """Append one control record; the application's ControlState gets it at the next batch
        boundary.
        """
        topic = self.app.topology.control
        record = self._append(topic, 0, None, value, [], None)
        if self._control is not None:
            self._control.apply(record.offset, value, record.timestamp_ms)

    def run(self) -> int:
        """Work until nothing is due; return the number of inputs decided. Raises Crashed."""
        decided = 0
        for _ in range(TURNS_MAX):
            if self._control is not None and self._control.stopped():
                return decided
            count = self.step()
            if count < 0:
                return decided
            decided += count
        raise AssertionError(f"still not at rest after {TURNS_MAX} turns")

    def advance(self, milliseconds: int) -> int:
        """Move the clock, then run."""
        self.clock.advance(milliseconds)
        return self.run()

    def crash_at(self, point: str, nth: int = 1) -> None:
        """Crash when the step is reached for the nth time from now (see ports.CrashPoint)."""
        self._crash_point = (point, nth)

    def restart(self) -> None:
        """A new process: memory is lost, the store is as the last process left it, the log is the
        truth.
        """
        self.app = self._application()
        self._crash_point = None
        self._blocked = {}
        topology = self.app.topology
        self._states = {n: self._restore(n) for n in range(topology.partitions)}
        self._gate = TimerGate(topology.read_before_timers, self._ask_ends)
        self._positions = {
            (t, n): self._committed[t, n]
            for t in topology.inputs
            for n in range(topology.partitions)
        }

    def lose_disk(self) -> None:
        """Delete the store's folder; takes effect at the next restart."""
        self._stores.clear()

    def committed(self, topic: str) -> list[LogRecord]:
        """Every record of a topic, partition by partition."""
        return [r for t, n in sorted(self._log) if t == topic for r in self._log[t, n]]

    def take(self, topic: str) -> list[LogRecord]:
        """The records appended to a topic since its last `take`."""
        found = []
        for name in sorted(self._log):
            if name[0] == topic:
                found += self._log[name][self._taken[name] :]
                self._taken[name] = len(self._log[name])
        return found

    def state(self, key: str) -> object | None:
        """The application's current state of a key."""
        partition = partition_of(key.encode(), self.app.topology.partitions)
        return self._states[partition].get(key)

    def topics(self) -> list[str]:
        """The topics that hold records."""
        return sorted({topic for (topic, _), records in self._log.items() if records})

    def next_due_ms(self) -> int | None:
        """When the earliest timer is due, or None."""
        due = [at for s in self._states.values() if (at := s.timers.next_due_ms()) is not None]
        return min(due, default=None)

    # -- one turn, in the loop's order -------------------------------------------------------------

    def step(self) -> int:
        """One batch and one transaction. Returns the number of inputs decided, or -1 if nothing was
        due.
        """
        polled = self._poll()
        self._crash("after_poll")
        return self._step(in_decision_order(polled, self.app.topology.inputs), None)

    def _step(self, records: list[InputRecord], refused: Abort | None) -> int:
        run = BatchRun(self.app, self._states)
        run.decide(records, refused)
        self._add_timers(run)
        self._crash("after_decide")
        if too_large := self._refused(run):
            run.dropped()
            return self._step_again(records, refused, too_large)
        for number, blocked in run.blocked.items():
            self._blocked[number] = blocked
            self._held_until_ms = self.clock.now_ms() + HELD_RETRY_MS
        if run.is_empty():
            return -1
        self._crash("after_send_offsets")
        run.overlay.find_last_kept()
        self._crash("after_produce")
        self._crash("before_commit")
        acknowledged = self._commit(run)
        self._crash("commit_sent")
        self._crash("after_commit")
        run.applied(acknowledged, self.clock.now_ms())
        self._positions.update(run.next_offsets)
        return len(run.next_offsets and records)

    def _step_again(self, records: list[InputRecord], before: Abort | None, refused: Abort) -> int:
        """As the loop does it: record by record, and the fallback for a record that is refused
        alone.
        """
        if len(records) > 1:
            decided = 0
            for record in records:
                if record.partition in self._blocked:
                    self._blocked[record.partition].append(record)
                else:
                    decided += max(0, self._step([record], None))
            return decided
        if before is not None or not records:
            raise Exit("CANNOT_PRODUCE", refused.detail)
        return self._step(records, refused)

    def _refused(self, run: BatchRun) -> Abort | None:
        """Kafka's error for the first record that its topic refuses, or None."""
        if self._topic_bytes_max is None:
            return None
        for topic, value, key, _, headers in run.overlay.outputs:
            size = len(value or b"") + len(key or b"")
            size += sum(len(name.encode()) + len(content or b"") for name, content in headers or ())
            if size > self._topic_bytes_max(topic):
                return Abort("MSG_SIZE_TOO_LARGE", f"{topic}: {size} bytes", by_content=True)
        return None

    def _poll(self) -> list[InputRecord]:
        """Up to a batch of unread inputs; blocked partitions wait."""
        now_ms = self.clock.now_ms()
        count = self._batch_count
        if self._random is not None:
            count = self._random.randint(1, self._batch_count)
        polled: list[InputRecord] = []
        if self._blocked and now_ms >= self._held_until_ms:
            blocked, self._blocked = self._blocked, {}
            return [record for records in blocked.values() for record in records]
        for (topic, number), position in self._positions.items():
            if number in self._blocked:
                continue
            unread = self._log[topic, number][position : position + count - len(polled)]
            polled.extend(_input(r, now_ms) for r in unread)
        return polled

    def _add_timers(self, run: BatchRun) -> None:
        now_ms = self.clock.now_ms()
        due = {
            n: at
            for n, s in self._states.items()
            if (at := s.timers.next_due_ms()) is not None
            and at <= now_ms
            and n not in self._blocked
        }
        for number, until_ms in self._gate.open_for(due, self._positions, now_ms).items():
            run.add_timers(number, until_ms)

    def _commit(self, run: BatchRun) -> dict[tuple[str, int], int]:
        self.transactions += 1
        acknowledged = {}
        kept = {index: name for name, index in run.overlay.last_kept.items()}
        for index, (topic, value, key, number, headers) in enumerate(run.overlay.outputs):
            record = self._append(topic, number, key, value, headers or [], None)
            if index in kept:
                acknowledged[kept[index]] = record.offset
        self._committed.update(run.next_offsets)
        return acknowledged

    def _restore(self, number: int) -> PartitionStates:
        store = self._stores.setdefault(number, MemoryPartitionStore())
        states = PartitionStates(self.app, number, store)
        states.load_open()
        records = self._log[self.app.topology.state, number][states.state_offset :]
        pairs = [(r.key.decode(), r.value) for r in records if r.key and r.value is not None]
        if records:
            states.load(pairs, records[-1].offset + 1, self.clock.now_ms())
        return states

    def _append(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
    ) -> LogRecord:
        records = self._log[topic, number]
        at_ms = self.clock.now_ms() if timestamp_ms is None else timestamp_ms
        record = LogRecord(topic, number, len(records), at_ms, key, value, headers)
        records.append(record)
        return record

    def _ask_ends(self, partitions: Sequence[tuple[str, int]]) -> Callable[[], Ends | None]:
        ends: Mapping[tuple[str, int], int] = {name: len(self._log[name]) for name in partitions}
        return lambda: ends

    def _crash(self, point: str) -> None:
        if self._crash_point is None or self._crash_point[0] != point:
            return
        nth = self._crash_point[1]
        self._crash_point = (point, nth - 1) if nth > 1 else None
        if nth == 1:
            raise Crashed(point)


def _input(r: LogRecord, now_ms: int) -> InputRecord:
    return InputRecord(
        r.topic, r.partition, r.offset, r.timestamp_ms, r.key, r.value, list(r.headers), now_ms
    )
