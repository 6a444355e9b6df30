"""The runbook's seven replay tests have one documented command, which runs nothing else."""

from __future__ import annotations

import re
from typing import Final

from tests.docs.requirements import docstrings
from tests.rooms import ROOT

SEVEN: Final = {
    "should deterministically rebuild SETTLED state from events",
    "should replay multiple times with identical results",
    "should deterministically rebuild FAILED state from events",
    "should deterministically rebuild state after retry",
    "should deterministically rebuild state after cancellation",
    "should produce same state regardless of replay order",
    "should rebuild intermediate state from partial event log",
}


def test_the_command_runs_exactly_the_seven_by_name() -> None:
    """RP-08, OP-21."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^replay-test:.*\n\t@(.*)$", makefile, re.MULTILINE)
    (file,) = re.findall(r"tests/\S+", recipe)
    names = {name for name, _ in docstrings(ROOT / file) if name.startswith("test_")}
    assert {name.removeprefix("test_").replace("_", " ") for name in names} == SEVEN
    assert "make replay-test" in (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
