"""Finds records by topic, partition and offset, for readers of records that refer to others.

One client without a group follows every requested partition, because requested offsets mostly rise.
Records read ahead are kept, within a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.assigned_reader import READING
from engine.clients.partition_errors import sort_messages
from engine.clients.reader import LogEnds
from engine.clock import Clock
from engine.errors import Exit, Step, call, check_message_error
from engine.ports import RecordPosition, TopicPartition
from engine.records import LogRecord, to_log_record

READ_COUNT: Final = 5_000
READ_WAIT_S: Final = 0.02
# records of about 1.5 KB kept for all partitions; beyond it, those not needed now are paused
AHEAD_MAX: Final = 20_000
STUCK_S: Final = 60.0


class RecordLookup:
    """Committed records by position. Not thread-safe."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock) -> None:
        self._config = {
            **connection,
            **READING,
            "isolation.level": "read_committed",
            "max.partition.fetch.bytes": 1024 * 1024,
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.wait.max.ms": 50,
        }
        self._clock = clock
        self._ends = LogEnds(connection, clock)
        self._consumer: Consumer | None = None
        self._next: dict[TopicPartition, int] = {}  # the next offset of each partition
        self._ahead: dict[TopicPartition, deque[LogRecord]] = {}
        self._paused: set[TopicPartition] = set()

    def at(self, places: Iterable[RecordPosition]) -> dict[RecordPosition, LogRecord]:
        """The records at these positions; absent ones are missing from the result.

        Raises Exit READ_STUCK if one that must exist does not arrive.
        """
        wanted: dict[TopicPartition, list[int]] = {}
        for topic, partition, offset in sorted(set(places)):
            if offset >= 0:
                wanted.setdefault((topic, partition), []).append(offset)
        found: dict[RecordPosition, LogRecord] = {}
        open_ones = {name: deque(offsets) for name, offsets in wanted.items()}
        self._drop_absent(open_ones)
        for name, offsets in open_ones.items():
            self._go_to(name, offsets[0])
        self._take(open_ones, found)
        moved_s = self._clock.monotonic_s()
        while open_ones:
            self._pause_others(open_ones)
            if self._read(open_ones):
                moved_s = self._clock.monotonic_s()
                self._take(open_ones, found)
            elif self._clock.monotonic_s() - moved_s > STUCK_S:
                name, offsets = next(iter(open_ones.items()))
                raise Exit("READ_STUCK", f"{name[0]}[{name[1]}]@{offsets[0]} does not arrive")
        return found

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _go_to(self, name: TopicPartition, offset: int) -> None:
        """Make sure that the partition is read from `offset` or before."""
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        ahead, position = self._ahead.get(name), self._next.get(name)
        first = ahead[0].offset if ahead else position
        if first is not None and position is not None and first <= offset:
            return
        place = ClientPartition(*name, offset)
        if position is not None:
            call(Step.READ, self._consumer.incremental_unassign, [place])
        call(Step.READ, self._consumer.incremental_assign, [place])
        self._paused.discard(name)
        self._next[name], self._ahead[name] = offset, deque()

    def _take(
        self, open_ones: dict[TopicPartition, deque[int]], found: dict[RecordPosition, LogRecord]
    ) -> None:
        for name in list(open_ones):
            offsets, ahead = open_ones[name], self._ahead[name]
            while offsets:
                while ahead and ahead[0].offset < offsets[0]:
                    ahead.popleft()
                if ahead and ahead[0].offset == offsets[0]:
                    found[(*name, offsets.popleft())] = ahead[0]
                elif ahead or self._next[name] > offsets[0]:
                    offsets.popleft()  # a transaction marker, or no record
                else:
                    break
            if not offsets:
                del open_ones[name]

    def _read(self, open_ones: Mapping[TopicPartition, deque[int]]) -> bool:
        assert self._consumer is not None
        messages = call(Step.READ, self._consumer.consume, READ_COUNT, READ_WAIT_S)
        moved = False
        records, ends = sort_messages(messages, check_message_error)
        for record in map(to_log_record, records):
            name = (record.topic, record.partition)
            if name in self._ahead and record.offset >= self._next[name]:
                self._ahead[name].append(record)
                self._next[name] = record.offset + 1
                moved = moved or name in open_ones
        for name, end in ends.items():
            self._next[name] = max(self._next.get(name, 0), end)
            moved = moved or name in open_ones
        return moved

    def _pause_others(self, open_ones: Mapping[TopicPartition, deque[int]]) -> None:
        """Pause all other partitions while too much was read ahead."""
        assert self._consumer is not None
        if back := [name for name in open_ones if name in self._paused]:
            call(Step.READ, self._consumer.resume, [ClientPartition(*name) for name in back])
            self._paused.difference_update(back)
        if sum(map(len, self._ahead.values())) < AHEAD_MAX:
            return
        others = [n for n in self._ahead if n not in open_ones and n not in self._paused]
        if others:
            call(Step.READ, self._consumer.pause, [ClientPartition(*name) for name in others])
            self._paused.update(others)

    def _drop_absent(self, open_ones: dict[TopicPartition, deque[int]]) -> None:
        """Drop offsets that are not on the log (any more): a client cannot seek to them."""
        if not open_ones:
            return
        ends, low = self._ends.stable(list(open_ones)), self._ends.low(list(open_ones))
        for name in list(open_ones):
            offsets = open_ones[name]
            while offsets and (offsets[-1] >= ends[name]):
                offsets.pop()
            while offsets and offsets[0] < low[name]:
                offsets.popleft()
            if not offsets:
                del open_ones[name]
