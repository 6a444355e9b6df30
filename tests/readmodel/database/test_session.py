"""The one connection that a session keeps at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from readmodel.database.session import Session
from readmodel.ports import ReadModelDown


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Any]:
    """The pool of two connections to an empty database."""
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.db'}", pool_size=2, max_overflow=0)
    yield engine
    engine.dispose()


def test_one_connection_stays_checked_out_until_the_session_is_closed(pool: Any) -> None:
    session = Session(pool, keeps=True)
    for _ in range(3):
        assert session.one("SELECT 1") == (1,)
        assert session.all("SELECT 2") == [(2,)]
        assert pool.pool.checkedout() == 1
    session.close()
    assert pool.pool.checkedout() == 0


def test_a_second_connection_and_one_given_back_after_the_end_go_to_the_pool(pool: Any) -> None:
    session = Session(pool, keeps=True)
    with session.cursor(), session.cursor():
        assert pool.pool.checkedout() == 2
    assert pool.pool.checkedout() == 1
    with session.cursor():
        session.close()
    assert pool.pool.checkedout() == 0


def test_a_connection_that_failed_is_not_kept(pool: Any) -> None:
    session = Session(pool, keeps=True)
    assert session.one("SELECT 1") == (1,)
    for read in (session.one, session.all):
        with pytest.raises(ReadModelDown):
            read("SELECT 1 FROM nowhere")
        assert pool.pool.checkedout() == 0


def test_without_keeping_every_connection_goes_back(pool: Any) -> None:
    session = Session(pool)
    assert session.one("SELECT 1") == (1,)
    assert pool.pool.checkedout() == 0
