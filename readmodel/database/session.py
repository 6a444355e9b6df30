"""Runs SQL on the raw connections of an engine and says what its errors mean.

SQLAlchemy keeps the pool and knows a broken connection; its own execution, which costs more than
a point read itself, is not used. Nothing is tried again here.
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
    """The error in a sentence, without the statement and its values."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ReadModelDown(f"the read model's database does not answer: {first}")


class Session:
    """One engine's connections."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        dbapi = engine.dialect.loaded_dbapi
        self._error: type[Exception] = dbapi.Error
        self._trouble = (dbapi.OperationalError, dbapi.InterfaceError)

    def all(self, sql: str, parameters: Parameters = ()) -> list[Any]:
        """All rows of a query."""
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first row or None."""
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor of a pooled connection, which is given back. Raises ReadModelDown."""
        connection = self._connection()
        try:
            yield connection.cursor()  # type: ignore[misc]
        except self._error as error:
            if self.engine.dialect.is_disconnect(error, connection, None):  # type: ignore[arg-type]
                connection.invalidate(error)
                self.engine.dispose()  # the idle ones are as broken
            if isinstance(error, self._trouble):
                raise down(error) from error
            raise
        finally:
            connection.close()

    @contextmanager
    def transaction(self, begin: Sequence[str]) -> Iterator[Cursor]:
        """Begun by these statements, committed at the end, undone by any error."""
        with self.cursor() as cursor:
            try:
                for statement in begin:
                    cursor.execute(statement)
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                # A broken connection has undone it already and cannot be told to.
                with suppress(self._error):
                    cursor.execute("ROLLBACK")
                raise

    def _connection(self) -> PoolProxiedConnection:
        try:
            return self.engine.raw_connection()
        except PoolTimeout as error:
            raise ReadModelDown("every connection to the read model is in use") from error
        except self._error as error:  # raw ones come as the driver's own
            raise down(error) from error
