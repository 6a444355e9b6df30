"""Writes into docs/requirements.md which tests show each line: `python -m tests.docs.requirements`.

A test shows a line when its docstring cites the line's id; an id in the docstring of a file counts
for the whole file. "RP-01 to RP-07" cites all of them. What is written by hand in the page stays:
the lines themselves, "Open: …" and "Not shown yet: …".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.rooms import ROOT

PAGE: Final = ROOT / "docs" / "requirements.md"
LINE: Final = re.compile(r"^- \*\*([A-Z]{2,3}-\d\d)\*\* ", re.MULTILINE)
BY_HAND: Final = re.compile(r"^  - (?:Open|Not shown yet): ")
SHOWN: Final = "  - `tests/"
WHOLE_FILE: Final = "the whole file"
# Anything that looks like an id; "ML-DSA-65" is none.
LIKE_AN_ID: Final = re.compile(r"(?<!-)\b[A-Z]{2,4}-\d\d\b")
CITED: Final = re.compile(r"\b([A-Z]{2,3})-(\d\d)\b(?: to \1-(\d\d)\b)?")

# For each id: the files, and for each file the tests, or `WHOLE_FILE`.
Showing = dict[str, dict[str, list[str]]]


def ids_of(page: str) -> list[str]:
    """The ids of the page's lines, in order."""
    return LINE.findall(page)


def cited(text: str, prefixes: frozenset[str]) -> Iterator[str]:
    """The ids that a text cites; other things look alike, such as NPP codes and CVEs."""
    for prefix, first, last in CITED.findall(text):
        if prefix in prefixes:
            for number in range(int(first), int(last or first) + 1):
                yield f"{prefix}-{number:02}"


def files_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


@cache
def docstrings(path: Path) -> list[tuple[str, str]]:
    """Names and docstrings of the file's tests, if it cites anything; a docstring outside a test
    counts for the whole file.
    """
    text = path.read_text(encoding="utf-8")
    return list(_docstrings(ast.parse(text))) if LIKE_AN_ID.search(text) else []


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) if name.startswith("test_"):
                yield name, ast.get_docstring(node) or ""
            case ast.Module() | ast.ClassDef() | ast.FunctionDef():
                yield WHOLE_FILE, ast.get_docstring(node) or ""


def showing(prefixes: frozenset[str]) -> Showing:
    """Which tests show which id."""
    found: Showing = {}
    for path in files_of_tests():
        for name, text in docstrings(path):
            for each in cited(text, prefixes):
                names = found.setdefault(each, {}).setdefault(path.relative_to(ROOT).as_posix(), [])
                if name not in names:
                    names.append(name)
    return found


def prefixes_of(page: str) -> frozenset[str]:
    return frozenset(each.partition("-")[0] for each in ids_of(page))


def written(page: str) -> str:
    """The page with the current tests under each line."""
    shown = showing(prefixes_of(page))
    lines: list[str] = []
    current = ""

    def close() -> None:
        nonlocal current
        lines.extend(_shown(shown.get(current, {})))
        current = ""

    for line in page.splitlines():
        if line.startswith(SHOWN):
            continue
        begins = LINE.match(line)
        if begins or BY_HAND.match(line) or not line:
            close()
        lines.append(line)
        if begins:
            current = begins.group(1)
    close()
    return "\n".join(lines) + "\n"


def _shown(files: dict[str, list[str]]) -> Iterator[str]:
    for path, names in sorted(files.items()):
        whole = WHOLE_FILE in names
        tests = WHOLE_FILE if whole else ", ".join(f"`{name}`" for name in sorted(names))
        yield f"  - `{path}`: {tests}"


def remarks(page: str) -> dict[str, list[str]]:
    """The handwritten remarks under each line."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in page.splitlines():
        if begins := LINE.match(line):
            current = begins.group(1)
        elif BY_HAND.match(line):
            found.setdefault(current, []).append(line.removeprefix("  - "))
    return found


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
