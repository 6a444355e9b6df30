"""The verifier's own states, heads and counts of outcomes, on its own disk: never read from the
lifecycle topic.

Everything that a checkpoint covers is written in one atomic batch after the checkpoint is
committed, so the store is exactly one checkpoint's state. It may be deleted; it is then rebuilt
from offset zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol, cast

import msgspec
from rocksdict import AccessType, Rdict, WriteBatch

from engine.store.budget import CACHE_BYTES, CacheBudget
from engine.store.store import StoreMemory
from evidence.merkle import LeafData

PARTITION_BYTES: Final = 4
_SIGNED: Final = b"h"
_UNSIGNED: Final = b"u"
_STATE: Final = b"p"
_STATE_UNSIGNED: Final = b"q"
_MARK: Final = b"m"
_STOP: Final = b"s"
BACKGROUND_JOBS_MAX: Final = 2


class Mark(msgspec.Struct, frozen=True):
    """The store's last checkpoint: its raw value and its offset on the topic."""

    topic_offset: int
    raw: bytes
    lifecycle: int = -1  # lifecycle records before it agree; -1: not known
    last_causes: dict[str, int] = {}  # the last input that caused anything, by topic


Packed = Mapping[str, bytes]
NONE: Final[Packed] = {}

_decode_mark: Final = msgspec.msgpack.Decoder(Mark).decode
_decode_leaf: Final = msgspec.msgpack.Decoder(LeafData).decode


class VerifierStore(Protocol):
    """Heads by partition and payment, consistent with the partition's mark."""

    def mark(self, partition: int) -> Mark | None:
        """The checkpoint of the heads, or None before the first."""

    def get(self, partition: int, payment: str) -> LeafData | None:
        """The head as of the mark, or a newer one that was put unsigned."""

    def packed(self, partition: int, payment: str) -> bytes | None:
        """Likewise the payment's lifecycle record."""

    def commit(
        self, partition: int, mark: Mark, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        """A checkpoint is on the log: its heads, its states and its mark, all or nothing. States
        that were put unsigned are signed now; `packed` has newer ones.
        """

    def put_unsigned(
        self, partition: int, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        """Store data that no checkpoint covers yet, to limit memory."""

    def clear_unsigned(self, partition: int) -> None:
        """Drop data that no checkpoint covers: it is verified again."""

    def forget(self, partition: int) -> None:
        """No mark and no heads: the partition is verified from offset zero."""

    def stop_published(self, stop_id: str) -> bool:
        """Whether this STOP was already written to the control topic."""

    def remember_stop(self, stop_id: str) -> None:
        """The STOP is on the control topic."""

    def close(self) -> None:
        """Close the files."""


class DiskStore:
    """A VerifierStore in RocksDB; its folder is locked while it is open."""

    def __init__(self, path: Path, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes`: the process's budget, of which this takes its part."""
        path.mkdir(parents=True, exist_ok=True)
        options = StoreMemory(CacheBudget.of(cache_bytes)).options()
        options.set_max_background_jobs(BACKGROUND_JOBS_MAX)
        self._db = Rdict(str(path), options=options, access_type=AccessType.read_write())

    def mark(self, partition: int) -> Mark | None:
        raw = self._db.get(_MARK + _number(partition))
        return None if raw is None else _decode_mark(raw)

    def get(self, partition: int, payment: str) -> LeafData | None:
        key = _number(partition) + payment.encode()
        raw = self._db.get(_UNSIGNED + key) or self._db.get(_SIGNED + key)
        return None if raw is None else _decode_leaf(raw)

    def packed(self, partition: int, payment: str) -> bytes | None:
        key = _number(partition) + payment.encode()
        return self._db.get(_STATE_UNSIGNED + key) or self._db.get(_STATE + key)

    def commit(
        self, partition: int, mark: Mark, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        batch = WriteBatch(raw_mode=True)
        number = _number(partition)
        begin, end = _STATE_UNSIGNED + number, _STATE_UNSIGNED + _number(partition + 1)
        for key, raw in self._unsigned_states(begin, end):
            batch.put(_STATE + key[len(_STATE) :], raw)
        batch.delete_range(begin, end)
        for payment, raw in packed.items():
            batch.put(_STATE + number + payment.encode(), raw)
        for payment, head in heads.items():
            batch.put(_SIGNED + number + payment.encode(), msgspec.msgpack.encode(head))
        batch.put(_MARK + number, msgspec.msgpack.encode(mark))
        self._db.write(batch)

    def _unsigned_states(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        stored = cast("Iterator[tuple[bytes, bytes]]", self._db.items(from_key=begin))  # raw mode
        return takewhile(lambda item: item[0] < end, stored)

    def put_unsigned(
        self, partition: int, heads: Mapping[str, LeafData], packed: Packed = NONE
    ) -> None:
        batch = WriteBatch(raw_mode=True)
        for payment, raw in packed.items():
            batch.put(_STATE_UNSIGNED + _number(partition) + payment.encode(), raw)
        for payment, head in heads.items():
            batch.put(
                _UNSIGNED + _number(partition) + payment.encode(), msgspec.msgpack.encode(head)
            )
        self._db.write(batch)

    def clear_unsigned(self, partition: int) -> None:
        for kind in (_UNSIGNED, _STATE_UNSIGNED):
            self._db.delete_range(kind + _number(partition), kind + _number(partition + 1))

    def forget(self, partition: int) -> None:
        self.clear_unsigned(partition)
        self._db.delete(_MARK + _number(partition))
        for kind in (_SIGNED, _STATE):
            self._db.delete_range(kind + _number(partition), kind + _number(partition + 1))

    def stop_published(self, stop_id: str) -> bool:
        return self._db.get(_STOP + stop_id.encode()) is not None

    def remember_stop(self, stop_id: str) -> None:
        self._db.put(_STOP + stop_id.encode(), b"1")

    def close(self) -> None:
        self._db.close()


def _number(partition: int) -> bytes:
    return partition.to_bytes(PARTITION_BYTES, "big")
