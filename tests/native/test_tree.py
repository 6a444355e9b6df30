"""The tree of `make native`: the same bytes as the sources that it was made from."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from core.declared import declared
from native.build import CODEC, COMPILED, HOT, compile_in, module_of, tree
from native.plain_classes import rewritten, structs_of
from tests.rooms import ROOT

RUN_SECONDS_MAX: Final = 250
COMPILE_SECONDS_MAX: Final = 3_600
# Everything that runs the payment core without a broker.
ON_BOTH_BUILDS: Final = (
    "tests/core", "tests/processors/payments", "tests/processors/replay", "tests/histories",
    "tests/engine/loop", "tests/engine/store", "tests/engine/test_driver.py", "tests/model",
)  # fmt: skip


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree before it is compiled: what the compiler is given."""
    folder = tmp_path_factory.mktemp("native") / "tree"
    tree(folder)
    return folder


@pytest.fixture(scope="module")
def native(interpreted: Path) -> Path:
    """The compiled tree."""
    assert shutil.which("cc"), "the release floor needs a C compiler"
    compile_in(interpreted, [*HOT, *COMPILED])
    return interpreted


def ran(folder: Path, *arguments: str, timeout: float = RUN_SECONDS_MAX) -> str:
    """What a Python program says that takes the product from `folder` and the tests from here."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


def sha256_of(folder: Path, payments: int) -> str:
    """SHA-256 over all that the payments processor writes for the load of the bench."""
    said: dict[str, Any] = json.loads(
        ran(folder, "bench.hot_path", "--once", "--payments", str(payments)).splitlines()[-1]
    )
    return str(said["sha256"])


def test_the_tree_writes_the_same_bytes_as_the_sources(interpreted: Path) -> None:
    """All bytes of the whole happy path, through the rewritten classes and their codec."""
    assert sha256_of(interpreted, 60) == sha256_of(ROOT, 60)


def test_the_trees_decoders_refuse_what_the_generated_ones_refuse(interpreted: Path) -> None:
    """Truncated, changed and hostile bytes: the same record or the same reason."""
    ran(interpreted, "tests.native.fuzz", "1", "150")


def test_every_hot_struct_is_rewritten_with_all_its_fields() -> None:
    """A field that the constructor forgot would be lost from the log."""
    for path, names in HOT.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        where = module_of(path)
        written = rewritten(where, text, names, known())
        after = {each.name: each for each in classes(written)}
        module = import_module(where)
        for name in names:
            fields = declared(getattr(module, name)).__struct_fields__
            (made,) = [each for each in functions(after[name]) if each.name == "__init__"]
            arguments = [*made.args.args[1:], *made.args.kwonlyargs]
            assert [each.arg for each in arguments] == list(fields)


def test_a_hot_struct_that_is_not_there_is_named() -> None:
    """Renaming a class must not quietly leave it interpreted."""
    with pytest.raises(ValueError, match=r"a\.module has no struct Renamed"):
        rewritten("a.module", "class Other: ...", ["Renamed"], {})


def test_what_the_happy_path_carries_is_what_has_a_compiled_codec() -> None:
    """Each record type with a compiled codec is a compiled class."""
    assert set(CODEC) <= {name for names in HOT.values() for name in names}


@pytest.mark.release
@pytest.mark.timeout(COMPILE_SECONDS_MAX)
def test_the_compiled_build_writes_the_same_bytes_and_never_crashes(native: Path) -> None:
    """The same SHA-256 over the load, and 20,000 damaged records of each type."""
    assert "native" in ran(native, "tests.native.build_name")
    assert sha256_of(native, 2_000) == sha256_of(ROOT, 2_000)
    ran(native, "tests.native.fuzz", "7", "20000", timeout=COMPILE_SECONDS_MAX)


@pytest.mark.release
@pytest.mark.timeout(COMPILE_SECONDS_MAX)
def test_core_driver_model_and_replay_hold_on_the_compiled_build(native: Path) -> None:
    """The same tests, the recorded histories and the random model's sequences. Not the defects that
    test_finds puts back: compiled functions call each other directly, not what a test has set.
    """
    ran(
        native,
        *("pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.native.plugin"),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
        *("-o", f"pythonpath={native} {ROOT}", "-m", "not broker and not browser"),
        *("--ignore", str(ROOT / "tests" / "model" / "test_finds.py")),
        *(str(ROOT / each) for each in ON_BOTH_BUILDS),
        timeout=COMPILE_SECONDS_MAX,
    )


def known() -> dict[str, tuple[str, ast.ClassDef]]:
    """Every class of the modules with hot structs."""
    found: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in HOT:
        found |= structs_of(module_of(path), (ROOT / path).read_text(encoding="utf-8"))
    return found


def classes(text: str) -> list[ast.ClassDef]:
    return [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]


def functions(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]
