"""Runs the floors of the test house in order and says what each cost.

`python -m tests.floors check` (no broker, under a minute) or `test` (everything). Every floor runs,
also after a failure; the exit code is 1 if any failed. The last line counts passed and failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b")
CLOSING = re.compile(r"^=*\s*(\d+ (passed|failed|errors?|skipped|deselected)|no tests ran).* in ")


@dataclass(frozen=True)
class Floor:
    """A name, the seconds it is meant to cost on two cores, and its commands."""

    name: str
    budget_seconds: int
    commands: tuple[tuple[str, ...], ...]


@dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: Result) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def pytest(*args: str) -> tuple[str, ...]:
    return ("pytest", "-q", "--no-header", *args)


NO_BROKER = ("-m", "not kafka")
STATIC = Floor(
    "static",
    30,
    (
        ("ruff", "format", "--check", "--quiet", "."),
        ("ruff", "check", "--quiet", "."),
        ("mypy", "--num-workers", "2", "--no-error-summary", "."),
        ("lint-imports", "--no-logo"),
    ),
)
# What stands on a database server or a whole HTTP application: too slow for `check`.
OPERATORS_GLOBS = ("api", "evidence_pack", "projec", "readmodel", "verify_evidence")
OPERATORS_FILES = tuple(f"tests/contracts/test_{name}*.py" for name in OPERATORS_GLOBS)
CORE = Floor(
    "core, contracts, driver",
    45,
    (
        pytest(
            *("-n2", *NO_BROKER),
            *("tests/core", "tests/contracts", "tests/driver", "tests/model"),
            "tests/histories/test_recorder.py",
            *(f"--ignore-glob={ROOT / files}" for files in OPERATORS_FILES),
        ),
    ),
)
OPERATORS = Floor(
    "operators' side",
    180,
    (
        pytest(
            *("-n2", *NO_BROKER),
            *(str(f) for files in OPERATORS_FILES for f in sorted(ROOT.glob(files))),
        ),
    ),
)
REPLAY = Floor("replay", 120, (pytest("tests/replay", "tests/histories/test_histories.py"),))
# The longest files of the Kafka floor, longest first: so both workers end together.
LONG_FIRST = (
    *("fault_recovery", "fault_kills", "engine_loop", "fault_inputs", "platform", "fault_group"),
    *("projector", "api_actions", "acls_product", "acls", "fault_rail", "engine_worker"),
)


def kafka_files() -> list[str]:
    """The files of the Kafka floor in the order in which they are begun."""
    first = [ROOT / f"tests/kafka/test_{name}.py" for name in LONG_FIRST]
    rest = sorted(set(ROOT.glob("tests/kafka/test_*.py")) - set(first))
    return [str(each.relative_to(ROOT)) for each in (*first, *rest)]


# Two at a time, each file with one Kafka: these tests wait more than they work.
KAFKA = Floor(
    "kafka",
    600,
    (
        pytest(
            *("-n2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "kafka"),
            *(*kafka_files(), "tests/contracts", "tests/driver"),
        ),
    ),
)
# The demos beside the tests that share one house.
ACCEPTANCE = Floor("acceptance", 300, (pytest("-n2", "--dist", "loadscope", "tests/acceptance"),))

# The independent model's random sequences; `make check` runs 200 of them with the core's tests.
MODEL_SEQUENCES = 200_000 if os.environ.get("NPP_TEST_RELEASE") else 5_000
MODEL = Floor(
    "model",
    60,
    (("python", "-m", "tests.model", "--sequences", str(MODEL_SEQUENCES), "--seed", "1"),),
)

PLANS = {
    "check": (STATIC, CORE),
    "test": (STATIC, CORE, MODEL, OPERATORS, REPLAY, KAFKA, ACCEPTANCE),
}


def counted(line: str) -> Result:
    """The counts of pytest's closing line; anything that is no pass is a failure or a skip."""
    result = Result()
    for number, word in COUNT.findall(line):
        if word in {"passed", "xfailed"}:
            result.passed += int(number)
        elif word == "skipped":
            result.skipped += int(number)
        elif word != "deselected":
            result.failed += int(number)
    return result


def run(command: Sequence[str]) -> Result:
    """Run one command with its output shown; a command other than pytest counts as failed only."""
    path = [str(BIN / command[0]), *command[1:]]
    closing = ""
    # What is started again and again is compiled once.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        path, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if CLOSING.match(line):
                closing = line
    result = counted(closing)
    if child.returncode != 0 and result.failed == 0:
        print(f"FAILED ({child.returncode}): {' '.join(command)}", flush=True)
        result.failed = 1
    return result


def main(arguments: Sequence[str]) -> int:
    floors = PLANS[arguments[0]]
    total, lines = Result(), []
    started = time.monotonic()
    for floor in floors:
        print(f"\n== {floor.name} ==", flush=True)
        began, result = time.monotonic(), Result()
        for command in floor.commands:
            result.add(run(command))
        seconds = time.monotonic() - began
        verdict = "FAILED" if result.failed else "ok"
        lines.append(
            f"{floor.name:<23} {seconds:6.1f} s of {floor.budget_seconds:>3}  {verdict:<6} "
            f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
        )
        total.add(result)
    print("\n" + "\n".join(lines))
    skipped = f", {total.skipped} skipped" if total.skipped else ""
    seconds = time.monotonic() - started
    print(f"{total.passed} passed, {total.failed} failed{skipped} in {seconds:.1f} s", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
