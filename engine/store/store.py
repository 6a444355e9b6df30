"""The local copy of the states: a cache with an offset, never the truth.

One column family per partition holds its states *and* its offset key, because families are flushed
separately: with the write-ahead log off, a killed process then loses the end of both together, and
the store is behind or exact. It is written only after the Kafka commit.
"""

from __future__ import annotations

import fcntl
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from rocksdict import BlockBasedOptions, Options, Rdict, WriteBatch, WriteOptions

from engine.errors import Exit

_STATE: Final = b"s"
_OPEN: Final = b"o"
_META: Final = b"\x00meta"
_META_LAYOUT: Final = struct.Struct(">QQQ")
_IDENTITY: Final = b"identity"
BLOOM_BITS_PER_KEY: Final = 10
MEMTABLE_BYTES: Final = 16 * 1024 * 1024


class StoreMeta(NamedTuple):
    """A partition's position: next offset of the state topic and of the journal, and when
    written."""

    state_offset: int
    journal_offset: int
    written_at_ms: int


class Change(NamedTuple):
    """One state to write, or to forget (`packed` None). `listed`: put it on the list of open
    states, which are read at start, or take it off; None: it is where it belongs."""

    key: str
    packed: bytes | None
    listed: bool | None


class PartitionStore(Protocol):
    """One partition's states on disk (or, in the driver, in memory)."""

    def meta(self) -> StoreMeta | None:
        """None when nothing was ever written."""

    def get(self, key: str) -> bytes | None:
        """One point look-up."""

    def open_states(self) -> Iterator[tuple[str, bytes]]:
        """Every state on the list of open ones."""

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        """States and offsets in one write batch."""

    def clear(self) -> None:
        """Forget everything: the partition will be restored from offset zero."""


class RocksPartitionStore:
    """A column family of the process's RocksDB."""

    def __init__(self, database: Rdict, name: str) -> None:
        self._database = database
        self._name = name
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
        self._database.create_column_family(self._name, _options())
        self._bind()

    def flush(self) -> None:
        """Bring the memtable to disk, so that the next start is exact."""
        self._family.flush()


class Store:
    """One folder per application and instance, locked exclusively."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity` names cluster and state topic; a folder written for another one is refused.

        Raises Exit STORE_LOCKED or STORE_FOREIGN. An unreadable database is discarded.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = _lock(path / "lock")
        self._partitions: dict[int, RocksPartitionStore] = {}
        self.discarded_unreadable = False
        try:
            self._database = _open(path / "states")
        except Exception:  # noqa: BLE001 rocksdict raises bare Exception for corruption
            shutil.rmtree(path / "states", ignore_errors=True)
            self.discarded_unreadable = True
            self._database = _open(path / "states")
        recorded = self._database.get(_IDENTITY)
        if recorded is None:
            self._database.put(_IDENTITY, identity.encode())
        elif recorded != identity.encode():
            self.close()
            raise Exit("STORE_FOREIGN", f"{path} was written for {recorded.decode()}")

    def partition(self, number: int) -> RocksPartitionStore:
        """The partition's part of the store, made when it is not there."""
        held = self._partitions.get(number)
        if held is None:
            name = f"p{number}"
            if name not in _families(self._path / "states"):
                self._database.create_column_family(name, _options())
            held = self._partitions[number] = RocksPartitionStore(self._database, name)
        return held

    def close(self) -> None:
        """Flush and let the folder go."""
        for held in self._partitions.values():
            held.flush()
        self._partitions.clear()
        self._database.close()
        self._lock.close()


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options.set_block_based_table_factory(table)
    return options


def _families(path: Path) -> list[str]:
    names: list[str] = Rdict.list_cf(str(path), _options()) if (path / "CURRENT").exists() else []
    return names


def _open(path: Path) -> Any:
    families = {name: _options() for name in _families(path)}
    if not families:
        return Rdict(str(path), options=_options())
    return Rdict(str(path), options=_options(), column_families=families)


def _lock(path: Path) -> IO[bytes]:
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise Exit("STORE_LOCKED", f"another process holds {path}") from error
    return handle
