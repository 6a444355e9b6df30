"""What was asked for by name is there, and replaceable parts are not built in."""

from __future__ import annotations

import ast
import functools

import pytest

from schemas import catalogue, topology
from tests.rooms import ROOT, sources


@functools.cache
def imported() -> frozenset[str]:
    """The roots of everything that the product imports."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


def test_the_top_level_is_what_was_asked_for() -> None:
    """DEP-01."""
    wanted = "pyproject.toml README.md schemas processors core topics.yaml deploy tests"
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "package", ["faust", "confluent_kafka", "fastavro", "pydantic", "prometheus_client"]
)
def test_the_libraries_that_were_asked_for_carry_the_product(package: str) -> None:
    """DEP-02."""
    assert package in imported()


def test_an_external_resolve_takes_over_by_topics_alone() -> None:
    """INT-07: nothing of the engine or the payments processor knows the in-box Resolve."""
    topics = catalogue.load()
    assert "payments" in topics.topic(topology.RESOLVE_REQUESTS).producers
    assert "payments" in topics.topic(topology.RESOLVE_DECISIONS).consumers
    for path in (*sources("engine"), *sources("processors/payments")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            module = getattr(node, "module", None) or ""
            assert module not in ("processors.resolve.handler", "gateways.resolve.policy"), path
