"""Shared by the projector's tests: a held clock, an empty model, one log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from readmodel.model import Model, open_model
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    START_MS,
    dump,
    history,
    log_of,
    model_in,
    project,
    source_of,
)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(START_MS)


@pytest.fixture
def model(empty_url: str) -> Iterator[Model]:
    """Over SQLite and over PostgreSQL."""
    made = open_model(empty_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def one() -> Outside:
    return history(1)


@pytest.fixture(scope="module")
def world() -> Outside:
    return history(2)


@pytest.fixture(scope="module")
def expected(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model's content when nothing has gone wrong."""
    made = model_in(tmp_path_factory.mktemp("expected"))
    project(source_of(log_of(world)), made, world.codec, HeldClock(START_MS))
    before = dump(made)
    made.close()
    return before
