"""A match over a closed set ends in assert_never, so that a case added later is a type error."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.rooms import ROOT, sources

CLOSES = {"assert_never", "_unknown_word"}  # take Never: the type checker reports a missing case
# Matches over an open set: file and subject, and where other words may come from.
OPEN = {
    ("core/payment/operator/checks.py", "pay_id_type"): "a command: refused by name",
    ("gateways/rail/messages.py", "message.MsgType"): "the rail: quarantined",
    ("gateways/rail/simulator_ledger.py", "kind"): "a script's step: only some move money",
    ("processors/rail/handler.py", "work.instruction.kind"): "a later release: left to a person",
}


def open_matches(text: str) -> list[str]:
    """Subjects of the matches whose last arm is not exactly one call of CLOSES."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Match):
            last = node.cases[-1]
            call = last.body[0].value if isinstance(last.body[0], ast.Expr) else None
            closed = (
                len(last.body) == 1
                and last.guard is None
                and isinstance(call, ast.Call)
                and ast.unparse(call.func) in CLOSES
            )
            if not closed:
                found.append(ast.unparse(node.subject))
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_match_is_closed_or_documents_its_open_set() -> None:
    texts = {path: path.read_text() for path in sources()}
    found = {
        (name_of(path), each)
        for path, text in texts.items()
        if "    match " in text
        for each in open_matches(text)
    }
    assert found == set(OPEN)


@pytest.mark.parametrize(
    "last",
    ["case 2: f()", "case _: f()", "case _: pass", "case _ if a: assert_never(a)"],
)
def test_a_match_with_any_other_last_arm_is_found(last: str) -> None:
    assert open_matches(f"match a:\n    case 1: f()\n    {last}") == ["a"]


def test_a_match_that_ends_in_assert_never_is_closed() -> None:
    assert open_matches("match a:\n    case 1: f()\n    case _: assert_never(a)") == []
