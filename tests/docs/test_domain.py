"""Every ruling and section cited in code, tests and docs is on docs/domain.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.payment.decide import ORIGINS
from core.payment.events import EVENTS
from core.payment.operator.gate import ROLES_OF_ACTION
from core.payment.operator.verdicts import VERDICTS
from core.values import FailureReason, MoneyOutcome, State
from tests.rooms import ROOMS, ROOT

PAGE = (ROOT / "docs" / "domain.md").read_text(encoding="utf-8")
RULINGS = {int(number) for number in re.findall(r"^### Ruling (\d+):", PAGE, re.MULTILINE)}
SECTIONS = {int(number) for number in re.findall(r"^## (\d+)\.", PAGE, re.MULTILINE)}

_WHAT_IS_CITED = r"\d+(?:(?:,? (?:and|to|or) |, )§?\d+)*"
CITED_RULINGS = re.compile(rf"\brulings? ({_WHAT_IS_CITED})\b", re.IGNORECASE)
CITED_SECTIONS = re.compile(rf"\bdomain §({_WHAT_IS_CITED})\b", re.IGNORECASE)
# Spellings from before the page was part of the product.
OTHER_SPELLINGS = re.compile(
    r"\bdomain(?:\.md)?: [a-z]|\bdomain\.md §|\bD§\d|\bdomain \d", re.IGNORECASE
)


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of everything that may cite the page, with comments joined to one line."""
    for folder in (*ROOMS, "docs", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md", ".yaml") and path != Path(__file__):
                text = path.read_text(encoding="utf-8")
                yield path.relative_to(ROOT).as_posix(), re.sub(r"\s*\n\s*#?\s*", " ", text)


def cited(pattern: re.Pattern[str]) -> list[tuple[str, int]]:
    return [
        (path, int(number))
        for path, text in texts()
        for match in pattern.finditer(text)
        for number in re.findall(r"\d+", match.group(1))
    ]


def test_the_page_has_all_rulings_and_sections() -> None:
    assert (set(range(1, 15)), set(range(1, 12))) == (RULINGS, SECTIONS)


@pytest.mark.parametrize(
    ("pattern", "known"), [(CITED_RULINGS, RULINGS), (CITED_SECTIONS, SECTIONS)]
)
def test_each_citation_exists_on_the_page(pattern: re.Pattern[str], known: set[int]) -> None:
    citations = cited(pattern)
    assert len(citations) > 50, "the pattern finds the citations"
    assert [(path, number) for path, number in citations if number not in known] == []


def test_the_page_is_cited_in_one_form() -> None:
    """ "ruling 5" and "domain §3", so that both can be searched for."""
    found = [(path, m.group()) for path, text in texts() for m in OTHER_SPELLINGS.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "name",
    [
        *(word.value for kind in (State, MoneyOutcome, FailureReason) for word in kind),
        *(kind.__name__ for kind in (*ORIGINS, *EVENTS)),
        *ROLES_OF_ACTION,
        *VERDICTS,
    ],
)
def test_the_page_names_everything_in_core(name: str) -> None:
    """States, outcomes, reasons, inputs, events, gated actions and verdicts."""
    assert re.search(rf"\b{name}\b", PAGE), name
