"""Records that wait for an outside dependency, by partition, in order.

While a partition waits it fetches nothing and none of its records is decided: those already fetched
queue after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from engine.clock import Clock
from engine.ports import InputRecord

DEPENDENCY_PAUSE_S: Final = 1.0


class BlockedRecords:
    """Records that could not be read yet; all are retried after a pause."""

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
        """Add these, in offset order for each partition."""
        if waiting:
            self._records.update(waiting)
            self._until_s = self._clock.monotonic_s() + DEPENDENCY_PAUSE_S

    def let_pass(self, records: Sequence[InputRecord]) -> list[InputRecord]:
        """Those that need not wait: a record whose partition is blocked earlier in the same batch
        queues after it.
        """
        if not self._records:
            return list(records)
        free: list[InputRecord] = []
        for record in records:
            self._records.get(record.partition, free).append(record)
        return free

    def take_due(self) -> dict[int, list[InputRecord]]:
        """All of them once the pause is over, to be retried; none before."""
        if not self._records or self._clock.monotonic_s() < self._until_s:
            return {}
        due, self._records = self._records, {}
        return due

    def forget(self) -> None:
        """The assignment has changed: they are read again from the committed offsets."""
        self._records = {}
