"""Each alert leads to a page that says what it means and what to do. That its commands parse is in
test_commands.py, which reads every page.
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
    """What is under each second-level title, by the address that leads there."""
    found = {}
    for page in PAGES:
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
            title, _, text = part.partition("\n")
            found[f"docs/runbook/{page.name}#{title.strip().lower()}"] = text
    return found


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_leads_to_impact_commands_decisions_and_roll_back(name: str) -> None:
    """MET-12: what it means, three commands, what to do by what is seen, and how to go back."""
    address = ALERTS[name]["annotations"]["runbook_url"]
    assert address.partition("#")[2] == name.lower()
    text = sections()[address]
    assert re.search(r"^\*\*Impact\.\*\* \S", text, flags=re.M), address
    (block,) = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    assert len([line for line in block.splitlines() if line.startswith("npp ")]) == COMMANDS
    _, found, table = text.partition(HEAD)
    assert found, address
    rows = re.findall(r"^\|(.+)\|(.+)\|(.+)\|$", table, flags=re.M)
    assert len(rows) > 1, address
    assert all(cell.strip() for row in rows for cell in row), address
    assert re.search(r"^\*\*Roll back\.\*\* \S", text, flags=re.M), address


def test_every_page_s_section_is_an_alert_s() -> None:
    """What no alert leads to is forgotten there."""
    assert {address.partition("#")[2] for address in sections()} == {n.lower() for n in ALERTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        titles = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), flags=re.M)
        known = {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}
        assert not anchor or anchor in known, f"{page}: {target}"
