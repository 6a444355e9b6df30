"""Status machines as docstrings draw them: one move a line, `FROM ── why ──▶ TO`."""

from __future__ import annotations

import re

MOVE = re.compile(r"^ +(\w+) +── .+? ─+▶ (\w+)$", re.MULTILINE)


def drawn_moves(docstring: str | None) -> set[tuple[str, str]]:
    """The moves as (from, to); each is drawn once for one reason."""
    return set(MOVE.findall(docstring or ""))
