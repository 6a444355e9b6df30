"""The compiled build is trained by the benches where GCC compiles and the benches are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from native import build
from native import compile as compiling
from tests.rooms import ROOT


@pytest.mark.parametrize(
    ("says", "gcc"),
    [
        ("gcc (Debian 12.2.0) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.", True),
        ("Debian clang version 14.0.6", False),
    ],
)
def test_the_compiler_is_asked_which_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, gcc: bool
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\nprintf '{says}'\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", f"{compiler} -pthread")
    assert compiling.is_gcc() is gcc


@pytest.mark.parametrize(
    ("there", "trained", "asked"),
    [
        (("bench", "tests"), True, True),
        (("bench", "tests"), False, False),
        (("bench",), True, False),
        (("tests",), True, False),
    ],
)
def test_a_tree_without_the_benches_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...],
    trained: bool, asked: bool,
) -> None:  # fmt: skip
    for name in there:
        (tmp_path / name).mkdir()
    (tmp_path / "tree" / "build").mkdir(parents=True)
    commands: list[list[str]] = []
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command))
    build.compile_in(tmp_path / "tree", ["core/values.py"], trained=trained)
    assert [("--trained" in each) for each in commands] == [asked]


def test_the_second_library_is_laid_out_by_what_the_first_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this order: counting, the benches, counted."""

    class Module:
        extra_compile_args = ("-O2",)
        extra_link_args: Any = ()

    module, order = Module(), list[tuple[str, ...]]()
    monkeypatch.setattr(sys, "argv", ["compile", "--trained", "mypy.ini", "core/values.py"])
    monkeypatch.setattr(compiling, "mypycify", lambda *paths, **options: [module])
    monkeypatch.setattr(compiling, "setup", lambda **_: order.append(tuple(module.extra_link_args)))
    monkeypatch.setattr(compiling, "is_gcc", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: order.append((command[2],)))
    compiling.main()
    benches = [(name,) for name, *_ in compiling.TRAINING]
    assert order == [compiling.COUNTING, *benches, compiling.COUNTED]
    assert tuple(module.extra_compile_args) == ("-O2", *compiling.FLAGS, *compiling.COUNTED)


@pytest.mark.slow
@pytest.mark.parametrize("command", compiling.TRAINING, ids=lambda command: str(command[0]))
def test_each_bench_that_trains_it_runs(command: tuple[str, ...]) -> None:
    few = [each if not each.isdigit() else "20" for each in command]
    done = subprocess.run(
        [sys.executable, "-m", *few], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
