"""One house for all acceptance tests that go through the API; the demo's tests start their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.acceptance.harness import House


def side(nodeid: str) -> str:
    """Two sides may run beside each other: the demos, and whoever shares the house."""
    return "demos" if "test_demo.py" in nodeid else "house"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` each side stays in one process."""
    if config.getoption("dist") != "loadscope":
        return None
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = side
    return scheduler


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Started once. Every test has its own payments, and leaves nothing stopped."""
    made = House(tmp_path_factory.mktemp("house") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()
