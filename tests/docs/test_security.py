"""docs/security.md: every requirement has a row, and no row is met without an existing test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.rooms import ROOT

PAGE: Final = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
API_RISKS: Final = {f"API{number}" for number in range(1, 11)}
STATES: Final = {"met", "not tested", "not met", "outside", "not applicable"}
NAMED: Final = re.compile(r"`tests/([\w/]+\.py)::(\w+|\*)`")

# The numbers of ASVS 5.0.0's requirements of levels 1 and 2, by section.
LEVEL_2: Final = {
    "1.1": "1-2",
    "1.2": "1-9",
    "1.3": "1-11",
    "1.4": "1-3",
    "1.5": "1-2",
    "2.1": "1-3",
    "2.2": "1-3",
    "2.3": "1-4",
    "2.4": "1",
    "3.2": "1-2",
    "3.3": "1-4",
    "3.4": "1-6",
    "3.5": "1-5",
    "3.7": "1-2",
    "4.1": "1-3",
    "4.2": "1",
    "4.3": "1-2",
    "4.4": "1-4",
    "5.1": "1",
    "5.2": "1-3",
    "5.3": "1-2",
    "5.4": "1-3",
    "6.1": "1-3",
    "6.2": "1-12",
    "6.3": "1-4",
    "6.4": "1-4",
    "6.5": "1-5",
    "6.6": "1-3",
    "6.8": "1-4",
    "7.1": "1-3",
    "7.2": "1-4",
    "7.3": "1-2",
    "7.4": "1-5",
    "7.5": "1-2",
    "7.6": "1-2",
    "8.1": "1-2",
    "8.2": "1-3",
    "8.3": "1",
    "8.4": "1",
    "9.1": "1-3",
    "9.2": "1-4",
    "10.1": "1-2",
    "10.2": "1-2",
    "10.3": "1-4",
    "10.4": "1-11",
    "10.5": "1-5",
    "10.6": "1-2",
    "10.7": "1-3",
    "11.1": "1-2",
    "11.2": "1-3",
    "11.3": "1-3",
    "11.4": "1-4",
    "11.5": "1",
    "11.6": "1",
    "12.1": "1-3",
    "12.2": "1-2",
    "12.3": "1-4",
    "13.1": "1",
    "13.2": "1-5",
    "13.3": "1-2",
    "13.4": "1-5",
    "14.1": "1-2",
    "14.2": "1-4",
    "14.3": "1-3",
    "15.1": "1-3",
    "15.2": "1-3",
    "15.3": "1-7",
    "16.1": "1",
    "16.2": "1-5",
    "16.3": "1-4",
    "16.4": "1-3",
    "16.5": "1-3",
    "17.1": "1",
    "17.2": "1-4",
    "17.3": "1-2",
}


def rows(heading: str, columns: int) -> list[list[str]]:
    """The table under a heading, without its header."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    assert all(len(row) == columns for row in found), found
    return found[1:]


API: Final = rows("OWASP API Security Top 10, 2023", 3)
ASVS: Final = rows("OWASP ASVS 5.0.0, level 2", 4)
EVERY: Final = [(row[0], row[-2], row[-1]) for row in (*API, *ASVS)]


def numbers(text: str) -> list[str]:
    """1.2.1, 1.2.3-1.2.5 expanded to its four numbers."""
    found = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        section, begin = first.rsplit(".", 1)
        end = int(last.rsplit(".", 1)[1]) if last else int(begin)
        assert not last or last.startswith(f"{section}.")
        found += [f"{section}.{number}" for number in range(int(begin), end + 1)]
    return found


def test_every_requirement_of_level_2_has_one_row() -> None:
    wanted = []
    for section, which in LEVEL_2.items():
        for part in which.split(", "):
            first, _, last = part.partition("-")
            wanted += [f"{section}.{n}" for n in range(int(first), int(last or first) + 1)]
    assert len(wanted) == 253
    found = [number for row in ASVS for number in numbers(row[0])]
    assert sorted(found) == sorted(wanted)


def test_every_risk_of_the_api_top_10_has_a_row() -> None:
    assert {row[0].split()[0] for row in API} == API_RISKS


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


@pytest.mark.parametrize(("what", "state", "by"), EVERY, ids=[each[0] for each in EVERY])
def test_a_row_is_met_by_an_existing_test_or_says_why_not(what: str, state: str, by: str) -> None:
    assert state in STATES
    if state != "met":
        assert NAMED.search(by) is None, "a test is named and it is not met?"
        assert len(by) > 3
        return
    named = NAMED.fullmatch(by)
    assert named is not None, f"{what}: met by no test"
    file = ROOT / "tests" / named[1]
    assert file.is_file(), file
    known = names_in(file)
    assert any(name.startswith("test_") for name in known)
    assert named[2] == "*" or (named[2].startswith("test_") and named[2] in known), by
