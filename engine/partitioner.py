"""The Java client's default partitioner: murmur2 over the key, positive, modulo the partition
count."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # a machine's integer in the compiled build

_MASK: Final = 0xFFFFFFFF
_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
LENGTHS_KEPT: Final = 64


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash as Java's Utils.murmur2 gives it, unsigned."""
    length = len(data)
    h: i64 = _SEED ^ length
    k: i64
    for k in _words(length >> 2).unpack_from(data):
        k = k * _M & _MASK  # 63 bits, as each product here
        h = (h * _M & _MASK) ^ ((k ^ (k >> 24)) * _M & _MASK)
    tail = data[length & ~3 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


@lru_cache(LENGTHS_KEPT)
def _words(count: int) -> Struct:
    """Reads that many 32-bit words; keys of payments all have one length."""
    return Struct(f"<{count}I")


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a key, as the Java client chooses it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
