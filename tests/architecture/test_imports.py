"""Import rules that import-linter cannot express: what `core` may use, parts of a package, the
clock.

Each rule is a pure function over a module's imports, so that the rules themselves are tested.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.rooms import ROOMS, ROOT, sources

CORE_BANS = {
    "time",
    "random",
    "os",
    "logging",
    "threading",
    "asyncio",
    "uuid",
    "secrets",
    "socket",
    "subprocess",
    "io",
    "pathlib",
}
CLOCK = "engine/clock.py"
VERIFIER = "evidence/verify_evidence.py"  # one file without our imports
FILES_MAX = 16  # in one folder
LINES_MAX = 400  # of one file
WALL_CLOCK_CALLS = {"now", "utcnow", "today"}


def modules() -> list[str]:
    return [file.relative_to(ROOT).as_posix() for file in sources()]


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of each import; `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def breaches(path: str, source: str) -> list[str]:
    """Every rule that one of our modules breaks, as `path:line: sentence`."""
    room = path.split("/")[0]
    tree = ast.parse(source)
    found = []
    for line, name in imports_of(tree):
        top = name.split(".")[0]
        if room == "core" and not (top in {"core", "msgspec"} or top in sys.stdlib_module_names):
            found.append(f"{path}:{line}: core imports {name}; only the standard library, msgspec")
        if room == "core" and top in CORE_BANS:
            found.append(f"{path}:{line}: core imports {name}; it is pure")
        if top == "time" and path != CLOCK:
            found.append(f"{path}:{line}: only {CLOCK} asks the clock")
        registry_client = name.startswith("confluent_kafka.schema_registry")
        if top == "confluent_kafka" and room != ("schemas" if registry_client else "engine"):
            found.append(f"{path}:{line}: {room} imports {name}")
        if top == "fastavro" and room != "schemas" and path != VERIFIER:
            found.append(f"{path}:{line}: {room} imports {name}; only schemas does")
        monitor = path.startswith("processors/monitor")
        if top in {"faust", "mode", "aiokafka"} and not monitor:
            found.append(f"{path}:{line}: {path} imports {name}; only processors/monitor does")
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in WALL_CLOCK_CALLS):
            continue
        owner = ast.unparse(node.value).split(".")[-1]
        if owner in {"datetime", "date"} and path != CLOCK:
            found.append(f"{path}:{node.lineno}: only {CLOCK} asks the clock")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_breaks_an_import_rule(room: str) -> None:
    """DEP-03 among them: core imports no Kafka, HTTP, clock or randomness."""
    paths = [path for path in modules() if path.startswith(f"{room}/")]
    assert paths, f"no module in {room}"
    assert [text for path in paths for text in breaches(path, (ROOT / path).read_text())] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "import confluent_kafka"),
        ("core/x.py", "import structlog"),
        ("core/x.py", "from uuid import uuid4"),
        ("core/x.py", "def f():\n    import random"),
        ("core/x.py", "from os.path import join"),
        ("core/x.py", "from datetime import datetime\nx = datetime.now()"),
        ("gateways/x.py", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
        ("processors/x.py", "import time"),
        ("engine/loop/loop.py", "from time import monotonic"),
        ("app/x.py", "from confluent_kafka import Producer"),
        ("engine/x.py", "from confluent_kafka.schema_registry import SchemaRegistryClient"),
        ("schemas/x.py", "from confluent_kafka import schema_registry, Producer"),
        ("schemas/x.py", "import confluent_kafka"),
        ("engine/x.py", "from fastavro import schemaless_reader"),
        ("processors/x.py", "import faust"),
        ("app/monitor.py", "import mode"),
    ],
)
def test_each_rule_finds_its_violation(path: str, source: str) -> None:
    assert len(breaches(path, source)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "import hashlib\nimport msgspec\nfrom core.values import Money"),
        ("engine/clock.py", "import time\nx = time.time_ns()"),
        ("engine/x.py", "from confluent_kafka import Consumer"),
        ("schemas/x.py", "from confluent_kafka.schema_registry import SchemaRegistryClient"),
        ("schemas/x.py", "import fastavro"),
        ("processors/monitor/app.py", "import faust"),
        ("gateways/x.py", "from datetime import datetime\nx = datetime.fromtimestamp(0)"),
    ],
)
def test_allowed_imports_are_accepted(path: str, source: str) -> None:
    assert breaches(path, source) == []


def test_importing_core_starts_nothing_and_loads_no_kafka() -> None:
    code = (
        "import sys, threading, core.decider, core.values\n"
        "banned = {'confluent_kafka', 'fastavro', 'faust', 'asyncio', 'socket'}\n"
        "assert not banned & set(sys.modules), banned & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_a_command_starts_without_the_databases_drivers() -> None:
    """They took half of the start-up time of every `npp` and every process without a read model."""
    code = (
        "import sys, app.cli.npp, app.wiring\n"
        "slow = {'sqlalchemy', 'alembic', 'psycopg', 'reportlab', 'fastapi', 'faust'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_the_architecture_page_has_a_row_for_each_folder_of_the_repository() -> None:
    """A folder without a row, or a row without a folder, fails."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    table = page.partition("## The rooms")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in row.replace("`", " ").replace("/", " ").split()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.partition("/")[0] for path in tracked if "/" in path}
    assert named == {name for name in folders if not name.startswith(".")}


def test_no_folder_has_too_many_files() -> None:
    """About fifteen modules per folder; more means that the folder holds two things."""
    counts = {
        folder.relative_to(ROOT).as_posix(): sum(
            file.name != "__init__.py" for file in folder.glob("*.py")
        )
        for room in (*ROOMS, "tests", "bench")
        for folder in [ROOT / room, *(each for each in (ROOT / room).rglob("*") if each.is_dir())]
    }
    assert {name: count for name, count in counts.items() if count > FILES_MAX} == {}


def test_no_file_is_too_long() -> None:
    """One file, one behaviour; a longer one holds two."""
    lengths = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8").count("\n")
        for file in sources(*ROOMS, "tests", "bench")
    }
    del lengths[VERIFIER]
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}
