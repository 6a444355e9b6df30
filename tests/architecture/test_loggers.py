"""Each log line names the module, or the part of the product, that wrote it."""

from __future__ import annotations

import ast

from tests.rooms import ROOT, sources

PART = "npp."  # a part of the product with several modules, such as npp.api


def named(tree: ast.Module) -> list[str]:
    """The loggers that a module asks for by a name in quotes."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [
        str(call.args[0].value)
        for call in calls
        if ast.unparse(call.func) == "structlog.get_logger"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    ]


def test_a_module_logs_under_no_other_modules_name() -> None:
    found = [
        (module, name)
        for path in sources()
        for module in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
        for name in named(ast.parse(path.read_text()))
        if not name.startswith(PART)
    ]
    assert len(found) > 10
    assert [each for each in found if each[0] != each[1]] == []
