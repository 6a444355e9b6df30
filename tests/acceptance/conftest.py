"""One harness for all acceptance tests that go through the API; the demo tests start their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.acceptance.docs.running_demo import RunningDemo
from tests.acceptance.harness import Harness


def side(nodeid: str) -> str:
    """Two sides may run beside each other: the demos, and whoever shares the harness."""
    return "demos" if "test_demo.py" in nodeid or "test_docs_" in nodeid else "harness"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` each side stays in one process."""
    if config.getoption("dist") != "loadscope":
        return None
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = side
    return scheduler


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Started once. Every test has its own payments, and leaves nothing stopped."""
    made = Harness(tmp_path_factory.mktemp("harness") / "data")
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo that stays up, with its own rules and people; nothing in it does not reconcile."""
    made = RunningDemo(tmp_path_factory.mktemp("demo"))
    try:
        made.start()
        yield made
    finally:
        said = made.close()
    assert "Everything reconciles." in said
