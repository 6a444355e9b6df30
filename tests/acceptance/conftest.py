"""One harness for all acceptance tests that go through the API; the demo tests start their own."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.acceptance.docs.running_demo import RunningDemo
from tests.acceptance.harness import Harness
from tests.rooms import ROOT

SHARED = re.compile(r"^def test_\w+\([^)]*\b(harness|demo)\b", re.MULTILINE)


@functools.cache
def side(file: str) -> str:
    """Tests that share the harness stay in one process, and those that share the demo. Every other
    file starts a product of its own, so it may run at the same time as any other.
    """
    found = SHARED.search((ROOT / file).read_text(encoding="utf-8"))
    return found[1] if found else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` each side stays in one process; the largest one starts first."""
    if config.getoption("dist") != "loadscope":
        return None
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: side(nodeid.partition("::")[0])
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
