"""Reads partitions ahead of their handling, so that a handler knows that nothing newer is unread.

Before each submission the rail adapter must have read its partition up to an end at most 1 s old
(ruling 8): `wait_fresh` answers once that is so. Every record read goes to `observe`, in
order, in the reader's own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.clients.partition_errors import ReaderErrors
from engine.clients.reader import LogEnds, PartitionReader
from engine.clock import Clock
from engine.errors import EngineError, Exit
from engine.records import LogRecord

FRESH_S_MAX: Final = 1.0
CYCLE_S: Final = 0.25
READ_COUNT: Final = 5_000
READ_WAIT_S: Final = 0.02
PASS_S_MAX: Final = 10.0
WAIT_STEP_S: Final = 0.05


class LookaheadReader:
    """One topic; the partitions may change with every rebalance."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        topic: str,
        clock: Clock,
        observe: Callable[[LogRecord], None],
        errors: ReaderErrors,
    ) -> None:
        """`errors`: for unreadable partitions, which are then never fresh."""
        self._errors = errors
        self._connection = connection
        self._topic = topic
        self._clock = clock
        self._observe = observe
        self._ends = LogEnds(connection, clock)
        self._changed = threading.Condition()
        self._wanted: dict[int, int] = {}
        self._generation = 0
        self._fresh_s: dict[int, float] = {}
        self._failure: Exit | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="npp-lookahead", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def assign(self, start: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, and no others; nothing is fresh at first."""
        with self._changed:
            self._wanted = dict(start)
            self._generation += 1
            self._fresh_s = {}
            self._changed.notify_all()

    def wait_fresh(self, partition: int, wait_s: float) -> bool:
        """True once everything up to an end at most FRESH_S_MAX old has been observed; False after
        `wait_s`.

        Raises Exit when reading is not allowed.
        """
        deadline_s = self._clock.monotonic_s() + wait_s
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                now_s = self._clock.monotonic_s()
                if now_s - self._fresh_s.get(partition, float("-inf")) <= FRESH_S_MAX:
                    return True
                if now_s >= deadline_s:
                    return False
                self._changed.wait(WAIT_STEP_S)

    def close(self) -> None:
        """Stop reading; bounded by one pass."""
        self._stopping = True
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(PASS_S_MAX)

    def _run(self) -> None:
        reader: PartitionReader | None = None
        positions: dict[int, int] = {}
        generation = 0
        while not self._stopping:
            with self._changed:
                if generation != self._generation:
                    generation, positions = self._generation, dict(self._wanted)
                    if reader is not None:
                        reader.close()
                    reader = None
            try:
                if positions:
                    if reader is None:
                        positions = self._there(positions)
                        reader = PartitionReader(
                            self._connection, self._topic, positions, errors=self._errors
                        )
                    self._pass(reader, positions, generation)
            except Exit as error:
                self._failure = error
                return
            except EngineError:
                pass  # nothing becomes fresh: waiting handlers keep waiting
            with self._changed:
                if generation == self._generation:
                    self._changed.wait(CYCLE_S)
        if reader is not None:
            reader.close()

    def _there(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Where reading can start: deleted records are skipped, a shorter log is read again."""
        names = [(self._topic, n) for n in positions]
        low, high = self._ends.low(names), self._ends.high(names)
        return {
            n: low[self._topic, n] if at > high[self._topic, n] else max(at, low[self._topic, n])
            for n, at in positions.items()
        }

    def _pass(self, reader: PartitionReader, positions: dict[int, int], generation: int) -> None:
        """Read every partition up to its current end."""
        requested_s = self._clock.monotonic_s()
        ends = self._ends.high_once([(self._topic, n) for n in positions])
        left = {n for n, at in positions.items() if at < ends[self._topic, n]}
        self._note(set(positions) - left, requested_s, generation)
        # At least once: otherwise the client's own events pile up in its queue.
        self._read(reader, positions, READ_WAIT_S if left else 0.0)
        while not self._stopping and generation == self._generation:
            done = {n for n in left if positions[n] >= ends[self._topic, n]}
            self._note(done, requested_s, generation)
            left -= done
            if not left or self._clock.monotonic_s() - requested_s > PASS_S_MAX:
                return
            self._read(reader, positions, READ_WAIT_S)

    def _read(self, reader: PartitionReader, positions: dict[int, int], wait_s: float) -> None:
        batches, reached = reader.read(READ_COUNT, wait_s)
        for number, records in batches.items():
            for record in records:
                self._observe(record)
            positions[number] = records[-1].offset + 1
        for number, end in reached.items():
            positions[number] = max(positions[number], end)

    def _note(self, numbers: set[int], requested_s: float, generation: int) -> None:
        with self._changed:
            if numbers and generation == self._generation:
                self._fresh_s.update(dict.fromkeys(numbers, requested_s))
                self._changed.notify_all()
