"""Each alert links to a page that says what it means and what to do. test_commands.py checks that
the pages' commands parse.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.exported import rules
from tests.rooms import ROOT

ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PAGES: Final = sorted((ROOT / "docs" / "runbook").glob("*.md"))
COMMANDS: Final = 3
HEAD: Final = "| seen | means | do |\n|---|---|---|\n"


def sections() -> dict[str, str]:
    """The text under each second-level heading."""
    found = {}
    for page in PAGES:
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
            title, _, text = part.partition("\n")
            found[title.strip()] = text
    return found


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alerts_page_has_impact_commands_decisions_and_roll_back(name: str) -> None:
    """MET-12: what it means, three commands, what to do for each finding, and how to go back."""
    address = ALERTS[name]["annotations"]["runbook_url"]
    assert address == f"{{{{ $externalLabels.runbooks }}}}/{name}"
    text = sections()[name]
    assert re.search(r"^\*\*Impact\.\*\* \S", text, flags=re.M), address
    (block,) = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    assert len([line for line in block.splitlines() if line.startswith("npp ")]) == COMMANDS
    _, found, table = text.partition(HEAD)
    assert found, address
    rows = re.findall(r"^\|(.+)\|(.+)\|(.+)\|$", table, flags=re.M)
    assert len(rows) > 1, address
    assert all(cell.strip() for row in rows for cell in row), address
    assert re.search(r"^\*\*Roll back\.\*\* \S", text, flags=re.M), address


def test_every_section_of_a_page_belongs_to_an_alert() -> None:
    """A section without an alert is obsolete."""
    assert sections().keys() == ALERTS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_work(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        titles = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.M)
        known = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}
        assert not anchor or anchor in known, f"{page}: {target}"
