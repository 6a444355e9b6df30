"""docs/requirements.md is true in both directions: it has what tests cite, and what it names
exists.
"""

from __future__ import annotations

from tests.docs.requirements import (
    LIKE_AN_ID,
    PAGE,
    docstrings,
    files_of_tests,
    ids_of,
    prefixes_of,
    remarks,
    showing,
    written,
)
from tests.rooms import ROOT

TEXT = PAGE.read_text(encoding="utf-8")
NOT_SHOWN = "Not shown yet: "


def test_each_line_has_its_own_id() -> None:
    ids = ids_of(TEXT)
    assert len(ids) > 200, "the pattern finds the lines"
    assert sorted(set(ids)) == sorted(ids)


def test_each_id_that_a_test_cites_is_on_the_page() -> None:
    known = set(ids_of(TEXT))
    unknown = {
        f"{path.relative_to(ROOT)}: {each}"
        for path in files_of_tests()
        for _, text in docstrings(path)
        for each in LIKE_AN_ID.findall(text)
        if each not in known
    } | set(showing(prefixes_of(TEXT))) - known
    assert unknown == set()


def test_each_line_names_the_tests_that_cite_it() -> None:
    assert written(TEXT) == TEXT, "run: python -m tests.docs.requirements"


def test_exactly_the_lines_without_a_test_say_so() -> None:
    shown = set(showing(prefixes_of(TEXT)))
    said = remarks(TEXT)
    silent = {each for each in ids_of(TEXT) if each not in shown}
    assert {
        each for each, words in said.items() if any(word.startswith(NOT_SHOWN) for word in words)
    } == silent
    assert all(len(word) > len(NOT_SHOWN) for words in said.values() for word in words)
