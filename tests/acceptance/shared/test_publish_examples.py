"""The programs of docs/publish.md, run against the product: they publish and learn
every outcome.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from app.platform.fetch import ensure_platform
from app.platform.java import find_java
from core.values import payment_intent_id
from tests.acceptance.harness import Harness
from tests.rooms import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PROGRAM_SECONDS_MAX = 100
INSTALL_SECONDS_MAX = 200
NODE, GO = ROOT / "examples" / "node", ROOT / "examples" / "go"
AGAIN_MAX = 3
Program = Callable[[Harness, str, int], Sequence[str]]


def language(name: str) -> str:
    """A program's language. In CI (CI is set) each language must be installed."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not here; the examples in its language are not tested")
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def work(*words: str, folder: Path) -> None:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js with the packages of the lock file, verified by hash."""
    found = language("node")
    work(language("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=NODE)
    return found


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Go program, built from modules that match go.sum."""
    program = str(tmp_path_factory.mktemp("go") / "publish-and-follow")
    work(language("go"), "build", "-mod=readonly", "-o", program, ".", folder=GO)
    return program


@pytest.fixture(params=["python", "java", "node", "go"])
def program(request: pytest.FixtureRequest) -> Program:
    """The command that runs the program of one language."""
    if request.param in ("node", "go"):
        start = [request.getfixturevalue(request.param)]
        start += ["publish_and_follow.mjs"] if request.param == "node" else []
    elif request.param == "java":
        source = str(ROOT / "examples" / "java" / "PublishAndFollow.java")
        start = [find_java(), "-cp", f"{ensure_platform().kafka_libs}/*", source]
    else:
        return _python

    def words(harness: Harness, key: str, cents: int) -> Sequence[str]:
        registry = harness.cluster.environment.settings.schema_registry_url
        return (*start, harness.bootstrap, registry, key, str(cents))

    return words


def _python(harness: Harness, key: str, cents: int) -> Sequence[str]:
    registry = harness.cluster.environment.settings.schema_registry_url
    words = ("--key", key, "--amount", str(cents), "--bootstrap-servers", harness.bootstrap)
    module = ("-m", "examples.publish_and_follow")
    return (sys.executable, *module, *words, "--schema-registry-url", registry)


def run(words: Sequence[str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=NODE if "publish_and_follow.mjs" in words else GO if len(words) == 5 else ROOT,
        timeout=PROGRAM_SECONDS_MAX,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.timeout(1_200)
def test_a_program_learns_the_outcome_of_its_payment(harness: Harness, program: Program) -> None:
    """Settled, duplicate and refused: an upstream system can read each outcome."""
    key = harness.key()
    code, (payment, *states) = run(program(harness, key, 1250))
    assert (code, payment) == (0, payment_intent_id("mobile-app", key))
    sequences = [int(each.split()[0]) for each in states]
    assert sequences == sorted(set(sequences))
    assert states[-1].split()[1:] == ["SETTLED", "PAID"]

    for _ in range(AGAIN_MAX):  # meanwhile the customer is notified, which the program sees too
        code, (again, outcome) = run(program(harness, key, 1250))
        if outcome.split()[1:] != ["SETTLED", "PAID"]:
            break
    assert (code, again, outcome.split()[0]) == (1, payment, "DUPLICATE")

    code, (_, outcome) = run(program(harness, harness.key(), 0))
    assert (code, outcome.split()[0]) == (1, "REJECTED")


def test_the_recipes_in_node_give_the_published_vectors(node: str) -> None:
    work(node, "--test", "vectors.test.mjs", folder=NODE)


def test_the_recipes_in_go_give_the_published_vectors(go: str) -> None:
    assert go
    work(language("go"), "test", "-mod=readonly", "./...", folder=GO)
