"""The wheel: the sources for every Python or, with NPP_BUILD_NATIVE=1, the compiled build for this
one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Final
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

from native import build
from native.wheel_hook import VARIABLE
from tests.native.compiler import needs_a_compiler
from tests.rooms import ROOT

COMPILE_SECONDS_MAX: Final = 3_600
LIBRARY: Final = "npp__mypyc.so"
VERSIONS: Final = ("3.11", "3.12", "3.13")
PAYMENTS: Final = 500


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[], Path]:
    """Builds the wheel as hatch does for a package tool."""
    return lambda: Path(
        next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    )


def names_in(wheel: Path) -> list[str]:
    with ZipFile(wheel) as content:
        return content.namelist()


def text_in(wheel: Path, name: str) -> str:
    with ZipFile(wheel) as content:
        return content.read(name).decode()


def test_a_wheel_has_the_sources_and_the_files_they_read(
    wheel: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable no compiler is needed, and it works for every Python."""
    monkeypatch.delenv(VARIABLE, raising=False)
    made = wheel()
    assert made.name.endswith("-py3-none-any.whl")
    pages = {f"docs/runbook/{page.name}" for page in (ROOT / "docs" / "runbook").iterdir()}
    assert {"topics.yaml", "docs/runbook.md", *pages} <= set(names_in(made))
    assert not any("_structs" in name for name in names_in(made))


@pytest.mark.slow
def test_a_compiled_wheel_has_each_module_once_with_the_source_it_was_compiled_from(
    wheel: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise people would read a source that differs from the library. The compiler itself is
    tested before a release.
    """
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(
        build, "compile_in", lambda folder, paths: (folder / LIBRARY).write_bytes(b"")
    )
    made = wheel()
    names = names_in(made)
    assert not made.name.endswith("-any.whl")
    assert len(names) == len(set(names))
    assert {"topics.yaml", LIBRARY, "core/values_structs.py"} <= set(names)
    assert "class Party:" in text_in(made, "core/values.py")
    assert "class Party(msgspec.Struct" in text_in(made, "core/values_structs.py")
    assert not any(name.startswith(("bench/", "tests/", "native/")) for name in names)


@pytest.mark.release
@pytest.mark.timeout(COMPILE_SECONDS_MAX)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_compiled_wheel_runs_where_it_is_installed(version: str, tmp_path: Path) -> None:
    """Made by `make wheel`'s commands with the locked packages of that Python, installed where no
    sources are: it starts with NPP_REQUIRE_NATIVE=1 and writes the bytes that the sources here do.
    """
    needs_a_compiler()
    interpreter = interpreter_of(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} here, on PATH or among pyenv's")
    uv = str(Path(sys.executable).with_name("uv"))
    environment = tmp_path / "environment"
    python = str(environment / "bin" / "python")
    lock = str(ROOT / "requirements" / "native.lock")
    run = subprocess.run
    run([uv, "venv", "-q", "--python", interpreter, str(environment)], check=True)
    run([uv, "pip", "sync", "-q", "--python", python, "--require-hashes", lock], check=True)
    build_ = [uv, "build", "-q", "--wheel", "--no-build-isolation", "--python", python]
    build_ += ["--out-dir", str(tmp_path), str(ROOT)]
    run(build_, check=True, env={**os.environ, VARIABLE: "1"})
    (made,) = tmp_path.glob("*.whl")
    install = [uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", python]
    run([*install, str(made)], check=True)
    help_ = run(
        [python, "-m", "app.cli.npp", "doctor", "--help"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "NPP_REQUIRE_NATIVE": "1"},
    )  # fmt: skip
    assert help_.returncode == 0, help_.stderr
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = "from app.config import build; import core; print(build.running(), core.__file__)"
    printed = run(
        [python, "-c", program],
        cwd=tmp_path, env=alone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    native, where = printed.stdout.split()
    assert native == "native", printed.stderr
    assert Path(where).is_relative_to(environment)
    # The load is that of the sources; what the wheel has goes before them.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "load.pth").write_text(str(ROOT), encoding="utf-8")
    load = ["-m", "bench.hot_path", "--once", "--json", "--payments", str(PAYMENTS)]
    digests = {
        json.loads(
            run([each, *load], cwd=folder, env=alone, check=True, stdout=PIPE, text=True).stdout
        )["sha256"]
        for each, folder in ((python, tmp_path), (sys.executable, ROOT))
    }
    assert len(digests) == 1


def interpreter_of(version: str) -> str | None:
    """A Python of this version that runs, or None: pyenv's `python3.13` may be a name alone."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for each in (str(one) for one in found if one is not None):
        if subprocess.run([each, "-V"], capture_output=True, check=False).returncode == 0:
            return each
    return None
