"""Follows the control topic without a group: to its end before the first batch, then every second.

A thread reads; the loop drains what was read and applies it to the application's ControlState in
its own thread. Control that could not be read for UNREADABLE_S_MAX counts as STOP.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from engine.clients.partition_errors import PartitionErrors
from engine.clients.reader import LogEnds, PartitionReader
from engine.clock import Clock
from engine.errors import EngineError, Exit
from engine.ports import ControlState

UNREADABLE_S_MAX: Final = 5.0
INTERVAL_S: Final = 1.0
READ_COUNT: Final = 1_000
READ_WAIT_S: Final = 0.05
FIRST_READ_S_MAX: Final = 60.0
PASS_S_MAX: Final = 4.0
UNREADABLE: Final = "control topic unreadable"
READER: Final = "control"


class ControlReader:
    """The control topic's records in order, and whether they are fresh."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        topic: str,
        clock: Clock,
        errors: PartitionErrors | None = None,
    ) -> None:
        """`errors`: of the process, for the client's errors for the topic's partition."""
        self._errors = (errors or PartitionErrors(clock)).of(READER)
        self._connection = connection
        self._topic = topic
        self._clock = clock
        self._ends = LogEnds(connection, clock)
        self._position = 0
        self._records: deque[tuple[int, bytes, int]] = deque()
        self._fresh_s = float("-inf")
        self._passes = 0
        self._failure: Exit | None = None
        self._wanted = threading.Event()
        self._done = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="npp-control", daemon=True)

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def drain(self, state: ControlState) -> None:
        """Apply what was read since the last call. Raises Exit when reading is not allowed."""
        if self._failure is not None:
            raise self._failure
        records = self._records
        for _ in range(len(records)):
            state.apply(*records.popleft())

    def read_to_end(self, state: ControlState) -> bool:
        """Run a complete pass from now; False if it could not finish within FIRST_READ_S_MAX."""
        with self._done:
            wanted = self._passes + 2  # a running pass may have captured an earlier end
            self._wanted.set()
            deadline_s = self._clock.monotonic_s() + FIRST_READ_S_MAX
            while self._passes < wanted and self._failure is None:
                left_s = deadline_s - self._clock.monotonic_s()
                if left_s <= 0:
                    return False
                self._wanted.set()
                self._done.wait(min(left_s, 0.1))
        self.drain(state)
        return True

    def unreadable_s(self) -> float:
        """Seconds since the last complete pass."""
        return self._clock.monotonic_s() - self._fresh_s

    def stopped(self, state: ControlState) -> str | None:
        """Why processing is stopped, or None."""
        if self.unreadable_s() > UNREADABLE_S_MAX:
            return ": ".join([UNREADABLE, *map(str, self._errors.all()[:1])])
        return state.stopped()

    def close(self) -> None:
        """Stop following; bounded by one pass."""
        self._stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(PASS_S_MAX + INTERVAL_S)

    def _run(self) -> None:
        reader: PartitionReader | None = None
        while not self._stopping:
            started_s = self._clock.monotonic_s()
            try:
                reader = reader or PartitionReader(
                    self._connection, self._topic, {0: self._position}, errors=self._errors
                )
                complete = self._pass(reader)
            except Exit as error:
                self._failure = error
                complete = False
            except EngineError:
                complete = False
            if complete:
                self._fresh_s = started_s
            with self._done:
                self._passes += complete
                self._done.notify_all()
            self._wanted.wait(INTERVAL_S)
            self._wanted.clear()
        if reader is not None:
            reader.close()

    def _pass(self, reader: PartitionReader) -> bool:
        """Read up to the current end; True if it was reached."""
        target = self._ends.stable_once([(self._topic, 0)])[self._topic, 0]
        deadline_s = self._clock.monotonic_s() + PASS_S_MAX
        while True:
            # At least once: otherwise the client's own events pile up in its queue.
            wait_s = READ_WAIT_S if self._position < target else 0.0
            batches, ends = reader.read(READ_COUNT, wait_s)
            for record in batches.get(0, ()):
                if record.value is not None:
                    self._records.append((record.offset, record.value, record.timestamp_ms))
                self._position = record.offset + 1
            self._position = max(self._position, ends.get(0, 0))
            if self._position >= target:
                return True
            if self._clock.monotonic_s() > deadline_s:
                return False
