"""The migrations create the tables that the code declares, on both databases."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine

from readmodel import rows, tables
from readmodel.database.migrate import REVISIONS, migrate
from readmodel.database.statements import named_queries
from readmodel.model import Model, default_url, open_model
from readmodel.ports import ReadModelDown
from readmodel.tables import STRUCTS
from tests.clock import HeldClock
from tests.postgres import Postgres
from tests.readmodel.rows import payment

pytestmark = pytest.mark.slow

POSTGRES_SCHEMA = (
    """
    SELECT table_name, column_name, ordinal_position, data_type, is_nullable, collation_name,
           column_default, is_identity
    FROM information_schema.columns WHERE table_schema = current_schema()
    """,
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace
    """,
)
SQLITE_SCHEMA = ("SELECT type, name, tbl_name, sql FROM sqlite_master",)


@pytest.fixture(params=["sqlite", "postgres"])
def two_empty(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Engine, Engine, tuple[str, ...]]]:
    """Two empty databases, and a function that describes their tables."""
    if request.param == "sqlite":
        made = [create_engine(f"sqlite:///{tmp_path / name}.db") for name in "ab"]
        yield made[0], made[1], SQLITE_SCHEMA
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as first, server.database() as second:
        engines = [create_engine(url) for url in (first, second)]
        yield engines[0], engines[1], POSTGRES_SCHEMA
        for engine in engines:
            engine.dispose()


def described(engine: Engine, schema: tuple[str, ...]) -> set[str]:
    """Everything about the tables except Alembic's."""
    with engine.connect() as connection:
        found = [tuple(row) for query in schema for row in connection.exec_driver_sql(query)]
    plain = {re.sub(r"\s+", " ", repr(row)) for row in found}
    return {line for line in plain if "alembic_version" not in line}


def test_migrations_create_the_declared_tables(
    two_empty: tuple[Engine, Engine, tuple[str, ...]],
) -> None:
    migrated, made, schema = two_empty
    migrate(migrated, [])
    tables.METADATA.create_all(made)
    found = described(migrated, schema)
    assert len(found) > len(tables.METADATA.tables)
    assert found == described(made, schema)
    migrate(migrated, [])
    assert described(migrated, schema) == found


def test_there_is_one_newest_revision() -> None:
    assert len(ScriptDirectory(str(REVISIONS)).get_heads()) == 1


def test_a_tables_columns_are_its_structs_fields_in_order() -> None:
    for name, struct in STRUCTS.items():
        columns = [column.name for column in tables.METADATA.tables[name].columns]
        assert columns == list(struct.__struct_fields__), name
    without = set(tables.METADATA.tables) - set(STRUCTS)
    assert without == {"offsets", "counts"}


def test_every_named_query_is_used_and_every_used_one_exists() -> None:
    used: set[str] = set()
    for file in Path(tables.__file__).parent.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        used |= set(re.findall(r'(?:_sql|named)\[\s*"(\w+)"', text))
        used |= set(re.findall(r'_rows?\(\s*"(\w+)"', text))
    assert used == set(named_queries())


def test_many_processes_may_create_the_model_at_once(empty_url: str) -> None:
    made: list[int] = []

    def start() -> None:
        model = open_model(empty_url)
        made.append(model.store.prepare())
        model.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    model = open_model(empty_url)
    assert made == [1, 1, 1, 1]
    assert model.generations() == [1]
    model.close()


def test_a_failed_migration_leaves_nothing(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, held_clock: HeldClock
) -> None:
    model = open_model(empty_url, clock=held_clock)
    broken = tables.METADATA.tables["minutes"]
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_table", _fail_at(broken.name))
        with pytest.raises(RuntimeError, match="no room"):
            model.writer()
    assert model.current() == 0
    writer = model.writer()
    writer.apply(rows.Batch(payments=[payment(1)]))
    assert model.reader().payment("pi_0001") == payment(1)
    model.close()


def _fail_at(table: str) -> object:
    from alembic import op

    create = op.create_table

    def made(name: str, *columns: object, **options: object) -> object:
        if name == table:
            raise RuntimeError("no room on the disk")
        return create(name, *columns, **options)  # type: ignore[arg-type]

    return made


def test_other_databases_are_refused(tmp_path: Path) -> None:
    for url in ("mysql://h/d", "sqlite://", "postgresql://h/d", "postgresql+asyncpg://h/d"):
        with pytest.raises(ValueError, match="the read model is"):
            open_model(url)
    assert isinstance(open_model(default_url(tmp_path)), Model)


def test_a_broken_pointer_is_reported_and_not_taken_for_an_empty_model(tmp_path: Path) -> None:
    model = open_model(default_url(tmp_path))
    model.writer()
    (tmp_path / "readmodel" / "current.json").write_bytes(b"{")
    with pytest.raises(ReadModelDown):
        model.reader().payment("pi_0001")
    with pytest.raises(ReadModelDown):
        model.writer()
