"""Required names exist, and replaceable parts are not built in."""

from __future__ import annotations

import ast
import functools
import tomllib

import pytest

from schemas import catalogue, topology
from tests import floors
from tests.rooms import ROOMS, ROOT, sources

CHECK_SECONDS_MAX = 60


@functools.cache
def imported() -> frozenset[str]:
    """The top-level packages that the product imports."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


def test_the_top_level_has_the_required_folders() -> None:
    """DEP-01."""
    wanted = "pyproject.toml README.md schemas processors core topics.yaml deploy tests"
    assert [name for name in wanted.split() if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "package", ["faust", "confluent_kafka", "fastavro", "pydantic", "prometheus_client"]
)
def test_the_product_uses_the_required_libraries(package: str) -> None:
    """DEP-02."""
    assert package in imported()


def test_an_external_resolve_replaces_the_in_box_one_by_topics_alone() -> None:
    """INT-07: neither the engine nor the payments processor knows the in-box Resolve."""
    topics = catalogue.load()
    assert "payments" in topics.topic(topology.RESOLVE_REQUESTS).producers
    assert "payments" in topics.topic(topology.RESOLVE_DECISIONS).consumers
    for path in (*sources("engine"), *sources("processors/payments")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            module = getattr(node, "module", None) or ""
            assert module not in ("processors.resolve.handler", "gateways.resolve.policy"), path


# Packages tested elsewhere: where, and why.
MIRRORED_ELSEWHERE = {
    "api/audit": ("tests/api/control/test_control.py", "the audit log is read after each action"),
    "api/queues": ("tests/api/payments/test_reading.py", "lists are read with the payments"),
    "api/session": ("tests/api/auth/test_access.py", "who is signed in, route by route"),
    "app/cli/control": (
        "tests/control/acts/test_operators_file_on_kafka.py",
        "acts need a real Kafka",
    ),
    "bench/rig": ("tests/bench/test_process.py", "one file for each part that can fail"),
    "core/payment/evolve": ("tests/core/payment/test_matrices.py", "every event in every state"),
    "web/pages": ("tests/web/test_pages.py", "a page is tested with the frame around it"),
}


def packages() -> list[str]:
    """Every package of the product and the bench, by path."""
    return sorted(
        file.parent.relative_to(ROOT).as_posix()
        for room in (*ROOMS, "bench")
        for file in (ROOT / room).rglob("__init__.py")
        if any(each.name != "__init__.py" for each in file.parent.glob("*.py"))
    )


def test_each_package_has_its_tests_in_the_folder_of_its_name() -> None:
    """`tests/` mirrors the rooms; an exception names the file that tests the package."""
    lacking = [name for name in packages() if not any((ROOT / "tests" / name).glob("test_*.py"))]
    assert lacking == sorted(MIRRORED_ELSEWHERE)


def test_the_exceptions_name_existing_files() -> None:
    assert [name for name, _ in MIRRORED_ELSEWHERE.values() if not (ROOT / name).is_file()] == []


def test_make_check_has_a_budget_of_one_minute() -> None:
    """Issue 11: the sum of the floors' budgets."""
    assert sum(floor.budget_seconds for floor in floors.PLANS["check"]) <= CHECK_SECONDS_MAX


def test_every_process_is_under_the_rule_that_siblings_do_not_import_each_other() -> None:
    """`adapter` holds what the gateways' processes share."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = {
        module
        for contract in contracts["contracts"]
        if contract["name"] == "a processor knows no other processor"
        for module in contract["modules"]
    }
    folders = {each.parent.name for each in (ROOT / "processors").glob("*/__init__.py")}
    assert listed == {f"processors.{name}" for name in folders - {"adapter"}}
