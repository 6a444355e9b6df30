"""How far the log is ahead of what was decided: asked now and then, never waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from engine.clients.reader import LogEnds
from engine.loop.timer_gate import Ends
from engine.metrics import EngineMetrics
from engine.store.states import PartitionStates

OBSERVE_EVERY_S: Final = 5.0


class Lag:
    """Looks at the ends of the inputs and of the journal's partitions, for the metrics alone."""

    def __init__(self, journal: str, ends: LogEnds, metrics: EngineMetrics) -> None:
        self._journal = journal
        self._ends = ends
        self._metrics = metrics
        self._observed_s = 0.0
        self._asked: tuple[Callable[[], Ends | None], Callable[[], Ends | None]] | None = None

    def observe(
        self,
        now_s: float,
        positions: Mapping[tuple[str, int], int],
        states: Mapping[int, PartitionStates],
        stalled_s: Mapping[tuple[str, int], float],
    ) -> None:
        """Note the answers that have come, or ask again when it is time."""
        if self._asked is not None:
            high, stable = self._asked[0](), self._asked[1]()
            if high is not None and stable is not None:
                self._metrics.observe_ends(positions, high, stable)
                self._asked = None
        elif now_s - self._observed_s >= OBSERVE_EVERY_S:
            self._observed_s = now_s
            self._metrics.observe_states(states)
            self._metrics.observe_stalled(stalled_s)
            names = [*positions, *((self._journal, number) for number in states)]
            self._asked = (self._ends.ask_high(names), self._ends.ask_stable(names))
