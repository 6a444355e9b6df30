"""How many records the next batch may take: small and quick when idle, large when there is a
backlog."""

from __future__ import annotations

from typing import Final

COUNT_MIN: Final = 500
COUNT_MAX: Final = 10_000
GROW_BELOW_MS: Final = 75.0
SHRINK_ABOVE_MS: Final = 100.0
BYTES_MAX: Final = 16 * 1024 * 1024
FEW: Final = COUNT_MIN // 2


class BatchSizer:
    """Grows by half while the queue is full and the batch quick; halves when it is slow or heavy.

    The two bounds are a step apart, so that a steady backlog settles between them.
    """

    def __init__(self) -> None:
        self.count = COUNT_MIN
        self._polled = 0

    def wait_s(self, longest_s: float) -> float:
        """How long the next poll may gather records. A steady trickle has gathered while the last
        batch was committed and goes on at once; a backlog, and a first record, are waited for.
        """
        return 0.0 if 0 < self._polled < FEW else longest_s

    def note(self, polled: int, polled_bytes: int, took_ms: float) -> None:
        """What the last batch was like."""
        self._polled = polled
        if took_ms > SHRINK_ABOVE_MS or polled_bytes > BYTES_MAX:
            self.count = max(COUNT_MIN, self.count // 2)
        elif polled >= self.count and took_ms < GROW_BELOW_MS:
            self.count = min(COUNT_MAX, self.count * 3 // 2)
