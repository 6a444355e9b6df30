"""The read model as a whole: opens it, gives reader and writer, makes and switches generations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from engine.clock import Clock, SystemClock
from engine.ports import TopicPartition
from engine.store.budget import CACHE_BYTES
from readmodel.database import address
from readmodel.database.postgres import PostgresStore
from readmodel.database.session import Cursor, Session
from readmodel.database.sqlite import SqliteStore
from readmodel.database.store import Claim, Store
from readmodel.ports import ReadModelDown
from readmodel.reader import FOLLOW_S, DatabaseReader
from readmodel.writer import DatabaseWriter, offsets_in

POSTGRES: Final = "postgresql+psycopg"
LEFT_AFTER_S: Final = 4 * FOLLOW_S  # a reader follows within one FOLLOW_S, and then ends its query
JOURNAL: Final = "npp.payment.events.v1"

CatchUp = Callable[[Mapping[TopicPartition, int]], None]


class Behind(Exception):
    """The generation lacks records that the current one has: readers would see older states."""


def default_url(data_dir: Path) -> str:
    """The URL of a SQLite read model in the data folder."""
    return f"sqlite:///{(data_dir / 'readmodel').absolute()}"


def open_model(
    url: str,
    *,
    clock: Clock | None = None,
    journal: str = JOURNAL,
    cache_bytes: int = CACHE_BYTES,
) -> Model:
    """`sqlite:///<folder>` or `postgresql+psycopg://…`. It does not connect yet.

    `journal` is the topic of the events, `cache_bytes` SQLite's page cache in the process that
    writes. Raises ValueError for another kind of database; no error repeats the URL, which may hold
    a password.
    """
    clock = clock or SystemClock()
    parsed = address.parsed(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Model(SqliteStore(Path(parsed.database), clock, cache_bytes), clock, journal)
    if parsed.drivername == POSTGRES:
        return Model(PostgresStore(parsed), clock, journal)
    raise ValueError("the read model is sqlite:///<folder> or postgresql+psycopg://…")


class Model:
    """Generations: one is current, others are being filled or were current before."""

    def __init__(self, store: Store, clock: Clock, journal: str) -> None:
        self.store = store
        self._clock = clock
        self._journal = journal

    def reader(self) -> DatabaseReader:
        """A reader, safe for many threads. It follows a switch within a second."""
        return DatabaseReader(self.store, self._clock, self._journal)

    def writer(self, generation: int | None = None) -> DatabaseWriter:
        """A writer of that generation; without one of the current generation, which is created or
        migrated first. Raises ReadModelDown.
        """
        return DatabaseWriter(self.store, generation or self.store.prepare())

    def claim(self) -> Claim | None:
        """Take the lock of the running projector; None when another one has it.

        With it a second projector waits. Correctness does not depend on it, but on the
        compare-and-set of offsets; a rebuild writes its own generation without it. Raises
        ReadModelDown.
        """
        return self.store.claim()

    def current(self) -> int:
        """The generation that readers read; 0 when there is none."""
        return self.store.current()

    def generations(self) -> list[int]:
        """The numbers of all generations that exist, ascending."""
        return self.store.generations()

    def new_generation(self) -> int:
        """Create an empty generation beside the current one. Returns its number."""
        return self.store.create()

    def switch_to(self, generation: int, catch_up: CatchUp | None = None) -> None:
        """Make this the generation that readers read. While `catch_up` brings it to the offsets of
        the current one, nothing is written to that one (a writer that waits too long raises
        ReadModelDown), nor afterwards (its writer is Fenced).

        Raises Behind, and changes nothing, when the new one still lacks records; ValueError when it
        is not newer; ReadModelDown.
        """
        before = self.store.current()
        if generation not in self.store.generations():
            raise ReadModelDown(f"generation {generation} of the read model is not there")
        if generation <= before:
            raise ValueError(f"generation {generation} is not newer than {before}")
        with ExitStack() as ends:
            new = Session(self.store.writing(generation))
            ends.callback(new.engine.dispose)
            held = generation
            old = new
            if before:
                held, old = before, Session(self.store.writing(before))
                ends.callback(old.engine.dispose)
            with self.store.transaction(old, held) as cursor:
                if before:
                    self._reach(cursor, new, generation, catch_up)
                self.store.point_to(generation, cursor)

    def _reach(
        self, cursor: Cursor, new: Session, generation: int, catch_up: CatchUp | None
    ) -> None:
        """Bring the new generation to the old one's offsets, which are locked. Raises Behind."""
        sql = self.store.statements.named["offsets"]
        cursor.execute(sql)
        reached = offsets_in(cursor.fetchall())
        if catch_up is not None:
            catch_up(reached)
        now = offsets_in(new.all(sql))
        behind = {
            f"{topic}/{partition}": following - now.get((topic, partition), 0)
            for (topic, partition), following in reached.items()
            if now.get((topic, partition), 0) < following
        }
        if behind:
            raise Behind(f"generation {generation} lacks records of {behind}")

    def close(self) -> None:
        """Closes the store's own connections. Readers and writers are closed by themselves."""
        self.store.close()

    def drop_generation(self, generation: int) -> None:
        """Delete a generation, LEFT_AFTER_S later if readers may still read it. Raises ValueError
        for the current one.
        """
        current = self.store.current()
        if generation == current:
            raise ValueError(f"generation {generation} is the current one")
        if generation < current:
            self._clock.sleep(LEFT_AFTER_S)
        self.store.drop(generation)
