"""The control topic as the API sees it: a fold at most UNREADABLE_S_MAX old, or `Stopped`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from control.fold import Control
from engine.clients.control_reader import UNREADABLE_S_MAX, ControlReader
from engine.clock import Clock
from engine.errors import EngineError

POLL_S: Final = 0.05


class Stopped(Exception):
    """Processing is stopped, or the control topic cannot be read: no command is accepted. The
    message says why."""


class ControlFold:
    """Follows the control topic. A fold that `now` has returned never changes: new records go into
    a copy.
    """

    def __init__(self, reader: ControlReader, empty: Control, clock: Clock) -> None:
        self._reader = reader
        self._control = empty
        self._clock = clock
        self._applied = -1
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start following; `now` raises Stopped until the topic was read to its end once."""
        self._reader.start()

    def close(self) -> None:
        """Stop following."""
        self._reader.close()

    def unreadable(self) -> str | None:
        """Why the state of the control topic is not known, or None."""
        try:
            self._drain()
        except EngineError as error:
            return f"the control topic cannot be read: {error}"
        if self._reader.unreadable_s() > UNREADABLE_S_MAX:
            return f"the control topic could not be read for {UNREADABLE_S_MAX:.0f} s"
        return None

    def now(self) -> Control:
        """The current fold. Raises Stopped when it is not known."""
        why = self.unreadable()
        if why is not None:
            raise Stopped(f"Processing counts as stopped: {why}")
        return self._control

    def wait_for(self, offset: int, seconds: float) -> bool:
        """Wait until the record at `offset` is in the fold. False if it is not there within
        `seconds`, or if the control topic cannot be read.
        """
        until_s = self._clock.monotonic_s() + seconds
        while self._applied < offset:
            if self._clock.monotonic_s() >= until_s:
                return False
            self._clock.sleep(POLL_S)
            if self.unreadable() is not None:
                return False
        return True

    def _drain(self) -> None:
        with self._lock:
            records = Records()
            self._reader.drain(records)
            if not records.read:
                return
            fresh = self._control.copied()
            for each in records.read:
                fresh.apply(*each)
            self._control = fresh
            self._applied = records.read[-1][0]


class Records:
    """A ControlState that only collects the records that the reader delivers."""

    def __init__(self) -> None:
        self.read: list[tuple[int, bytes, int]] = []

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        self.read.append((offset, value, appended_at))

    def stopped(self) -> str | None:
        return None

    def ready(self) -> str | None:
        return None

    def added_inputs(self) -> Mapping[str, int]:
        return {}

    def recovered_at(self, partition: int) -> int:
        return 0

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        return {}
