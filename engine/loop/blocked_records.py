"""Records that wait for something outside, partition by partition, in order.

While a partition waits it fetches nothing, and nothing of it is decided: what is at hand of it
queues up behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from engine.clock import Clock
from engine.ports import InputRecord

DEPENDENCY_PAUSE_S: Final = 1.0


class BlockedRecords:
    """What could not be read yet; everything again after a pause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[int, list[InputRecord]] = {}
        self._until_s = 0.0

    def __contains__(self, partition: int) -> bool:
        return partition in self._records

    def __iter__(self) -> Iterator[int]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, waiting: Mapping[int, list[InputRecord]]) -> None:
        """These wait from now on, each partition's in offset order."""
        if waiting:
            self._records.update(waiting)
            self._until_s = self._clock.monotonic_s() + DEPENDENCY_PAUSE_S

    def let_pass(self, records: Sequence[InputRecord]) -> list[InputRecord]:
        """Those that need not wait: what an earlier part of the same batch holds up queues
        behind it."""
        if not self._records:
            return list(records)
        free: list[InputRecord] = []
        for record in records:
            self._records.get(record.partition, free).append(record)
        return free

    def take_due(self) -> dict[int, list[InputRecord]]:
        """All of them once the pause is over, to be tried again; nothing before."""
        if not self._records or self._clock.monotonic_s() < self._until_s:
            return {}
        due, self._records = self._records, {}
        return due

    def forget(self) -> None:
        """The assignment has changed: they are read again from what is committed."""
        self._records = {}
