"""Fixtures for all tests that need a read model: one over each database."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from readmodel.model import Model, default_url, open_model
from tests.clock import HeldClock
from tests.postgres import Postgres
from tests.readmodel.rows import NOW_MS

DATABASES = ("sqlite", "postgres")


@pytest.fixture
def held_clock() -> HeldClock:
    """The read models' clock; advance it to make readers look for a newer generation."""
    return HeldClock(NOW_MS)


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An unused URL for a read model, over each database."""
    if request.param == "sqlite":
        yield default_url(tmp_path)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(scope="session")
def made_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty first generation, to be copied."""
    folder = tmp_path_factory.mktemp("readmodel")
    make_first(default_url(folder))
    return folder


@pytest.fixture(scope="session")
def made_postgres(postgres: Postgres) -> Iterator[str]:
    """A database with an empty first generation, to be copied."""
    with postgres.database() as url:
        make_first(url)
        yield url


def make_first(url: str) -> None:
    model = open_model(url)
    model.store.prepare()
    model.close()


@pytest.fixture(params=DATABASES)
def read_model_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a read model with an empty first generation, over each database."""
    if request.param == "sqlite":
        folder: Path = request.getfixturevalue("made_sqlite")
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        yield default_url(tmp_path)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database(request.getfixturevalue("made_postgres")) as url:
        yield url


@pytest.fixture
def read_models(read_model_url: str, held_clock: HeldClock) -> Iterator[Callable[[], Model]]:
    """Opens the same read model as another process would."""
    with ExitStack() as ends:

        def opened() -> Model:
            model = open_model(read_model_url, clock=held_clock)
            ends.callback(model.close)
            return model

        yield opened


@pytest.fixture
def read_model(read_models: Callable[[], Model]) -> Model:
    """A read model with an empty first generation."""
    return read_models()
