"""A partition's store in memory, for the driver and tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.store.store import Change, StoreMeta


class MemoryPartitionStore:
    """The same contract in a dictionary. It outlives a simulated crash, like a disk."""

    def __init__(self) -> None:
        self._states: dict[str, bytes | None] = {}
        self._open: dict[str, None] = {}
        self._meta: StoreMeta | None = None

    def meta(self) -> StoreMeta | None:
        return self._meta

    def get(self, key: str) -> bytes | None:
        return self._states.get(key)

    def open_states(self) -> Iterator[tuple[str, bytes]]:
        listed = [(key, self._states.get(key)) for key in self._open]
        return iter([(key, packed) for key, packed in listed if packed is not None])

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        for key, packed, listed in changes:
            self._states[key] = packed
            if listed:
                self._open[key] = None
            elif listed is not None:
                self._open.pop(key, None)
        self._meta = meta

    def clear(self) -> None:
        self._states.clear()
        self._open.clear()
        self._meta = None
