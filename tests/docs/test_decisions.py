"""Every decision page has context, decision, alternatives and consequences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.rooms import ROOT

PAGES: Final = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PARTS: Final = ("Context", "Decision", "Alternatives", "Consequences")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_page_has_its_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"^\*\*(\w+)", text, flags=re.MULTILINE))
    assert [part for part in PARTS if part not in found] == []
    assert re.match(rf"# {int(page.stem[:4])}\. ", text), "the title has the page's number"
