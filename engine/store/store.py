"""The local copy of the states: a cache with an offset, not the source of truth.

One column family per partition holds its states *and* its offset key, because families are flushed
separately: without a write-ahead log a killed process then loses the tail of both together, and the
store is behind or exact. It is written only after the Kafka commit.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from engine.errors import Exit
from engine.store.budget import CACHE_BYTES, CacheBudget

_log = logging.getLogger(__name__)

_STATE: Final = b"s"
_OPEN: Final = b"o"
_META: Final = b"\x00meta"
_META_LAYOUT: Final = struct.Struct(">QQQ")
_IDENTITY: Final = b"identity"
BLOOM_BITS_PER_KEY: Final = 10
# Memtables grow by this much at a time: many partitions' share one limit.
ARENA_BLOCK_BYTES: Final = 16 * 1024
MEMTABLE_BYTES_MIN: Final = 256 * 1024
# Files of a column family before some are merged. Each is open, in every partition held.
FILES_BEFORE_MERGE: Final = 8
# RocksDB's words for a database whose files contradict each other or are gone. Any other error,
# such as no free file handle or no permission, says nothing against the files.
_DAMAGED: Final = ("Corruption:", "IO error: No such file or directory")


class StoreMeta(NamedTuple):
    """A partition's position: next offset of the state topic and of the journal, and when
    written.
    """

    state_offset: int
    journal_offset: int
    written_at_ms: int


Change = tuple[str, bytes | None, bool | None]
"""A key; its packed state, or None to forget it; and whether to add the key to the list of open
states, which are read at start (True), remove it (False) or leave the list unchanged (None).
"""


class PartitionStore(Protocol):
    """One partition's states on disk (or, in the driver, in memory)."""

    def meta(self) -> StoreMeta | None:
        """None if nothing was ever written."""

    def get(self, key: str) -> bytes | None:
        """One point look-up."""

    def open_states(self) -> Iterator[tuple[str, bytes]]:
        """Every state on the list of open ones."""

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        """States and offsets in one write batch."""

    def clear(self) -> None:
        """Forget everything: the partition will be restored from offset zero."""


class StoreMemory:
    """The memory of RocksDB: what is not yet written to files, and blocks of files. All column
    families of a process share it, so it is bounded whatever their number.
    """

    def __init__(self, budget: CacheBudget) -> None:
        # Each memtable is a part of the limit: RocksDB stops writes at two per family, so memory is
        # bounded even if the disk hangs.
        self._memtable_bytes = max(budget.memtables // 4, MEMTABLE_BYTES_MIN)
        # Above the limit the oldest memtable is written to a file; no write waits for that.
        self._memtables = WriteBufferManager(budget.memtables, False)
        self._blocks = Cache(budget.blocks)

    def used_bytes(self) -> int:
        """Bytes in use now."""
        return self._memtables.get_usage() + self._blocks.get_usage()

    def options(self) -> Options:
        """The options of each column family."""
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        options.set_write_buffer_manager(self._memtables)
        options.set_write_buffer_size(self._memtable_bytes)
        options.set_arena_block_size(ARENA_BLOCK_BYTES)
        options.set_keep_log_file_num(2)
        # Files of like size are merged. By levels, each merge would rewrite all older states of
        # the partition, because the ids of payments are random (docs/performance.md).
        options.set_compaction_style(DBCompactionStyle.universal())
        options.set_level_zero_file_num_compaction_trigger(FILES_BEFORE_MERGE)
        table = BlockBasedOptions()
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
        table.set_block_cache(self._blocks)
        # Indexes and filters in pieces, in the same cache: else they stay in memory as long as
        # their file, and that grows with all the states there ever were.
        table.set_index_type(BlockBasedIndexType.two_level_index_search())
        table.set_partition_filters(True)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_top_level_index_and_filter(False)
        options.set_block_based_table_factory(table)
        return options


class RocksPartitionStore:
    """A column family of the process's RocksDB."""

    def __init__(self, database: Rdict, name: str, memory: StoreMemory) -> None:
        self._database = database
        self._name = name
        self._memory = memory
        self._write_options = WriteOptions()
        setattr(self._write_options, "disable_wal", True)  # noqa: B010 mistyped as a method
        self._bind()

    def _bind(self) -> None:
        self._family = self._database.get_column_family(self._name)
        self._handle = self._database.get_column_family_handle(self._name)
        self._get = self._family.get

    def meta(self) -> StoreMeta | None:
        raw = self._get(_META)
        return None if raw is None else StoreMeta(*_META_LAYOUT.unpack(raw))

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self._get(_STATE + key.encode())
        return found

    def open_states(self) -> Iterator[tuple[str, bytes]]:
        for key in self._family.keys(from_key=_OPEN):
            if not isinstance(key, bytes) or key[:1] != _OPEN:
                return  # raw mode gives bytes only
            packed = self._get(_STATE + key[1:])
            if packed is not None:
                yield key[1:].decode(), packed

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        batch = WriteBatch(raw_mode=True)
        put, delete, handle = batch.put, batch.delete, self._handle
        for key, packed, listed in changes:
            raw = key.encode()
            if packed is None:
                delete(_STATE + raw, handle)
            else:
                put(_STATE + raw, packed, handle)
            if listed:
                put(_OPEN + raw, b"", handle)
            elif listed is not None:
                delete(_OPEN + raw, handle)
        put(_META, _META_LAYOUT.pack(*meta), handle)
        self._database.write(batch, self._write_options)

    def clear(self) -> None:
        self._database.drop_column_family(self._name)
        self._database.create_column_family(self._name, self._memory.options())
        self._bind()

    def flush(self) -> None:
        """Flush the memtable to disk, so that the next start is exact."""
        self._family.flush()


class Store:
    """One folder per application and instance, locked exclusively."""

    def __init__(self, path: Path, identity: str, cache_bytes: int = CACHE_BYTES) -> None:
        """`identity` names cluster and state topic; a folder written for another one is refused.
        `cache_bytes`: the process's budget, of which this takes its part.

        A damaged database is discarded: the log is the truth. Raises Exit STORE_LOCKED,
        STORE_FOREIGN, or STORE_UNUSABLE when this machine cannot open it for now.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = _lock(path / "lock")
        self._partitions: dict[int, RocksPartitionStore] = {}
        self._memory = StoreMemory(CacheBudget.of(cache_bytes))
        try:
            self._database = self._opened(path / "states")
        except Exit:
            self._lock.close()
            raise
        recorded = self._database.get(_IDENTITY)
        if recorded is None:
            self._database.put(_IDENTITY, identity.encode())
        elif recorded != identity.encode():
            self.close()
            raise Exit("STORE_FOREIGN", f"{path} was written for {recorded.decode()}")

    def _opened(self, path: Path) -> Any:
        try:
            return _open(path, self._memory)
        except Exception as error:  # rocksdict raises no class of its own
            if not str(error).startswith(_DAMAGED):
                raise Exit(
                    "STORE_UNUSABLE", f"{path} is kept and cannot be opened: {error}"
                ) from error
            _log.warning("%s is discarded, the states come from Kafka: %s", path, error)
        shutil.rmtree(path)
        return _open(path, self._memory)

    def partition(self, number: int) -> RocksPartitionStore:
        """The partition's column family, created if missing."""
        held = self._partitions.get(number)
        if held is None:
            name = f"p{number}"
            if name not in _families(self._path / "states"):
                self._database.create_column_family(name, self._memory.options())
            held = RocksPartitionStore(self._database, name, self._memory)
            self._partitions[number] = held
        return held

    def memory_bytes(self) -> int:
        """Bytes that RocksDB's memtables and cached blocks use."""
        return self._memory.used_bytes()

    def close(self) -> None:
        """Flush and unlock the folder."""
        for held in self._partitions.values():
            held.flush()
        self._partitions.clear()
        self._database.close()
        self._lock.close()


def _families(path: Path) -> list[str]:
    return Rdict.list_cf(str(path), Options(raw_mode=True)) if (path / "CURRENT").exists() else []


def _open(path: Path, memory: StoreMemory) -> Any:
    families = {name: memory.options() for name in _families(path)}
    if not families:
        return Rdict(str(path), options=memory.options())
    return Rdict(str(path), options=memory.options(), column_families=families)


def _lock(path: Path) -> IO[bytes]:
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise Exit("STORE_LOCKED", f"another process holds {path}") from error
    return handle
