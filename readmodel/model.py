"""The read model as a whole: opens it, hands out its two sides, makes and switches generations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from engine.clock import Clock, SystemClock
from engine.ports import TopicPartition
from readmodel.database import address
from readmodel.database.postgres import PostgresStore
from readmodel.database.session import Cursor, Session
from readmodel.database.sqlite import SqliteStore
from readmodel.database.store import Claim, Store
from readmodel.ports import ReadModelDown
from readmodel.reader import FOLLOW_S, DatabaseReader
from readmodel.writer import DatabaseWriter, offsets_in

POSTGRES: Final = "postgresql+psycopg"
LEFT_AFTER_S: Final = 4 * FOLLOW_S  # a reader follows within one, its list takes less than another
JOURNAL: Final = "npp.payment.events.v1"

CatchUp = Callable[[Mapping[TopicPartition, int]], None]


class Behind(Exception):
    """The generation has not read what the current one has: readers would go back."""


def default_url(data_dir: Path) -> str:
    """SQLite in the data folder."""
    return f"sqlite:///{(data_dir / 'readmodel').absolute()}"


def open_model(url: str, *, clock: Clock | None = None, journal: str = JOURNAL) -> Model:
    """`sqlite:///<folder>` or `postgresql+psycopg://…`. Nothing is asked of the database yet.

    `journal` is the topic of the events. Raises ValueError for another kind of database; no error
    repeats the address, which may hold a password.
    """
    clock = clock or SystemClock()
    parsed = address.parsed(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Model(SqliteStore(Path(parsed.database), clock), clock, journal)
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
        """For many threads; follows a switch within a second."""
        return DatabaseReader(self.store, self._clock, self._journal)

    def writer(self, generation: int | None = None) -> DatabaseWriter:
        """Of the current generation, which is made where there is none and brought up to date."""
        return DatabaseWriter(self.store, generation or self.store.prepare())

    def claim(self) -> Claim | None:
        """What the running projector holds, so that there is one; None when another holds it.

        It keeps the second one quiet. What keeps rows right is the offsets' compare-and-set alone:
        a rebuild writes its own generation without it. Raises ReadModelDown.
        """
        return self.store.claim()

    def current(self) -> int:
        """The generation that readers read; 0 when there is none."""
        return self.store.current()

    def generations(self) -> list[int]:
        """All that exist."""
        return self.store.generations()

    def new_generation(self) -> int:
        """An empty one, beside the current one."""
        return self.store.create()

    def switch_to(self, generation: int, catch_up: CatchUp | None = None) -> None:
        """Readers read this one from now on. Nothing is written to the one before while
        `catch_up` brings the new one to the given offsets (a writer that waits longer than its
        bound raises ReadModelDown), nor ever after (it is Fenced).

        Raises Behind when the new one has not read as much; then all stays as it was.
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
        """Nobody moves the offsets of the old one now: bring the new one there."""
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
        """Closes what is held open; readers and writers are closed by themselves."""
        self.store.close()

    def drop_generation(self, generation: int) -> None:
        """Raises ValueError for the current one. Waits first, until all readers have left it."""
        current = self.store.current()
        if generation == current:
            raise ValueError(f"generation {generation} is the current one")
        if generation < current:
            self._clock.sleep(LEFT_AFTER_S)
        self.store.drop(generation)
