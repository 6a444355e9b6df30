"""A clock that moves only when it is set."""

from __future__ import annotations

from engine.clock import MS_PER_S


class HeldClock:
    """For the driver and tests."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / MS_PER_S

    def sleep(self, seconds: float) -> None:
        self._now_ms += int(seconds * MS_PER_S)

    def advance(self, milliseconds: int) -> None:
        """Move forward; a held clock never goes back."""
        if milliseconds < 0:
            raise ValueError("the held clock only moves forward")
        self._now_ms += milliseconds
