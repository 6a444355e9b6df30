"""The programs of docs/publish.md, run against the product: publish, and learn of every fate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from app.platform.fetch import ensure_platform
from app.platform.java import find_java
from core.values import payment_intent_id
from tests.acceptance.harness import Harness
from tests.rooms import ROOT

pytestmark = pytest.mark.broker

PROGRAM_SECONDS_MAX = 100
LANGUAGES = ("python", "java")


def program(language: str, harness: Harness, key: str, cents: int) -> Sequence[str]:
    registry = harness.cluster.environment.settings.schema_registry_url
    if language == "python":
        words = ("--key", key, "--amount", str(cents), "--bootstrap-servers", harness.bootstrap)
        module = ("-m", "examples.publish_and_follow")
        return (sys.executable, *module, *words, "--schema-registry-url", registry)
    source = str(ROOT / "examples" / "java" / "PublishAndFollow.java")
    jars = f"{ensure_platform().kafka_libs}/*"
    return (find_java(), "-cp", jars, source, harness.bootstrap, registry, key, str(cents))


def run(language: str, harness: Harness, key: str, cents: int = 1250) -> tuple[int, list[str]]:
    done = subprocess.run(
        program(language, harness, key, cents),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PROGRAM_SECONDS_MAX,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.timeout(400)
def test_a_program_learns_what_became_of_its_payment(harness: Harness, language: str) -> None:
    """Settled, the same again, and refused: each fate is one that an upstream system may read."""
    key = harness.key()
    code, (payment, *states) = run(language, harness, key)
    assert (code, payment) == (0, payment_intent_id("mobile-app", key))
    sequences = [int(each.split()[0]) for each in states]
    assert sequences == sorted(set(sequences))
    assert states[-1].split()[1:] == ["SETTLED", "PAID"]

    code, (again, outcome) = run(language, harness, key)
    assert (code, again, outcome.split()[0]) == (1, payment, "DUPLICATE")

    code, (_, outcome) = run(language, harness, harness.key(), cents=0)
    assert (code, outcome.split()[0]) == (1, "REJECTED")
