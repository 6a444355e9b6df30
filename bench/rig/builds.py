"""Which tree the processes under measurement run from: these sources, or the compiled build.

`python -m` looks into the working folder first, so a child needs the tree as its folder, too.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from app.config import build

ROOT: Final = Path(__file__).resolve().parents[2]
NATIVE: Final = ROOT / "build" / "native"
COMMAND_LINE: Final = Path("app", "cli", "npp.py")
TOPICS: Final = "topics.yaml"
PARTITIONS: Final = re.compile(r"(embedded:\s+partitions: \{payments: )\d+")
ROOMS: Final = (
    "core", "schemas", "engine", "gateways", "readmodel", "control", "evidence", "processors",
    "api", "web", "app", "bench",
)  # fmt: skip
SOURCES: Final = (".py", ".avsc", ".yaml")
ASK: Final = "from app.config import build; print(build.running())"
ASK_SECONDS_MAX: Final = 60


def tree(*, native: bool) -> Path:
    """The compiled build when asked for, else the tree that PYTHONPATH names first, else ours.

    Raises RuntimeError when the compiled build is asked for and is missing or older than a source.
    """
    if native:
        _require_current(NATIVE)
        return NATIVE
    first = os.environ.get("PYTHONPATH", "").split(os.pathsep)[0]
    return Path(first).resolve() if first and _is_tree(Path(first)) else ROOT


def _is_tree(folder: Path) -> bool:
    return (folder / COMMAND_LINE).is_file()


def _require_current(folder: Path) -> None:
    if not _is_tree(folder):
        raise RuntimeError(f"no compiled build in {folder}: make it first (make native)")
    made_s = (folder / TOPICS).stat().st_mtime
    for room in ROOMS[:-1]:  # the bench itself is run from here
        for file in (ROOT / room).rglob("*"):
            if file.suffix in SOURCES and file.stat().st_mtime > made_s:
                raise RuntimeError(
                    f"{file.relative_to(ROOT)} is newer than the compiled build in {folder}, which "
                    "would be measured in its place: make it again (make native)"
                )


def with_partitions(folder: Path, source: Path, count: int) -> Path:
    """A copy of the tree `source` in `folder` whose topics of payments have `count` partitions."""
    folder.mkdir(parents=True)
    for room in ROOMS:
        shutil.copytree(
            source / room,
            folder / room,
            ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
        )
    for library in source.glob("*.so"):  # what the compiled modules share
        shutil.copy(library, folder)
    (folder / "requirements").mkdir()
    shutil.copy(source / "requirements" / "jars.lock", folder / "requirements")
    text = (source / TOPICS).read_text(encoding="utf-8")
    changed, found = PARTITIONS.subn(rf"\g<1>{count}", text, count=1)
    if not found:
        raise RuntimeError(f"{TOPICS} does not say how many partitions the profile embedded has")
    (folder / TOPICS).write_text(changed, encoding="utf-8")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What a child of that tree needs beside ours."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def running_in(folder: Path) -> str:
    """`native` or `pure`: what a process of that tree says of itself."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=folder, env=environment(folder), capture_output=True, text=True,
        timeout=ASK_SECONDS_MAX, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def machine(folder: Path) -> str:
    """Architecture, cores, interpreter, build and load average of now, in one line."""
    optimised = "with" if build.python_is_optimised() else "without"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()} "
        f"{optimised} profile-guided optimisation, {running_in(folder)} build, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
