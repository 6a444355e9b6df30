"""The tree of `make native` writes the same bytes as the sources that it was made from."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from core.declared import declared
from native.build import CODEC, COMPILED, HOT, compile_in, module_of, tree
from native.packed_source import methods
from native.plain_classes import rewritten, structs_of
from tests.native.compiler import needs_a_compiler
from tests.rooms import ROOT

RUN_SECONDS_MAX: Final = 250
COMPILE_SECONDS_MAX: Final = 3_600
# Everything that runs the payment core without a broker.
ON_BOTH_BUILDS: Final = (
    "tests/core", "tests/processors/payments", "tests/processors/replay", "tests/histories",
    "tests/evidence", "tests/processors/verifier", "tests/processors/projector",
    "tests/engine/loop", "tests/engine/store", "tests/engine/test_driver.py", "tests/model",
)  # fmt: skip
DEFECTS_PUT_IN: Final = (
    *("tests/model/test_finds.py", "tests/processors/verifier/test_redecided.py"),
    "tests/processors/verifier/test_rulings.py",
)
# It changes a limit, which compiled functions have as a constant.
LIMIT_CHANGED: Final = (
    "tests/processors/projector/test_projection.py"
    "::test_payments_and_minutes_evicted_from_memory_are_read_again"
)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree before it is compiled, as the compiler gets it."""
    folder = tmp_path_factory.mktemp("native") / "tree"
    tree(folder)
    return folder


@pytest.fixture(scope="module")
def native(interpreted: Path) -> Path:
    """The compiled tree."""
    needs_a_compiler()
    compile_in(interpreted, [*HOT, *COMPILED])
    return interpreted


def ran(folder: Path, *arguments: str, timeout: float = RUN_SECONDS_MAX) -> str:
    """The output of a Python program that imports the product from `folder` and the tests from
    here.
    """
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
    """SHA-256 over everything that the payments processor writes for the bench's load."""
    said = ran(folder, "bench.hot_path", "--once", "--json", "--payments", str(payments))
    body: dict[str, Any] = json.loads(said.splitlines()[-1])
    return str(body["sha256"])


def model_sha256_of(folder: Path, sequences: int, seed: int) -> str:
    """SHA-256 over the log of the model's sequences."""
    requested = ("tests.native.model_digest", str(sequences), str(seed))
    said = ran(folder, *requested, timeout=COMPILE_SECONDS_MAX).splitlines()[-1]
    assert re.fullmatch("[0-9a-f]{64}", said), said
    return said


@pytest.mark.slow
def test_the_tree_writes_the_same_bytes_as_the_sources(interpreted: Path) -> None:
    """All bytes of the happy path, through the rewritten classes and their codec."""
    assert sha256_of(interpreted, 60) == sha256_of(ROOT, 60)


@pytest.mark.slow
def test_the_tree_writes_the_same_bytes_for_the_models_sequences(interpreted: Path) -> None:
    """Refusals, conflicts, operators' actions and defects, over every topic."""
    assert model_sha256_of(interpreted, 30, 3) == model_sha256_of(ROOT, 30, 3)


@pytest.mark.slow
def test_the_product_needs_nothing_that_only_tests_patch(interpreted: Path) -> None:
    """Records copied with changes, shown as JSON and compared, without the tests' plugin."""
    assert ran(interpreted, "tests.native.own_means") == ran(ROOT, "tests.native.own_means")


@pytest.mark.slow
def test_the_trees_decoders_agree_with_the_generated_ones(interpreted: Path) -> None:
    """Truncated, changed and hostile bytes: the same record or the same error."""
    ran(interpreted, "tests.native.fuzz", "1", "150")


@pytest.mark.slow
def test_the_trees_packed_states_agree_with_msgspec(interpreted: Path) -> None:
    """Every field with unusual values, and damaged bytes: the same bytes, state or error."""
    ran(interpreted, "tests.native.packed", "1", "20")


def test_a_packed_field_of_a_type_that_is_not_written_is_named() -> None:
    """Otherwise the tree would be made with a field that cannot be read back."""

    class Odd(msgspec.Struct):
        factor: float

    (node,) = classes("class Odd:\n    factor: float")
    with pytest.raises(ValueError, match="a field of type <class 'float'> is not written here"):
        methods(Odd, [each for each in node.body if isinstance(each, ast.AnnAssign)])


def test_every_hot_struct_is_rewritten_with_all_its_fields() -> None:
    """A field that the constructor forgot would be missing from the log."""
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


def test_a_missing_hot_struct_is_named() -> None:
    """Otherwise renaming a class would silently leave it interpreted."""
    with pytest.raises(ValueError, match=r"a\.module has no struct Renamed"):
        rewritten("a.module", "class Other: ...", ["Renamed"], {})


def test_exactly_the_compiled_classes_have_a_compiled_codec() -> None:
    """Each record type with a compiled codec is a compiled class."""
    assert set(CODEC) <= {name for names in HOT.values() for name in names}


@pytest.mark.release
@pytest.mark.timeout(COMPILE_SECONDS_MAX)
def test_the_compiled_build_writes_the_same_bytes_and_never_crashes(native: Path) -> None:
    """The same SHA-256 over the load, and 20,000 damaged records of each type."""
    assert "native" in ran(native, "tests.native.build_name")
    assert sha256_of(native, 2_000) == sha256_of(ROOT, 2_000)
    assert model_sha256_of(native, 1_000, 11) == model_sha256_of(ROOT, 1_000, 11)
    ran(native, "tests.native.fuzz", "7", "20000", timeout=COMPILE_SECONDS_MAX)
    ran(native, "tests.native.packed", "7", "500", timeout=COMPILE_SECONDS_MAX)


@pytest.mark.release
@pytest.mark.timeout(COMPILE_SECONDS_MAX)
def test_core_driver_model_and_replay_pass_on_the_compiled_build(native: Path) -> None:
    """The same tests, the recorded histories and the model's random sequences, but no tests that
    put a defect in: compiled functions call each other directly, not what a test has patched.
    """
    ran(
        native,
        *("pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.native.plugin"),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
        *("-o", f"pythonpath={native} {ROOT}", "-m", "not broker and not browser"),
        *(f"--ignore={ROOT / each}" for each in DEFECTS_PUT_IN),
        f"--deselect={LIMIT_CHANGED}",
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
