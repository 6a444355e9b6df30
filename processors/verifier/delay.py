"""For how long events wait to be verified, even if the verifier reads nothing or hangs."""

from __future__ import annotations

from collections import deque
from typing import Final

from engine.clock import Clock

ROUND_S_MAX: Final = 30.0  # a round of the verifier that takes longer is a delay itself


class Delay:
    """Updated in each round with every partition's end and its verified offset."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[int, deque[tuple[float, int]]] = {}  # seen when, not verified yet
        self._round_s = clock.monotonic_s()

    def look(self, partition: int, end: int, verified_to: int) -> None:
        """The partition ends at `end`; every event before `verified_to` is verified."""
        now_s = self._clock.monotonic_s()
        seen = self._ends.setdefault(partition, deque())
        while seen and seen[0][1] <= verified_to:
            seen.popleft()
        if end > verified_to and (not seen or seen[-1][1] < end):
            seen.append((now_s, end))
        self._round_s = now_s

    def seconds(self) -> float:
        """The longest wait; asked at any time, from another thread too."""
        now_s = self._clock.monotonic_s()
        oldest = [seen[0][0] for seen in list(self._ends.values()) if seen]
        since_round_s = now_s - self._round_s
        stuck_s = since_round_s if since_round_s > ROUND_S_MAX else 0.0
        return max([stuck_s, *(now_s - each for each in oldest)])
