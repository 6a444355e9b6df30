"""A log that contains some of every case; prints the runbook's replay tests by their sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.processors.replay.world import World

RUNBOOK = "test_npp_replay.py"
PREFIX = "test_"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Record the result of each of the seven."""
    report: Any = yield
    if item.path.name == RUNBOOK and (report.when == "call" or report.failed):
        results = item.config.stash.setdefault(RESULTS, {})
        results[item.name.removeprefix(PREFIX).replace("_", " ")] = report.outcome
    return report  # type: ignore[no-any-return]


RESULTS = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The sentences as the runbook prints them."""
    results = config.stash.get(RESULTS, {})
    if not results:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{RUNBOOK} ({len(results)} tests)")
    for sentence, outcome in results.items():
        mark = "✓" if outcome == "passed" else "✗"
        terminalreporter.write_line(f"  {mark} {sentence}")


@pytest.fixture(scope="module")
def made() -> tuple[World, dict[str, str]]:
    """One history for all tests; each takes its own log from it and damages that."""
    world = World()
    return world, world.mixed()


@pytest.fixture
def world(made: tuple[World, dict[str, str]]) -> World:
    return made[0]


@pytest.fixture
def names(made: tuple[World, dict[str, str]]) -> dict[str, str]:
    return made[1]
