"""How many records the next batch may take: small and quick when idle, large when there is a
backlog.
"""

from __future__ import annotations

from typing import Final

COUNT_MIN: Final = 500
COUNT_MAX: Final = 10_000
GROW_BELOW_MS: Final = 75.0
SHRINK_ABOVE_MS: Final = 100.0
BYTES_MAX: Final = 16 * 1024 * 1024
FEW: Final = COUNT_MIN // 2
# Fewer inputs touch few partitions: their transaction is cheap, and nothing is gained by waiting.
GATHERED_FROM: Final = 4


class BatchSizer:
    """Grows by half while the queue is full and the batch quick; halves when it is slow or heavy.

    The two bounds are a step apart, so that a steady backlog settles between them.
    """

    def __init__(self, interval_s: float = 0.0) -> None:
        """`interval_s`: at a steady rate, the minimum time between two transactions' starts."""
        self.count = COUNT_MIN
        self._interval_s = interval_s
        self._polled = 0
        self._polled_s = float("-inf")

    def wait_s(self, longest_s: float, now_s: float) -> float:
        """How long (seconds) the next poll may wait for records, by the size of the last batch:
        `longest_s` after none or at least FEW records. Fewer were committed while the next ones
        arrived: no wait below GATHERED_FROM records, otherwise until the interval is over.
        """
        if not 0 < self._polled < FEW:
            return longest_s
        if self._polled < GATHERED_FROM:
            return 0.0
        return max(0.0, self._polled_s + self._interval_s - now_s)

    def note(self, polled: int, polled_bytes: int, polled_s: float, took_ms: float) -> None:
        """Record the last batch: its size, when it was polled (monotonic seconds), its duration."""
        self._polled, self._polled_s = polled, polled_s
        if took_ms > SHRINK_ABOVE_MS or polled_bytes > BYTES_MAX:
            self.count = max(COUNT_MIN, self.count // 2)
        elif polled >= self.count and took_ms < GROW_BELOW_MS:
            self.count = min(COUNT_MAX, self.count * 3 // 2)
