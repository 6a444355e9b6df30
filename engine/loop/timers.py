"""Deadlines of one partition's states: rebuilt from the states and never stored.

A due timer becomes a record on the timers topic; it acts only when that record is read back. It is
produced only after the inputs that might answer it have been read past their ends as of the
deadline (see timer_gate.py).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

# A timer that was produced, read back, and changed nothing is produced again after this time: at
# most one record a minute.
REPEAT_MS: Final = 60_000
# A slot holds the keys due within 64 ms. Most deadlines are replaced long before they are due:
# leaving a slot costs one look-up, leaving a heap of all keys costs a search when it is popped.
SLOT_BITS: Final = 6


class Timers:
    """Due times by key, in slots of 2 ** SLOT_BITS ms. A key that was taken is in no slot until
    `made`, `give_back` or a new deadline.
    """

    __slots__ = ("_armed", "_numbers", "_repeated", "_slots")

    def __init__(self) -> None:
        self._armed: dict[str, int] = {}  # deadlines
        self._repeated: dict[str, int] = {}  # when due, of those that are due after their deadline
        self._slots: dict[int, dict[str, None]] = {}
        self._numbers: list[int] = []  # a heap; numbers of slots that are gone are skipped

    def __len__(self) -> int:
        return len(self._armed)

    def set(self, key: str, deadline_ms: int | None) -> None:
        """The state's deadline is now this; the same deadline again changes nothing."""
        before_ms = self._armed.get(key)
        if before_ms == deadline_ms:
            return
        if before_ms is not None:
            self._leave(key, before_ms)
        if deadline_ms is None:
            del self._armed[key]
        else:
            self._armed[key] = deadline_ms
            self._enter(key, deadline_ms)

    def next_due_ms(self) -> int | None:
        """When the next key falls due, or None."""
        number = self._first()
        return None if number is None else min(self._due_ms(key) for key in self._slots[number])

    def pop_due(self, until_ms: int, count_max: int) -> list[tuple[int, str]]:
        """(deadline, key) of keys due by `until_ms`, earliest first; then call `made` or
        `give_back`.
        """
        taken: list[tuple[int, str]] = []
        while len(taken) < count_max:
            number = self._first()
            if number is None or number << SLOT_BITS > until_ms:
                break
            due = sorted((self._due_ms(key), self._armed[key], key) for key in self._slots[number])
            now = [entry for entry in due if entry[0] <= until_ms][: count_max - len(taken)]
            for _, deadline_ms, key in now:
                self._leave(key, deadline_ms)
                taken.append((deadline_ms, key))
            if len(now) < len(due):
                break
        return taken

    def made(self, taken: list[tuple[int, str]], now_ms: int) -> None:
        """Their records are committed; each comes again after REPEAT_MS unless its deadline
        changes.
        """
        for deadline_ms, key in taken:
            if self._is_out(key, deadline_ms):
                self._repeated[key] = now_ms + REPEAT_MS
                self._enter(key, now_ms + REPEAT_MS)

    def give_back(self, taken: list[tuple[int, str]]) -> None:
        """The transaction with these records did not happen: they are due again at once."""
        for deadline_ms, key in taken:
            if self._is_out(key, deadline_ms):
                self._enter(key, deadline_ms)

    def _is_out(self, key: str, deadline_ms: int) -> bool:
        """Whether the key still has this deadline and is in no slot."""
        if self._armed.get(key) != deadline_ms:
            return False
        slot = self._slots.get(self._due_ms(key) >> SLOT_BITS)
        return slot is None or key not in slot

    def _due_ms(self, key: str) -> int:
        deadline_ms = self._armed[key]
        return self._repeated.get(key, deadline_ms) if self._repeated else deadline_ms

    def _enter(self, key: str, due_ms: int) -> None:
        number = due_ms >> SLOT_BITS
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heappush(self._numbers, number)
            if len(self._numbers) > 2 * len(self._slots) + 1024:
                self._numbers = list(self._slots)
                heapify(self._numbers)
        slot[key] = None

    def _leave(self, key: str, deadline_ms: int) -> None:
        due_ms = self._repeated.pop(key, deadline_ms) if self._repeated else deadline_ms
        number = due_ms >> SLOT_BITS
        slot = self._slots.get(number)
        if slot is not None:
            slot.pop(key, None)
            if not slot:
                del self._slots[number]

    def _first(self) -> int | None:
        """The number of the first slot, or None."""
        numbers, slots = self._numbers, self._slots
        while numbers and numbers[0] not in slots:
            heappop(numbers)
        return numbers[0] if numbers else None
