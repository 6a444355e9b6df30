"""How far the log is ahead of what was decided: requested from time to time, without waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from engine.clients.reader import LogEnds
from engine.loop.timer_gate import Ends
from engine.metrics import EngineMetrics
from engine.ports import TopicPartition
from engine.store.states import PartitionStates

OBSERVE_EVERY_S: Final = 5.0


class MemoryUse(Protocol):
    """What the store's caches take, in bytes."""

    def memory_bytes(self) -> int: ...


class Lag:
    """Observes the ends of the inputs and of the journal's partitions, only for metrics."""

    def __init__(
        self, journal: str, ends: LogEnds, metrics: EngineMetrics, store: MemoryUse
    ) -> None:
        self._journal = journal
        self._ends = ends
        self._metrics = metrics
        self._store = store
        self._observed_s = 0.0
        self._pending: tuple[Callable[[], Ends | None], Callable[[], Ends | None]] | None = None

    def observe(
        self,
        now_s: float,
        positions: Mapping[TopicPartition, int],
        states: Mapping[int, PartitionStates],
        stalled_s: Mapping[TopicPartition, float],
    ) -> None:
        """Record the responses, or send the next request when due."""
        if self._pending is not None:
            high, stable = self._pending[0](), self._pending[1]()
            if high is not None and stable is not None:
                self._metrics.observe_ends(positions, high, stable)
                self._pending = None
        elif now_s - self._observed_s >= OBSERVE_EVERY_S:
            self._observed_s = now_s
            self._metrics.observe_states(states, self._store.memory_bytes())
            self._metrics.observe_stalled(stalled_s)
            names = [*positions, *((self._journal, number) for number in states)]
            self._pending = (self._ends.ask_high(names), self._ends.ask_stable(names))
