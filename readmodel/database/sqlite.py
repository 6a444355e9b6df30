"""SQLite: a file for each generation in one folder, and a small file that says which is current."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import msgspec
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from engine.clock import MS_PER_S, Clock
from engine.store.budget import CACHE_BYTES
from readmodel.database.migrate import migrate
from readmodel.database.session import Cursor, Session, down
from readmodel.database.statements import Statements, Values
from readmodel.database.store import LOCK_TIMEOUT_MS, POOL_SIZE, POOL_WAIT_S
from readmodel.ports import ReadModelDown
from schemas.strict_json import UnreadableJson, json_reader

BYTES_PER_KB: Final = 1_024
CACHE_KB_READER: Final = 8_192
CHECKPOINT_PAGES: Final = 8_192  # 32 MiB of WAL before a checkpoint
FILE_MODE: Final = 0o600  # its rows are personal data
FOLDER_MODE: Final = 0o700
FOLDER_LOCK_POLL_S: Final = 0.02


class Pointer(msgspec.Struct, frozen=True):
    """The current generation, and the highest number ever used; 0 for none."""

    current: int = 0
    last: int = 0


_read_pointer: Final = json_reader(Pointer)


class SqliteStore:
    """Generations as files of one folder."""

    def __init__(self, folder: Path, clock: Clock, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes`: SQLite's page cache in the process that writes."""
        self.folder = folder
        self._clock = clock
        self._cache_kb = cache_bytes // BYTES_PER_KB
        self._pointer_file = folder / "current.json"
        probe = create_engine("sqlite://", paramstyle="named")
        self.statements = Statements(probe.dialect, "IN (SELECT value FROM json_each(:{0}))")

    def current(self) -> int:
        return self._pointer().current

    def replaced(self, generation: int, _cursor: Cursor) -> bool:
        return self._pointer().current > generation

    def generations(self) -> list[int]:
        return sorted(int(file.stem.split("-")[1]) for file in self.folder.glob("generation-*.db"))

    def prepare(self) -> int:
        self.folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with self._locked():
            pointer = self._pointer()
            generation = pointer.current or pointer.last + 1
            self._migrate(generation)
            if not pointer.current:
                self._point(Pointer(generation, generation))
            return generation

    def create(self) -> int:
        self.folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        with self._locked():
            pointer = self._pointer()
            generation = pointer.last + 1
            self._migrate(generation)
            self._point(Pointer(pointer.current, generation))
            return generation

    def point_to(self, generation: int, _cursor: Cursor) -> None:
        with self._locked():
            self._point(Pointer(generation, max(generation, self._pointer().last)))

    def drop(self, generation: int) -> None:
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._file(generation)}{ending}").unlink(missing_ok=True)

    def reading(self, generation: int) -> Engine:
        return self._engine(generation, "ro", POOL_SIZE, CACHE_KB_READER, [])

    def writing(self, generation: int) -> Engine:
        return self._engine(
            generation,
            "rw",
            1,
            self._cache_kb,
            ["PRAGMA journal_mode = WAL", f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"],
        )

    def transaction(self, session: Session, _generation: int) -> AbstractContextManager[Cursor]:
        return session.transaction(["BEGIN IMMEDIATE"])

    def insert(self, cursor: Cursor, table: str, values: Sequence[Values]) -> int:
        cursor.executemany(self.statements.insert(table), values)
        return cursor.rowcount

    def upsert(self, cursor: Cursor, table: str, values: Sequence[Values]) -> None:
        cursor.executemany(self.statements.upsert(table), values)

    def may_write(self) -> bool:
        return os.access(self.folder, os.W_OK)

    def claim(self) -> FileClaim | None:
        self.folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        path = self.folder / "projector.lock"
        file = path.open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return FileClaim(file, path)

    def close(self) -> None:
        """Nothing is held open."""

    def any_of(self, values: list[str] | list[int]) -> object:
        return msgspec.json.encode(values).decode()

    def _engine(
        self, generation: int, mode: str, connections: int, cache_kb: int, more: list[str]
    ) -> Engine:
        file = self._file(generation)
        if not file.exists():
            raise ReadModelDown(f"generation {generation} of the read model is not there")
        engine = create_engine(
            # Not mode rwc: opening a dropped generation must not create it again.
            URL.create(
                "sqlite",
                database=f"file:{quote(str(file))}",
                query={"mode": mode, "uri": "true"},
            ),
            paramstyle="named",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_reset_on_return=None,
            connect_args={
                "isolation_level": None,  # transactions begin where we say so
                "check_same_thread": False,  # the pool gives a connection to one thread at a time
                "timeout": LOCK_TIMEOUT_MS / MS_PER_S,
            },
        )
        settings = [
            "PRAGMA synchronous = NORMAL",
            f"PRAGMA cache_size = -{cache_kb}",
            "PRAGMA temp_store = MEMORY",
            *more,
        ]

        @event.listens_for(engine, "connect")
        def set_up(connection: sqlite3.Connection, _record: Any) -> None:
            for setting in settings:
                connection.execute(setting)

        return engine

    def _migrate(self, generation: int) -> None:
        file = self._file(generation)
        file.touch(FILE_MODE)
        file.chmod(FILE_MODE)  # SQLite gives its -wal and -shm files the same mode
        engine = self.writing(generation)
        try:
            migrate(engine, ["BEGIN IMMEDIATE"])
        finally:
            engine.dispose()

    def _file(self, generation: int) -> Path:
        return self.folder / f"generation-{generation:06d}.db"

    def _pointer(self) -> Pointer:
        try:
            return _read_pointer(self._pointer_file.read_bytes())
        except FileNotFoundError:
            return Pointer()
        except (OSError, UnreadableJson) as error:
            raise down(error) from error

    def _point(self, pointer: Pointer) -> None:
        """Replace the file in one step, after its content is on disk."""
        temporary = self._pointer_file.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(pointer))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._pointer_file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes the folder. Raises ReadModelDown after LOCK_TIMEOUT_MS."""
        with (self.folder / "lock").open("wb") as file:
            until = self._clock.monotonic_s() + LOCK_TIMEOUT_MS / MS_PER_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as busy:
                    if self._clock.monotonic_s() > until:
                        raise ReadModelDown("another process changes the read model") from busy
                    self._clock.sleep(FOLDER_LOCK_POLL_S)
            yield


class FileClaim:
    """A locked file; the kernel unlocks it when the process ends in any way."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    def held(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False  # the folder was removed: another projector would lock a new file

    def close(self) -> None:
        self._file.close()
