"""Which input partitions are paused: the loop's only way to pause and resume.

Reasons change independently (STOP, priority over commands, a record that waits for a dependency, an
unreadable batch that was just tried). A partition is paused while any reason holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from engine.ports import TopicPartition


class Pausing(Protocol):
    """Notified of pauses: the group's client, and the stall detector."""

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """Stop fetching these."""

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """Fetch these again."""


class Pauses:
    """The paused partitions; passes on changes only."""

    def __init__(self, *observers: Pausing) -> None:
        self._observers = observers
        self.paused: frozenset[TopicPartition] = frozenset()

    def forget(self) -> None:
        """A new assignment: its client has resumed all of it."""
        self.paused = frozenset()

    def want(self, names: frozenset[TopicPartition]) -> None:
        """Pause exactly these."""
        if names == self.paused:
            return
        begins, ends = names - self.paused, self.paused - names
        for each in self._observers:
            if begins:
                each.pause(begins)
            if ends:
                each.resume(ends)
        self.paused = names
