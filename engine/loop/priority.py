"""Fairness: 100,000 queued commands must not delay a cancel.

While other inputs have unread records, the low-priority partitions (commands) are paused; pausing
also drops their prefetched records. The ends come from the brokers, because a client whose single
queue is full of commands does not fetch the other inputs at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from engine.loop.timer_gate import AskEnds, Ends
from engine.ports import EngineTopology, TopicPartition

# Between a resume and the next request: commands get their share while answers keep coming.
SHARE_S: Final = 0.1


class PriorityPause:
    """Decides when to pause and resume; the loop does it."""

    def __init__(self, topology: EngineTopology, ask: AskEnds) -> None:
        """`ask`: requests last stable offsets without waiting for them."""
        self._low = frozenset(topology.low_priority)
        self._ask = ask
        self._answer: Callable[[], Ends | None] | None = None
        self.paused = False
        self._resumed_s = float("-inf")

    def reset(self) -> None:
        """A new assignment, or all was resumed: nothing is paused."""
        self.paused = False
        self._answer = None

    def low_names(self, positions: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """The low-priority input partitions."""
        return [name for name in positions if name[0] in self._low]

    def decide(
        self, backlog: bool, positions: Mapping[TopicPartition, int], now_s: float
    ) -> bool | None:
        """True: pause now, False: resume now, None: no change. Requests offsets only if it may
        matter.
        """
        if self._answer is None:
            if self.paused or (backlog and now_s - self._resumed_s >= SHARE_S):
                self._answer = self._ask([n for n in positions if n[0] not in self._low])
            return None
        ends = self._answer()
        if ends is None:
            return None
        self._answer = None
        unread = any(positions[name] < end for name, end in ends.items() if name in positions)
        if unread == self.paused:
            return None
        self.paused = unread
        if not unread:
            self._resumed_s = now_s
        return unread
