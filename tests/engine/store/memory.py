"""A partition's store in memory, for the driver and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.store.store import Change, StoreMeta


class MemoryPartitionStore:
    """The same contract in a dictionary, for the driver. It outlives a simulated crash, like a
    disk."""

    def __init__(self) -> None:
        self._states: dict[str, Change] = {}
        self._meta: StoreMeta | None = None

    def meta(self) -> StoreMeta | None:
        return self._meta

    def get(self, key: str) -> bytes | None:
        found = self._states.get(key)
        return None if found is None else found.packed

    def open_states(self) -> Iterator[tuple[str, bytes]]:
        states = self._states.values()
        return iter([(c.key, c.packed) for c in states if c.packed is not None and not c.at_rest])

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        for change in changes:
            self._states[change.key] = Change(*change)
        self._meta = meta

    def clear(self) -> None:
        self._states.clear()
        self._meta = None
