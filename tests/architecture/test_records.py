"""Records are created by keyword: swapping two fields of one type would type-check and could pay
twice.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
# Decisions, external answers, and API views.
FILES: Final = (
    *sorted((ROOT / "core").rglob("*.py")), ROOT / "gateways/ports.py", ROOT / "readmodel/rows.py",
)  # fmt: skip


def positional(source: str) -> list[str]:
    """Classes of several fields without `kw_only=True`; plain classes have no fields."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(each, ast.AnnAssign) for each in node.body) > 1
        and "kw_only=True" not in {ast.unparse(each) for each in node.keywords}
        and {ast.unparse(each) for each in node.bases} != {"Protocol"}
    ]


def test_a_record_of_several_fields_is_created_by_keyword() -> None:
    found = {str(each.relative_to(ROOT)): positional(each.read_text()) for each in FILES}
    assert {file: names for file, names in found.items() if names} == {}


def test_a_record_created_by_position_is_found() -> None:
    fields = "    submitted_at: int\n    answered_at: int\n"
    assert positional(f"class Answer(msgspec.Struct, frozen=True):\n{fields}") == ["Answer"]
    assert positional(f"class Answer(msgspec.Struct, kw_only=True):\n{fields}") == []
