"""One HTTP server per test file, and a rail adapter on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processors.rail.harness import Harness, Served


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


@pytest.fixture
def harness(served: Served) -> Harness:
    return Harness(served)
