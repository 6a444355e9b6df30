"""One house for all acceptance tests that go through the API; the demo's tests start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Started once. Every test has its own payments, and leaves nothing stopped."""
    made = House(tmp_path_factory.mktemp("house") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()
