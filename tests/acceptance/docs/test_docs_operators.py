"""docs/operators.md and docs/runbook.md are true: every line is run in order against a running demo
with its own rules and users, and every answer matches the page.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.docs.reader import Reader, alike, parsed
from tests.acceptance.docs.running_demo import RunningDemo
from tests.rooms import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PAGE = ROOT / "docs" / "operators.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
CALLS_MIN = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo that keeps running, with its own rules and users; everything in it reconciles."""
    made = RunningDemo(tmp_path_factory.mktemp("demo"))
    try:
        made.start()
        yield made
    finally:
        said = made.close()
    assert "Everything reconciles." in said


@pytest.mark.parametrize(
    ("shown", "real", "fits"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": True}, {"a": 1}, False),
        ("pi_…", "pi_abc", True),
        ("pi_…", "xx_abc", False),
        (["…"], [], True),
        ([{"a": 1}], [{"a": 1}, {"a": 2}], False),
        (None, "", False),
    ],
)
def test_the_comparison_itself_can_fail(shown: Any, real: Any, fits: bool) -> None:
    assert alike(shown, real) is fits


@pytest.mark.timeout(1_200)
def test_every_line_of_the_page_can_be_pasted_and_answers_as_shown(
    demo: RunningDemo, tmp_path: Path
) -> None:
    """DEP-08: the runbook's procedures with this system's real answers."""
    reader = Reader(demo, tmp_path)
    reader.read(PAGE.read_text(encoding="utf-8"))
    assert reader.calls >= CALLS_MIN


@pytest.mark.timeout(1_200)
def test_every_line_of_the_runbook_can_be_pasted(demo: RunningDemo, tmp_path: Path) -> None:
    """DEP-08: in order, against a running demo. A line that needs a lost log, a defect or the
    brokers' administrator is parsed, and names the test that runs it.
    """
    reader = Reader(demo, tmp_path)
    reader.read(RUNBOOK.read_text(encoding="utf-8"))
    assert reader.calls >= CALLS_MIN
    assert reader.only_parsed < reader.calls / 4


@pytest.mark.parametrize("words", ["payment shw x", "payment show", "control stop --raeson x"])
def test_a_line_unknown_to_npp_is_found(words: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parsed(words.split())


def test_the_runbooks_calls_are_on_the_page_unchanged() -> None:
    """DEP-08: method, path and body fields as the runbook prints them."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in re.findall(r"```sh\n(.*?)```", text, re.S) if "curl" in line]
    wanted: list[tuple[str, str, Callable[[dict[str, Any]], bool]]] = [
        ("GET", "/api/payments/$payment", lambda _: True),
        ("GET", "/api/payments/$payment/events", lambda _: True),
        ("GET", "/api/payments?idempotencyKey=", lambda _: True),
        ("POST", "/retry", lambda b: set(b) == {"attemptId", "reason"}),
        ("POST", "/cancel", lambda b: set(b) == {"reason", "operatorId", "customerId"}),
        ("POST", "/mark-failed", lambda b: set(b) == {"reason", "details", "operatorId"}),
        ("POST", "/evidence-pack", lambda b: {"format", "includeReplayProof"} <= set(b)),
        ("GET", "/evidence-pack/download", lambda _: True),
        ("POST", "/evidence-pack/verify", lambda b: b == {}),
    ]
    for method, path, fits in wanted:
        found = [
            line for line in lines if path in line and (method == "POST") == ("-X POST" in line)
        ]
        assert any(fits(body_of(line)) for line in found), (method, path)


def body_of(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    return dict(json.loads(words[words.index("-d") + 1])) if "-d" in words else {}
