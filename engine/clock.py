"""The only place that asks the clock. Everything else is given a Clock."""

from __future__ import annotations

import time
from typing import Final, Protocol

MS_PER_S: Final = 1000
NS_PER_MS: Final = 1_000_000


class Clock(Protocol):
    """Wall time for decisions, monotonic time for waiting."""

    def now_ms(self) -> int:
        """Epoch milliseconds (UTC)."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Wait; used only inside loops that are bounded by a deadline."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // NS_PER_MS

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class HeldClock:
    """A clock that moves only when it is set: for the driver and for tests."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / MS_PER_S

    def sleep(self, seconds: float) -> None:
        self._now_ms += int(seconds * MS_PER_S)

    def advance(self, milliseconds: int) -> None:
        """Move forward; a clock that is held never goes back."""
        if milliseconds < 0:
            raise ValueError("the held clock only moves forward")
        self._now_ms += milliseconds
