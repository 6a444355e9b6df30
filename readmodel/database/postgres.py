"""PostgreSQL: a schema for each generation, and one with the row that says which is current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL

from readmodel.database.bulk import BULK_ROWS, Bulk
from readmodel.database.migrate import migrate
from readmodel.database.session import Cursor, Session
from readmodel.database.statements import Statements, Values
from readmodel.database.store import (
    CONNECT_TIMEOUT_S,
    LOCK_TIMEOUT_MS,
    POOL_SIZE,
    POOL_WAIT_S,
    READ_TIMEOUT_MS,
    WRITE_TIMEOUT_MS,
)
from readmodel.ports import ReadModelDown

SCHEMA: Final = "npp_readmodel"  # generation 3 is in npp_readmodel_3
MIGRATE_TIMEOUT_MS: Final = 600_000  # an index over all payments
UNANSWERED_MS_MAX: Final = 10_000  # then the connection counts as lost
POINTER_CONNECTIONS: Final = 2

# Advisory locks are numbers that the whole database shares: ours are (LOCKS, 0) for the pointer and
# (LOCKS, generation) for a generation's writing transaction. They end with the transaction.
LOCKS: Final = 0x4E5050

# (PROJECTOR, 0) belongs to the running projector as long as its connection lives. The server
# notices a host that is gone after 10 s and three unanswered keepalives, 5 s apart.
PROJECTOR: Final = LOCKS + 1
CLAIM: Final = "SELECT pg_try_advisory_lock(%s, 0)"
CLAIMED: Final = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND classid = %s AND objid = 0
            AND pid = pg_backend_pid() AND granted
    )
"""
MAY_WRITE: Final = """
    SELECT has_database_privilege(current_database(), 'CREATE')
        OR coalesce(has_table_privilege(to_regclass('npp_readmodel.pointer'), 'UPDATE'), false)
"""
NOTICED_IN_TIME: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

MAKE_POINTER: Final = (
    "CREATE SCHEMA IF NOT EXISTS npp_readmodel",
    """
    CREATE TABLE IF NOT EXISTS npp_readmodel.pointer (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        current bigint NOT NULL,
        last bigint NOT NULL
    )
    """,
    "INSERT INTO npp_readmodel.pointer (current, last) VALUES (0, 0) ON CONFLICT DO NOTHING",
)
POINTER_EXISTS: Final = "SELECT to_regclass('npp_readmodel.pointer') IS NOT NULL"
POINTER: Final = "SELECT current, last FROM npp_readmodel.pointer"
POINT: Final = "UPDATE npp_readmodel.pointer SET current = %s, last = %s"
SCHEMAS: Final = "SELECT nspname FROM pg_namespace WHERE nspname ~ '^npp_readmodel_[0-9]+$'"


class PostgresStore:
    """Generations in a PostgreSQL database. It touches nothing else there."""

    def __init__(self, url: URL) -> None:
        self._url = url
        pointer = self._engine("", POINTER_CONNECTIONS, READ_TIMEOUT_MS, {})
        self.statements = Statements(pointer.dialect, "= ANY(:{0})")
        self._bulk = Bulk(self.statements)
        self._pointer = Session(pointer)
        self._pointer_seen = False

    def current(self) -> int:
        return self._numbers()[0]

    def replaced(self, generation: int, cursor: Cursor) -> bool:
        return self._read(cursor)[0] > generation

    def generations(self) -> list[int]:
        found = self._pointer.all(SCHEMAS)
        return sorted(int(name.rpartition("_")[2]) for (name,) in found)

    def prepare(self) -> int:
        with self._changing() as cursor:
            current, last = self._read(cursor)
            generation = current or last + 1
            self._migrate(generation)
            if not current:
                cursor.execute(POINT, (generation, generation))
            return generation

    def create(self) -> int:
        with self._changing() as cursor:
            current, last = self._read(cursor)
            self._migrate(last + 1)
            cursor.execute(POINT, (current, last + 1))
            return last + 1

    def point_to(self, generation: int, cursor: Cursor) -> None:
        cursor.execute(lock(0))
        _, last = self._read(cursor)
        cursor.execute(POINT, (generation, max(generation, last)))

    def drop(self, generation: int) -> None:
        with self._changing() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema_of(generation)} CASCADE")

    def reading(self, generation: int) -> Engine:
        options = {"default_transaction_read_only": "on"}
        return self._engine(schema_of(generation), POOL_SIZE, READ_TIMEOUT_MS, options)

    def writing(self, generation: int) -> Engine:
        return self._engine(schema_of(generation), 1, WRITE_TIMEOUT_MS, {})

    def transaction(self, session: Session, generation: int) -> AbstractContextManager[Cursor]:
        return session.transaction(["BEGIN", lock(generation)])

    def insert(self, cursor: Cursor, table: str, values: Sequence[Values]) -> int:
        if len(values) >= BULK_ROWS:
            self._bulk.copy(cursor, table, values)
            cursor.execute(self._bulk.insert(table))
        else:
            cursor.executemany(self.statements.insert(table), values)
        return cursor.rowcount

    def upsert(self, cursor: Cursor, table: str, values: Sequence[Values]) -> None:
        if len(values) >= BULK_ROWS and self._bulk.distinct(table, values):
            self._bulk.copy(cursor, table, values)
            cursor.execute(self._bulk.upsert(table))
        else:
            cursor.executemany(self.statements.upsert(table), values)

    def any_of(self, values: list[str] | list[int]) -> object:
        return values

    def may_write(self) -> bool:
        may: bool = self._pointer.one(MAY_WRITE)[0]
        return may

    def claim(self) -> SessionClaim | None:
        session = Session(self._engine("", 1, READ_TIMEOUT_MS, NOTICED_IN_TIME))
        claim = SessionClaim(session)
        try:
            claimed: bool = session.one(CLAIM, (PROJECTOR,))[0]
        except BaseException:
            claim.close()
            raise
        if not claimed:
            claim.close()
            return None
        return claim

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self._pointer.engine.dispose()

    def _engine(
        self, schema: str, connections: int, timeout_ms: int, options: Mapping[str, str]
    ) -> Engine:
        settings = {
            "search_path": schema,
            "statement_timeout": str(timeout_ms),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(WRITE_TIMEOUT_MS),
            **options,
        }
        return create_engine(
            self._url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_reset_on_return=None,
            connect_args={
                "autocommit": True,  # transactions begin where we say so
                "connect_timeout": CONNECT_TIMEOUT_S,
                "tcp_user_timeout": UNANSWERED_MS_MAX,
                "application_name": "npp",
                "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            },
        )

    def _migrate(self, generation: int) -> None:
        engine = self._engine(schema_of(generation), 1, MIGRATE_TIMEOUT_MS, {})
        try:
            migrate(engine, ["BEGIN", f"CREATE SCHEMA IF NOT EXISTS {schema_of(generation)}"])
        finally:
            engine.dispose()

    def _changing(self) -> AbstractContextManager[Cursor]:
        """A transaction that may change the pointer: one at a time."""
        return self._pointer.transaction(["BEGIN", lock(0), *MAKE_POINTER])

    def _numbers(self) -> tuple[int, int]:
        if not self._pointer_seen:
            self._pointer_seen = bool(self._pointer.one(POINTER_EXISTS)[0])
        if not self._pointer_seen:
            return 0, 0
        return numbers(self._pointer.one(POINTER))

    def _read(self, cursor: Cursor) -> tuple[int, int]:
        cursor.execute(POINTER)
        return numbers(cursor.fetchone())


class SessionClaim:
    """A session lock on a connection of its own: the server releases it when that ends."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def held(self) -> bool:
        try:
            held: bool = self._session.one(CLAIMED, (PROJECTOR,))[0]
        except ReadModelDown:
            return False
        return held

    def close(self) -> None:
        self._session.engine.dispose()


def numbers(row: Any) -> tuple[int, int]:
    """The current and the last generation. Raises ReadModelDown when the row is missing."""
    if row is None:
        raise ReadModelDown("the read model's pointer is empty")
    return row[0], row[1]


def schema_of(generation: int) -> str:
    """The schema of a generation's tables."""
    return f"{SCHEMA}_{int(generation)}"


def lock(number: int) -> str:
    """SQL that takes an advisory lock until the transaction ends; it waits LOCK_TIMEOUT_MS."""
    return f"SELECT pg_advisory_xact_lock({LOCKS}, {int(number)})"
