"""Fairness: a hundred thousand queued commands must not hold up a cancel.

While other inputs hold unread records, the low-priority partitions (commands) are paused; pausing
also drops what the client has fetched ahead of them, so the next poll gives the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.ports import EngineTopology

Name = tuple[str, int]


class PriorityPause:
    """Decides when to pause and resume; the loop does it."""

    def __init__(self, topology: EngineTopology) -> None:
        self._low = frozenset(topology.low_priority)
        self._paused = False

    def reset(self) -> None:
        """A new assignment, or all was resumed: nothing is paused."""
        self._paused = False

    def low_names(self, positions: Mapping[Name, int]) -> list[Name]:
        """The input partitions that wait."""
        return [name for name in positions if name[0] in self._low]

    def decide(
        self, backlog: bool, positions: Mapping[Name, int], known_end: Callable[[Name], int]
    ) -> bool | None:
        """True: pause now, False: resume now, None: leave it. Asks for ends only when it may
        matter."""
        if not backlog and not self._paused:
            return None
        unread = any(
            known_end(name) > at for name, at in positions.items() if name[0] not in self._low
        )
        if unread == self._paused:
            return None
        self._paused = unread
        return unread
