"""Finds records by topic, partition and offset, for who reads what others' records name.

One client without a group follows every partition that it was asked for, since the offsets asked
for mostly rise. What was read ahead is kept, within a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.reader import READING, LogEnds
from engine.clock import Clock
from engine.errors import Exit, Step, call, check_message_error, is_end_of_partition
from engine.records import LogRecord, to_log_record

Place = tuple[str, int, int]  # topic, partition, offset

READ_COUNT: Final = 5_000
READ_WAIT_S: Final = 0.02
AHEAD_MAX: Final = 50_000  # records kept of all partitions; then those not needed are paused
STUCK_S: Final = 60.0


class RecordLookup:
    """Committed records at places. Not for two threads."""

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
        self._next: dict[tuple[str, int], int] = {}  # where each partition is read on
        self._ahead: dict[tuple[str, int], deque[LogRecord]] = {}
        self._paused: set[tuple[str, int]] = set()

    def at(self, places: Iterable[Place]) -> dict[Place, LogRecord]:
        """The records at these places; one that is not there is missing.

        Raises Exit READ_STUCK when one that must be there does not come.
        """
        wanted: dict[tuple[str, int], list[int]] = {}
        for topic, partition, offset in sorted(set(places)):
            if offset >= 0:
                wanted.setdefault((topic, partition), []).append(offset)
        found: dict[Place, LogRecord] = {}
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
                raise Exit("READ_STUCK", f"{name[0]}[{name[1]}]@{offsets[0]} does not come")
        return found

    def close(self) -> None:
        """Give the client back."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _go_to(self, name: tuple[str, int], offset: int) -> None:
        """Be sure that the partition is read from `offset` on, at the latest."""
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
        self, open_ones: dict[tuple[str, int], deque[int]], found: dict[Place, LogRecord]
    ) -> None:
        for name in list(open_ones):
            offsets, ahead = open_ones[name], self._ahead[name]
            while offsets:
                while ahead and ahead[0].offset < offsets[0]:
                    ahead.popleft()
                if ahead and ahead[0].offset == offsets[0]:
                    found[(*name, offsets.popleft())] = ahead[0]
                elif ahead or self._next[name] > offsets[0]:
                    offsets.popleft()  # a marker is there, or nothing
                else:
                    break
            if not offsets:
                del open_ones[name]

    def _read(self, open_ones: Mapping[tuple[str, int], deque[int]]) -> bool:
        assert self._consumer is not None
        messages = call(Step.READ, self._consumer.consume, READ_COUNT, READ_WAIT_S)
        moved = False
        for message in messages:
            error = message.error()
            if error is not None:
                if is_end_of_partition(error):
                    name = (message.topic() or "", int(message.partition() or 0))
                    self._next[name] = max(self._next.get(name, 0), int(message.offset() or 0))
                    moved = moved or name in open_ones
                else:
                    check_message_error(message)
                continue
            record = to_log_record(message)
            name = (record.topic, record.partition)
            if name in self._ahead and record.offset >= self._next[name]:
                self._ahead[name].append(record)
                self._next[name] = record.offset + 1
                moved = moved or name in open_ones
        return moved

    def _pause_others(self, open_ones: Mapping[tuple[str, int], deque[int]]) -> None:
        """Read on what is needed alone, when much was read ahead of it."""
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

    def _drop_absent(self, open_ones: dict[tuple[str, int], deque[int]]) -> None:
        """Forget offsets that are not on the log (any more): a client cannot be put there."""
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
