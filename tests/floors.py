"""Runs the floors of the tests in order and reports the cost of each. A floor is selected by marks.

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)\b")
CLOSING = re.compile(r"^=*\s*(\d+ (passed|failed|errors?|skipped|deselected)|no tests ran).* in ")


@dataclass(frozen=True)
class Floor:
    """A name, its budget in seconds on two cores, and its commands.

    The commands run in order, or all at once if `together`.
    """

    name: str
    budget_seconds: int
    commands: tuple[tuple[str, ...], ...]
    together: bool = False


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


def ignoring(*folders: str) -> list[str]:
    return [f"--ignore={folder}" for folder in folders]


STATIC = Floor(
    "static",
    20,
    (
        ("ruff", "format", "--check", "--quiet", "."),
        ("ruff", "check", "--quiet", "."),
        ("mypy", "--num-workers", "2", "--no-error-summary", "."),
        ("lint-imports", "--no-logo"),
    ),
)
# Each test runs on one floor, selected by its marks: quick, slow (without a broker), browser, or
# broker. The quick floor has thousands of tests of a millisecond. pytest-xdist used a third of its
# CPU for collecting everything in each worker and for passing each report between processes, so
# each share is a pytest of its own: of whole rooms, because each share imports what it tests. Three
# shares on two cores: one works while another waits.
QUICK_MARKS = ("-m", "not broker and not slow and not browser")
CORE_SHARE = ("tests/core", "tests/model", "tests/schemas")
PROCESSORS_SHARE = ("tests/engine", "tests/gateways", "tests/processors")
QUICK = Floor(
    "quick",
    40,
    (
        pytest(*QUICK_MARKS, *CORE_SHARE),
        pytest(*QUICK_MARKS, *PROCESSORS_SHARE),
        pytest(*QUICK_MARKS, "tests", *ignoring(*CORE_SHARE, *PROCESSORS_SHARE)),
    ),
    together=True,
)
SLOW = ("-m", "slow and not broker")
REPLAY_FOLDERS = ("tests/processors/replay", "tests/processors/verifier", "tests/histories")
# Tests that need a database server or a whole HTTP application.
OPERATORS = Floor(
    "operators' side",
    180,
    (pytest("-n2", *SLOW, "tests", *ignoring(*REPLAY_FOLDERS)),),
)
BROWSER = Floor("browser", 150, (pytest("-n2", "-m", "browser", "tests/web/browser"),))
REPLAY = Floor("replay", 120, (pytest(*SLOW, *REPLAY_FOLDERS),))
# The longest files of the broker floor first, so that both workers end together.
LONG_FIRST = (
    *("faults/test_recovery", "faults/test_kills", "engine/loop/test_loop_on_kafka"),
    *("faults/test_inputs", "app/platform/test_platform", "faults/test_group"),
    *("faults/test_projector", "faults/test_api_actions", "deploy/test_acls_product"),
    *("deploy/test_acls", "faults/test_rail", "engine/worker/test_worker_on_kafka"),
    *("engine/loop/test_lost_logs_on_kafka",),
)
ACCEPTANCE_FOLDER = "tests/acceptance"


def broker_files() -> list[str]:
    """Every file that may have a test for the broker floor, in the order in which they start."""
    first = [f"tests/{name}.py" for name in LONG_FIRST]
    every = [str(each.relative_to(ROOT)) for each in sorted(ROOT.glob("tests/**/test_*.py"))]
    missing = set(first) - set(every)
    assert not missing, f"LONG_FIRST names files that are gone: {missing}"
    rest = [each for each in every if each not in first]
    return first + [each for each in rest if not each.startswith(ACCEPTANCE_FOLDER)]


# Three at a time, each with one Kafka: these tests wait more than they work. Two used 28 % of two
# cores.
BROKER = Floor(
    "broker",
    600,
    (
        pytest(
            *("-n3", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "broker"),
            *broker_files(),
        ),
    ),
)
# Broker tests too; those that share one product run in one process (tests/acceptance/conftest.py).
ACCEPTANCE = Floor("acceptance", 300, (pytest("-n2", "--dist", "loadscope", ACCEPTANCE_FOLDER),))

# The independent model's random sequences; `make check` runs 200 of them on the quick floor.
MODEL_SEQUENCES = 200_000 if os.environ.get("NPP_TEST_RELEASE") else 5_000
MODEL = Floor(
    "model",
    60,
    (("python", "-m", "tests.model", "--sequences", str(MODEL_SEQUENCES), "--seed", "1"),),
)

PLANS = {
    "check": (STATIC, QUICK),
    "test": (STATIC, QUICK, MODEL, OPERATORS, BROWSER, REPLAY, BROKER, ACCEPTANCE),
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


def started(command: Sequence[str]) -> subprocess.Popen[str]:
    """The command as a separate process, with both outputs in one pipe."""
    # Python files that every run imports again are compiled once.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def judged(command: Sequence[str], exit_code: int, closing: str) -> Result:
    """The result of a command; a command other than pytest counts as failed only."""
    result = counted(closing)
    if exit_code != 0 and result.failed == 0:
        print(f"FAILED ({exit_code}): {' '.join(command)}", flush=True)
        result.failed = 1
    return result


def run(command: Sequence[str]) -> Result:
    """Run one command and print each line of its output as it comes."""
    closing = ""
    with started(command) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if CLOSING.match(line):
                closing = line
    return judged(command, child.returncode, closing)


def run_together(commands: Sequence[Sequence[str]]) -> Result:
    """Run all at once; print the output of each in full, in the order of the commands."""
    result = Result()
    with ExitStack() as ends:
        children = [ends.enter_context(started(command)) for command in commands]
        with ThreadPoolExecutor(len(children)) as readers:
            outputs = readers.map(lambda child: child.communicate()[0], children)
            for command, child, output in zip(commands, children, outputs, strict=True):
                print(output, end="", flush=True)
                closing = [line for line in output.splitlines() if CLOSING.match(line)]
                result.add(judged(command, child.returncode, "".join(closing[-1:])))
    return result


def main(arguments: Sequence[str]) -> int:
    floors = PLANS[arguments[0]]
    total, lines = Result(), []
    started = time.monotonic()
    for floor in floors:
        print(f"\n== {floor.name} ==", flush=True)
        began, result = time.monotonic(), Result()
        if floor.together:
            result.add(run_together(floor.commands))
        else:
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
