"""docs/tour.md: its references exist, and its table matches core's decisions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

import pytest

from core.decider import Accepted
from core.payment.state import at_rest
from tests.core.payment import dsl as d
from tests.core.payment.case import given
from tests.rooms import ROOT

PAGE = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
REFERENCES = re.findall(r"`((?:[\w.]+/)+\w+\.py)(?:::([\w.]+))?`", PAGE)
DETAILS = ("operation", "kind")
HAPPY_PATH = {
    "CreatePayment": d.create(),
    "PolicyVerdict PASSED": d.policy(),
    "DepositsResult HELD": d.held(),
    "RailReport RECEIVED": d.rail("RECEIVED"),
    "RailReport ACCEPTED": d.rail("ACCEPTED"),
    "RailReport SETTLED": d.rail("SETTLED", amount=d.AMOUNT, currency="AUD"),
    "DepositsResult CAPTURED": d.deposits("CAPTURE", "CAPTURED"),
}


def defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """The names defined there, members of classes as `Class.name`."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name, body=members):
                yield prefix + name
                yield from defined(members, f"{prefix}{name}.")
            case ast.Assign(targets=targets):
                yield from (prefix + each.id for each in targets if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


def test_the_tour_has_many_stops() -> None:
    """A guard against a pattern that finds nothing."""
    assert len(REFERENCES) > 60


@pytest.mark.parametrize(("path", "name"), REFERENCES)
def test_a_reference_leads_to_a_definition(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), f"docs/tour.md: {path} is gone"
    if name:
        tree = ast.parse((ROOT / path).read_bytes())
        assert name in set(defined(tree.body)), f"docs/tour.md: {path} does not define {name}"


def test_the_table_matches_cores_decisions() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| ([A-Z]+) \|$", PAGE, re.MULTILINE)
    case = given()
    found = []
    for name, command in HAPPY_PATH.items():
        decision = case.give(command)
        assert isinstance(decision, Accepted), name
        found.append((name, said(decision.events), said(decision.instructions), case.payment.state))
    assert found == rows
    assert at_rest(case.payment)


def said(values: Sequence[object]) -> str:
    """Their types, each with its kind or operation."""
    words = (" ".join(filter(None, (type(each).__name__, _detail(each)))) for each in values)
    return ", ".join(words) or "-"


def _detail(value: object) -> str | None:
    if type(value).__name__ == "RailStatusReported":
        return None
    return next((getattr(value, name) for name in DETAILS if hasattr(value, name)), None)
