"""Which input partitions fetch nothing at the moment: the loop's only way to pause and resume.

Reasons come and go independently (STOP, answers that go before commands, a record that waits for
a dependency, a batch that was just tried in vain). Paused is what any of them wants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from engine.ports import TopicPartition


class Pausing(Protocol):
    """Who is told: the group's client, and the check whether it gets its records."""

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """Fetch nothing of these."""

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """Fetch these again."""


class Pauses:
    """What is paused; tells the difference alone."""

    def __init__(self, *told: Pausing) -> None:
        self._told = told
        self.paused: frozenset[TopicPartition] = frozenset()

    def forget(self) -> None:
        """A new assignment: the client that fetches it has resumed all of it."""
        self.paused = frozenset()

    def want(self, names: frozenset[TopicPartition]) -> None:
        """These are to be paused and no others."""
        if names == self.paused:
            return
        begins, ends = names - self.paused, self.paused - names
        for each in self._told:
            if begins:
                each.pause(begins)
            if ends:
                each.resume(ends)
        self.paused = names
