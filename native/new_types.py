"""Rewrites a module's calls of NewTypes as casts.

At run time such a call returns its argument, but the compiler sees only a call of an unknown
function. A cast is checked and costs nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Set
from typing import Final

HEAD: Final = "from __future__ import annotations\n"
IMPORT: Final = "from typing import cast as typed\n"


def names_in(text: str) -> frozenset[str]:
    """The NewTypes that a module declares."""
    return frozenset(
        each.targets[0].id
        for each in ast.parse(text).body
        if isinstance(each, ast.Assign)
        and isinstance(each.targets[0], ast.Name)
        and isinstance(each.value, ast.Call)
        and ast.unparse(each.value.func) == "NewType"
    )


def as_casts(text: str, names: Set[str]) -> str:
    """`text`, where `Cents(n)` has become `typed(Cents, n)`, for each NewType of `names`."""
    calls = [
        node.func
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    if not calls:
        return text
    lines = text.splitlines(keepends=True)
    for call in sorted(calls, key=lambda each: -each.col_offset):
        line = lines[call.lineno - 1].encode()
        before, after = line[: call.col_offset], line[call.col_offset + len(call.id) + 1 :]
        lines[call.lineno - 1] = f"{before.decode()}typed({call.id}, {after.decode()}"
    return "".join(lines).replace(HEAD, HEAD + IMPORT, 1)
