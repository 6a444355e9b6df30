"""Runs SQL on raw connections of a SQLAlchemy engine, and turns lost connections and timeouts into
ReadModelDown.

SQLAlchemy provides the pool and detects broken connections. Its statement execution costs more than
a point read does, so it is not used. Nothing is retried here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from readmodel.ports import ReadModelDown

Parameters = Mapping[str, Any] | Sequence[Any]


class Cursor(Protocol):
    """What both drivers' cursors have."""

    rowcount: int

    def execute(self, sql: str, parameters: Parameters = ...) -> Any: ...

    def executemany(self, sql: str, parameters: Sequence[Parameters]) -> Any: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


def down(error: BaseException) -> ReadModelDown:
    """A ReadModelDown with the error's first line, without the statement and its values."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ReadModelDown(f"the read model's database does not answer: {first}")


class Session:
    """The pooled connections of an engine. Each method raises ReadModelDown.

    With `keeps`, one idle connection stays checked out of the pool, because a checkout costs as
    much as a point read. Only for an engine with several connections: the pool does not know that
    this one is idle.
    """

    def __init__(self, engine: Engine, *, keeps: bool = False) -> None:
        self.engine = engine
        self._keeps = keeps
        self._kept: list[PoolProxiedConnection] = []
        dbapi = engine.dialect.loaded_dbapi
        self._error: type[Exception] = dbapi.Error
        self._trouble = (dbapi.OperationalError, dbapi.InterfaceError)

    def close(self) -> None:
        """Closes the connections that are not in use, and the others when they are given back."""
        self._keeps = False
        self._drop()

    def _drop(self) -> None:
        kept = self._kept_one()
        while kept is not None:
            kept.close()
            kept = self._kept_one()
        self.engine.dispose()

    def _kept_one(self) -> PoolProxiedConnection | None:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def all(self, sql: str, parameters: Parameters = ()) -> list[Any]:
        """All rows of a query."""
        connection = self._connection()
        try:
            cursor: Cursor = connection.cursor()  # type: ignore[assignment]
            cursor.execute(sql, parameters)
            found = cursor.fetchall()
        except BaseException as error:
            self._give_up(connection, error)
            raise
        self._give_back(connection)
        return found

    def one(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first row or None."""
        connection = self._connection()
        try:
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            found = cursor.fetchone()
            cursor.close()  # until then SQLite holds the state that it read
        except BaseException as error:
            self._give_up(connection, error)
            raise
        self._give_back(connection)
        return found

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor on a pooled connection, which goes back to the pool at the end."""
        connection = self._connection()
        try:
            yield connection.cursor()  # type: ignore[misc]
        except BaseException as error:
            self._give_up(connection, error)
            raise
        self._give_back(connection)

    def _give_up(self, connection: PoolProxiedConnection, error: BaseException) -> None:
        """Give the connection back after this error. Raises ReadModelDown for the database's
        trouble; any other error is the caller's to raise.
        """
        try:
            if not isinstance(error, self._error):
                return
            if self.engine.dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
                connection.invalidate(error)
                self._drop()  # idle connections are broken too
            if isinstance(error, self._trouble):
                raise down(error) from error
        finally:
            connection.close()

    def _give_back(self, connection: PoolProxiedConnection) -> None:
        if self._keeps and not self._kept:
            self._kept.append(connection)
        else:
            connection.close()

    @contextmanager
    def transaction(self, begin: Sequence[str]) -> Iterator[Cursor]:
        """A transaction: these statements begin it, the end commits it, an error rolls it back."""
        with self.cursor() as cursor:
            try:
                for statement in begin:
                    cursor.execute(statement)
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                # A broken connection has already rolled back.
                with suppress(self._error):
                    cursor.execute("ROLLBACK")
                raise

    def _connection(self) -> PoolProxiedConnection:
        kept = self._kept_one()
        if kept is not None:
            return kept
        try:
            return self.engine.raw_connection()
        except PoolTimeout as error:
            raise ReadModelDown("every connection to the read model is in use") from error
        except self._error as error:  # raw_connection raises the driver's own errors
            raise down(error) from error
