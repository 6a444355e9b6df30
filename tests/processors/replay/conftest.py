"""Prints each of the runbook's replay tests by the sentence that is its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

RUNBOOK = "test_npp_replay.py"
PREFIX = "test_"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember the result of each of the seven."""
    report: Any = yield
    if item.path.name == RUNBOOK and (report.when == "call" or report.failed):
        results = item.config.stash.setdefault(RESULTS, {})
        results[item.name.removeprefix(PREFIX).replace("_", " ")] = report.outcome
    return report  # type: ignore[no-any-return]


RESULTS = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The sentences, as the runbook prints them."""
    results = config.stash.get(RESULTS, {})
    if not results:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{RUNBOOK} ({len(results)} tests)")
    for sentence, outcome in results.items():
        mark = "✓" if outcome == "passed" else "✗"
        terminalreporter.write_line(f"  {mark} {sentence}")
