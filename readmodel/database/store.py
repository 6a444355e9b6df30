"""Where generations are kept: the port that SQLite and PostgreSQL implement."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Engine

from readmodel.database.session import Cursor, Session
from readmodel.database.statements import Statements, Values

READ_TIMEOUT_MS: Final = 5_000  # a list of the API is expected in 50 ms
WRITE_TIMEOUT_MS: Final = 30_000  # a projector's statement; its batch is expected in 1 s
LOCK_TIMEOUT_MS: Final = 5_000  # for another writer's transaction
CONNECT_TIMEOUT_S: Final = 3
POOL_SIZE: Final = 16  # the API's worker threads that read at once
POOL_WAIT_S: Final = 2.0


class Claim(Protocol):
    """A projector's exclusive lock on a read model. It ends with the process at the latest."""

    def held(self) -> bool:
        """Whether it is still held: after a lost connection another projector may have it."""

    def close(self) -> None:
        """Release it for another projector."""


class Store(Protocol):
    """Generations by number. Numbers only go up; 0 stands for none."""

    statements: Statements

    def current(self) -> int:
        """The generation that readers read. Raises ReadModelDown."""

    def replaced(self, generation: int, cursor: Cursor, /) -> bool:
        """Whether a newer generation is current, as seen from this one's writing transaction."""

    def generations(self) -> list[int]:
        """The numbers of all generations that exist, ascending."""

    def prepare(self) -> int:
        """Create the first generation if there is none, and migrate the current one's tables.
        Returns its number. Raises ReadModelDown."""

    def create(self) -> int:
        """Create an empty generation beside the current one. Returns its number."""

    def point_to(self, generation: int, cursor: Cursor, /) -> None:
        """Make it the current one, at the latest when that transaction ends."""

    def drop(self, generation: int) -> None: ...

    def reading(self, generation: int) -> Engine:
        """A pool of read-only connections, with a transaction for each statement."""

    def writing(self, generation: int) -> Engine:
        """A pool of the one connection that writes."""

    def transaction(self, session: Session, generation: int, /) -> AbstractContextManager[Cursor]:
        """A generation's writing transaction, one at a time: the end commits it, an error rolls it
        back. Raises ReadModelDown."""

    def insert(self, cursor: Cursor, table: str, values: Sequence[Values], /) -> int:
        """Add rows, in a writing transaction. A row whose key exists stays as it is. Returns how
        many were added."""

    def upsert(self, cursor: Cursor, table: str, values: Sequence[Values], /) -> None:
        """Add rows, or replace those of their keys. Of two with one key the last one is kept."""

    def may_write(self) -> bool:
        """Whether the database role, or the folder's permissions, would allow this process to
        write. Raises ReadModelDown."""

    def claim(self) -> Claim | None:
        """Take the projector's lock; None when another process has it. Raises ReadModelDown."""

    def close(self) -> None: ...

    def any_of(self, values: list[str] | list[int]) -> object:
        """The list as the value of a query's `{=any …}` parameter."""
