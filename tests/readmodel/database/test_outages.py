"""The read model while its database is unavailable, slow or locked: ReadModelDown within a bound,
no hidden retry, and automatic recovery.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.exits import Problem
from app.read_model import require_read_only
from engine.clock import SystemClock
from readmodel import rows
from readmodel.database import postgres as postgres_store
from readmodel.database import sqlite as sqlite_store
from readmodel.database import store
from readmodel.model import default_url, open_model
from readmodel.ports import ReadModelDown
from tests.clock import HeldClock
from tests.postgres import OwnServer, Postgres
from tests.readmodel.rows import JOURNAL, NOW_MS, moved, payment
from tests.rooms import ROOT

pytestmark = pytest.mark.slow

READER_SQL = ROOT.joinpath("deploy/read-model/reader.sql").read_text("utf-8")
WRITES = (
    "DELETE FROM payments",
    "UPDATE offsets SET next = 0",
    "INSERT INTO counts VALUES ('x', 1)",
    "DROP TABLE payments",
    "TRUNCATE npp_readmodel_1.events",
    "UPDATE npp_readmodel.pointer SET current = 1",
    "CREATE SCHEMA npp_readmodel_9",
    "CREATE TABLE npp_readmodel.mine (x int)",
)
BOUND_S = 20.0  # the timeouts are 3 to 10 seconds, and the machine may be busy


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    # Commits are written, as in production; only the disk sync is not awaited.
    with OwnServer({"fsync": "off"}) as server:
        yield server


def test_a_killed_server_is_reported_at_once_and_loses_nothing_that_was_applied(
    own_server: OwnServer,
) -> None:
    url = str(own_server.running.server.render_as_string(hide_password=False))
    # With a held clock the reader does not look for a new generation over another connection.
    model = open_model(url, clock=HeldClock(NOW_MS))
    writer, reader = model.writer(), model.reader()
    writer.apply(rows.Batch(moved=[moved(0, 1)], payments=[payment(1)]))
    assert reader.payment("pi_0001") == payment(1)
    own_server.kill()
    started = SystemClock().monotonic_s()
    for _ in range(2):
        with pytest.raises(ReadModelDown, match="does not answer"):
            reader.payment("pi_0001")
        with pytest.raises(ReadModelDown):
            writer.apply(rows.Batch(moved=[moved(1, 2)]))
    with pytest.raises(ReadModelDown):
        model.current()
    assert SystemClock().monotonic_s() - started < BOUND_S
    own_server.start()
    assert reader.payment("pi_0001") == payment(1)
    writer.apply(rows.Batch(moved=[moved(1, 2)]))
    assert dict(reader.projected()) == {(JOURNAL, 0): 2}
    model.close()


def test_a_closed_connection_fails_once_and_the_next_query_succeeds(
    postgres: Postgres,
) -> None:
    with postgres.database() as url:
        model = open_model(url, clock=HeldClock(NOW_MS))  # as above
        writer, reader = model.writer(), model.reader()
        writer.apply(rows.Batch(payments=[payment(1)]))
        assert reader.payment("pi_0001") == payment(1)
        with postgres.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (make_url(url).database,),
            )
        with pytest.raises(ReadModelDown):
            reader.payment("pi_0001")
        assert reader.payment("pi_0001") == payment(1)
        with pytest.raises(ReadModelDown):
            writer.apply(rows.Batch(payments=[payment(2)]))
        writer.apply(rows.Batch(payments=[payment(2)]))
        assert reader.payment("pi_0002") == payment(2)
        model.close()


def test_a_statement_that_takes_too_long_is_cancelled(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.database() as url:
        first = open_model(url)
        first.writer().apply(rows.Batch(payments=[payment(1)]))
        first.close()
        monkeypatch.setattr(postgres_store, "READ_TIMEOUT_MS", 1_500)  # for reads only
        model = open_model(url)
        reader = model.reader()
        assert reader.payment("pi_0001") == payment(1)
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain) as other:
            other.execute("LOCK TABLE npp_readmodel_1.payments IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(ReadModelDown, match="timeout"):
                reader.payment("pi_0001")
        assert reader.payment("pi_0001") == payment(1)
        model.close()


def test_no_reader_can_write(postgres: Postgres, tmp_path: Path) -> None:
    with postgres.database() as url:
        for address in (url, default_url(tmp_path)):
            model = open_model(address)
            model.writer().apply(rows.Batch(payments=[payment(1)]))
            session = model.reader()._current()
            with pytest.raises(Exception, match=r"read-?only"):
                session.one("DELETE FROM payments RETURNING 1")
            if make_url(address).get_backend_name() == "sqlite":
                with session.cursor() as cursor:
                    cursor.execute("PRAGMA query_only = OFF")
                    with pytest.raises(Exception, match="readonly"):
                        cursor.execute("DELETE FROM payments RETURNING 1")
            assert model.reader().payment("pi_0001") == payment(1)
            model.close()


@pytest.fixture
def reader_role(postgres: Postgres) -> Iterator[str]:
    """The role of deploy/read-model/reader.sh, and its password."""
    password = "read-only-1"
    with postgres.connect() as server:
        server.execute("DROP ROLE IF EXISTS npp_reader")
        server.execute(f"CREATE ROLE npp_reader LOGIN PASSWORD '{password}'")
        yield password
        server.execute("DROP ROLE npp_reader")


def test_the_apis_role_reads_every_generation_and_writes_none(
    postgres: Postgres, reader_role: str
) -> None:
    """SEC-04: even if it disables the client-side read-only mode; for generations from before and
    after the grants.
    """
    with postgres.database() as url:
        own = open_model(url)
        own.writer().apply(rows.Batch(payments=[payment(1)]))
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as projector:
            projector.execute(READER_SQL)
        api = open_model(
            make_url(url)
            .set(username="npp_reader", password=reader_role)
            .render_as_string(hide_password=False)
        )
        assert api.reader().payment("pi_0001") == payment(1)
        newer = own.new_generation()
        own.writer(newer).apply(rows.Batch(payments=[payment(1), payment(2)]))
        own.switch_to(newer)
        reader = api.reader()
        assert reader.payment("pi_0002") == payment(2)
        for statement in WRITES:
            with reader._current().cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = off")
                with pytest.raises(Exception, match=r"permission denied|must be owner"):
                    cursor.execute(statement)
        for write in (api.writer, api.new_generation, lambda: api.switch_to(newer + 1)):
            with pytest.raises(Exception, match=r"permission denied|read-only|is not there"):
                write()
        assert (own.store.may_write(), api.store.may_write()) == (True, False)
        require_read_only(api)
        with pytest.raises(Problem, match="can write"):
            require_read_only(own)
        assert reader.payment("pi_0001") == payment(1)
        reader.close()
        for model in (api, own):
            model.close()


def test_a_locked_file_fails_after_a_bounded_wait_and_readers_are_not_affected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readmodel.database.sqlite.LOCK_TIMEOUT_MS", 200)
    model = open_model(default_url(tmp_path))
    writer, reader = model.writer(), model.reader()
    writer.apply(rows.Batch(payments=[payment(1)]))
    other = sqlite3.connect(next((tmp_path / "readmodel").glob("*.db")), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ReadModelDown, match="locked"):
        writer.apply(rows.Batch(payments=[payment(2)]))
    assert reader.payment("pi_0001") == payment(1)
    other.execute("ROLLBACK")
    writer.apply(rows.Batch(payments=[payment(2)]))
    assert reader.payment("pi_0002") == payment(2)
    other.close()


@pytest.mark.parametrize("content", [b"\xff", b"{", b'{"current": "\xe4"}', b"[" * 60_000])
def test_an_unreadable_pointer_is_a_failure_and_no_crash(tmp_path: Path, content: bytes) -> None:
    """UnicodeDecodeError is raised besides msgspec's own error."""
    model = open_model(default_url(tmp_path))
    model.writer()
    (tmp_path / "readmodel" / "current.json").write_bytes(content)
    with pytest.raises(ReadModelDown):
        model.writer()


def test_more_threads_than_connections_all_get_answers(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (postgres_store, sqlite_store):  # connections are not given in order of request
        monkeypatch.setattr(kind, "POOL_WAIT_S", 30.0)
    with postgres.database() as url:
        for address in (url, default_url(tmp_path)):
            model = open_model(address)
            model.writer().apply(rows.Batch(payments=[payment(1)]))
            reader = model.reader()
            answers: list[object] = []

            def ask(reader=reader, answers=answers) -> None:  # type: ignore[no-untyped-def]
                answers.extend(reader.payment("pi_0001") for _ in range(50))

            threads = [threading.Thread(target=ask) for _ in range(2 * store.POOL_SIZE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert answers == [payment(1)] * (50 * len(threads))
            model.close()
