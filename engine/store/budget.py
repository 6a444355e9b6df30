"""How many bytes of memory the caches of a process may take, and for what.

One budget per process, whatever its number of partitions. It does not include what grows with the
number of open states: the key and the deadline of each.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CACHE_BYTES: Final = 64 * 1024 * 1024
CACHE_BYTES_MIN: Final = 8 * 1024 * 1024
CACHE_BYTES_MAX: Final = 64 * 1024 * 1024 * 1024
_EIGHTHS: Final = 8


class CacheBudget(NamedTuple):
    """Bytes for states in memory, for what RocksDB has not yet written to files, and for blocks of
    its files (indexes and filters included)."""

    states: int
    memtables: int
    blocks: int

    @classmethod
    def of(cls, total: int) -> CacheBudget:
        """`total` bytes divided. Memtables get the least: an eighth of the default costs no more
        CPU than 16 MB a partition did (docs/performance.md)."""
        eighth = total // _EIGHTHS
        return cls(states=5 * eighth, memtables=eighth, blocks=2 * eighth)

    def of_partition(self, partitions: int) -> int:
        """The bytes of one partition's states, if the process holds `partitions` of them."""
        return self.states // max(1, partitions)
