"""The verifier's store, in memory."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.merkle import LeafData
from processors.verifier.store import NONE, Mark, Packed


class MemoryStore:
    """A VerifierStore in memory."""

    def __init__(self) -> None:
        self._marks: dict[int, Mark] = {}
        self._heads: dict[tuple[int, str], LeafData] = {}
        self._unsigned: dict[tuple[int, str], LeafData] = {}
        self._packed: dict[tuple[int, str], bytes] = {}
        self._unsigned_packed: dict[tuple[int, str], bytes] = {}
        self._stops: set[str] = set()

    def mark(self, partition: int) -> Mark | None:
        return self._marks.get(partition)

    def get(self, partition: int, payment: str) -> LeafData | None:
        key = (partition, payment)
        return self._unsigned.get(key) or self._heads.get(key)

    def packed(self, partition: int, payment: str) -> bytes | None:
        key = (partition, payment)
        return self._unsigned_packed.get(key) or self._packed.get(key)

    def commit(
        self, partition: int, mark: Mark, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        self._marks[partition] = mark
        for key in [key for key in self._unsigned_packed if key[0] == partition]:
            self._packed[key] = self._unsigned_packed.pop(key)
        self._packed.update({(partition, payment): raw for payment, raw in packed.items()})
        for payment, head in heads.items():
            self._heads[partition, payment] = head

    def put_unsigned(
        self, partition: int, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        more = {(partition, payment): raw for payment, raw in packed.items()}
        self._unsigned_packed.update(more)
        for payment, head in heads.items():
            self._unsigned[partition, payment] = head

    def clear_unsigned(self, partition: int) -> None:
        for kept in (self._unsigned, self._unsigned_packed):
            for key in [key for key in kept if key[0] == partition]:
                del kept[key]

    def forget(self, partition: int) -> None:
        self.clear_unsigned(partition)
        self._marks.pop(partition, None)
        for kept in (self._heads, self._packed):
            for key in [key for key in kept if key[0] == partition]:
                del kept[key]

    def stop_published(self, stop_id: str) -> bool:
        return stop_id in self._stops

    def remember_stop(self, stop_id: str) -> None:
        self._stops.add(stop_id)

    def close(self) -> None:
        """Nothing to release."""
