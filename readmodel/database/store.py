"""Where generations are kept: the port that SQLite and PostgreSQL fill."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Protocol

from sqlalchemy import Engine

from readmodel.database.session import Cursor, Session
from readmodel.database.statements import Statements

READ_TIMEOUT_MS: Final = 5_000  # a list of the API is expected in 50 ms
WRITE_TIMEOUT_MS: Final = 30_000  # a projector's statement; its batch is expected in 1 s
LOCK_TIMEOUT_MS: Final = 5_000  # for another writer's transaction
CONNECT_TIMEOUT_S: Final = 3
POOL_SIZE: Final = 16  # the API's worker threads that read at once
POOL_WAIT_S: Final = 2.0


class Claim(Protocol):
    """The one projector's hold on a read model. It ends with the process at the latest."""

    def held(self) -> bool:
        """Whether it is still ours: a database that was away may have given it to another."""

    def close(self) -> None:
        """Let another projector have it."""


class Store(Protocol):
    """Generations by number. Numbers only go up; 0 stands for none."""

    statements: Statements

    def current(self) -> int:
        """The generation that readers read. Raises ReadModelDown."""

    def replaced(self, generation: int, cursor: Cursor, /) -> bool:
        """Whether a newer one has become the current one, seen from its writing transaction."""

    def generations(self) -> list[int]:
        """All that exist, the current one among them."""

    def prepare(self) -> int:
        """Makes the first generation where there is none and brings the current one's tables up to
        date; returns its number."""

    def create(self) -> int:
        """An empty generation beside the current one."""

    def point_to(self, generation: int, cursor: Cursor, /) -> None:
        """The current one from the end of that transaction on, at the latest."""

    def drop(self, generation: int) -> None: ...

    def reading(self, generation: int) -> Engine:
        """Connections that read, each statement by itself."""

    def writing(self, generation: int) -> Engine:
        """The connection that writes."""

    def transaction(self, session: Session, generation: int, /) -> AbstractContextManager[Cursor]:
        """The only writing transaction of a generation: committed at the end, undone by any error.
        Raises ReadModelDown."""

    def may_write(self) -> bool:
        """Whether who connects has the right to write, whatever this process does. Raises
        ReadModelDown."""

    def claim(self) -> Claim | None:
        """The hold that only one has at a time; None when another has it. Raises ReadModelDown."""

    def close(self) -> None: ...

    def any_of(self, values: list[str] | list[int]) -> object:
        """A list as the parameter of `{=any ...}`."""
