"""Markdown tables and pages for the generated reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

MADE: Final = "<!-- Generated from the code by `python -m app.reference`; a test compares. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table; a bar in a cell is escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(each) for each in row) + " |" for row in rows]
    return lines


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def page(title: str, *parts: Sequence[str]) -> str:
    """A whole page: title, then paragraphs and tables with a blank line between them."""
    body = "\n\n".join("\n".join(part) for part in parts)
    return f"# {title}\n\n{MADE}\n\n{body}\n"
