"""Every bench explains itself and gives its figures as one JSON line on request."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from bench.rig.answer import give
from tests.rooms import ROOT

COMMANDS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "bench").rglob("*.py")
    if "__main__" in file.read_text(encoding="utf-8") and file.name != "client_loop.py"
)


def test_there_are_benches() -> None:
    assert {"bench.__main__", "bench.peer", "bench.rig.restore"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bench_has_help_and_json(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(command).main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert len(shown.splitlines()) > 5


def test_figures_go_to_people_and_on_request_to_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    give({"rate": 5, "path": Path("a").name}, as_json=False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.split()) == ("", ["rate", "5", "path", "a"])
    give({"rate": 5}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"rate": 5}
