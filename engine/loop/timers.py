"""Deadlines of one partition's states: a heap that is rebuilt from the states and never stored.

A due timer becomes a record on the timers topic; it acts only when that record is read back. It is
made only when the inputs that might answer it have been read past their ends as they stood after
the deadline (see timer_gate.py).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

# A timer that was made, read back, and changed nothing is made again after this time: one record a
# minute at most.
REPEAT_MS: Final = 60_000


class Timers:
    """Due times by key. An entry is (due, deadline, key); entries that no longer hold are skipped
    when popped."""

    __slots__ = ("_armed", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._armed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def set(self, key: str, deadline_ms: int | None) -> None:
        """The state's deadline is now this; the same deadline again changes nothing."""
        if deadline_ms is None:
            self._armed.pop(key, None)
        elif self._armed.get(key) != deadline_ms:
            self._armed[key] = deadline_ms
            heappush(self._heap, (deadline_ms, deadline_ms, key))
            if len(self._heap) > 4 * len(self._armed) + 1024:
                self._compact()

    def next_due_ms(self) -> int | None:
        """When the next entry falls due, or None."""
        heap, armed = self._heap, self._armed
        while heap and armed.get(heap[0][2]) != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, until_ms: int, count_max: int) -> list[tuple[int, str]]:
        """(deadline, key) of entries due by `until_ms`, earliest first; give them back or call them
        made."""
        due: list[tuple[int, str]] = []
        heap, armed = self._heap, self._armed
        while heap and heap[0][0] <= until_ms and len(due) < count_max:
            _, deadline_ms, key = heappop(heap)
            if armed.get(key) == deadline_ms:
                due.append((deadline_ms, key))
        return due

    def made(self, taken: list[tuple[int, str]], now_ms: int) -> None:
        """Their records are committed; each comes again after REPEAT_MS unless its deadline
        changes."""
        for deadline_ms, key in taken:
            if self._armed.get(key) == deadline_ms:
                heappush(self._heap, (now_ms + REPEAT_MS, deadline_ms, key))

    def give_back(self, taken: list[tuple[int, str]]) -> None:
        """The transaction that made these records did not happen: they are due at once again."""
        for deadline_ms, key in taken:
            heappush(self._heap, (deadline_ms, deadline_ms, key))

    def _compact(self) -> None:
        armed = self._armed
        self._heap = [entry for entry in self._heap if armed.get(entry[2]) == entry[1]]
        heapify(self._heap)
