"""The only module that reads the clock. Everything else receives a Clock."""

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
        """Seconds that never decrease; only differences are meaningful."""

    def sleep(self, seconds: float) -> None:
        """Wait; used only in loops with a deadline."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // NS_PER_MS

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
