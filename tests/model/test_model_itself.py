"""The model itself: it is independent and repeatable, and its sequences shrink."""

from __future__ import annotations

import ast
import json
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from tests.model import runner
from tests.model.__main__ import main
from tests.model.runner import one, seeds_of
from tests.model.shrink import shrink
from tests.model.vocabulary import Move, dump, load

HERE = Path(__file__).parent
# What the model may import from core: message types, the rules file, and `decide`.
ALLOWED = {
    "core.decider",
    "core.header",
    "core.payment.commands",
    "core.payment.events",
    "core.payment.instructions",
    "core.rules",
    "core.values",
}
DOORS = {
    "core.payment.decide": {"decide"},
    "core.payment.state": {"at_rest", "money_outcome", "pack", "waiting_for_person"},
}


def model_files() -> list[Path]:
    return [file for file in sorted(HERE.rglob("*.py")) if not file.name.startswith("test_")]


@pytest.mark.parametrize("file", model_files(), ids=lambda file: file.relative_to(HERE).as_posix())
def test_the_model_imports_only_message_types_rules_and_decide(file: Path) -> None:
    """A model that used core's own rules would share its defects."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.split(".")[0] == "core"]
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("core"):
            continue
        names = {name.name for name in node.names}
        module = node.module or ""
        whole = {f"{module}.{name}" for name in names}
        allowed = module in ALLOWED or whole <= ALLOWED or names <= DOORS.get(module, set())
        assert allowed, f"{file.name} imports {sorted(names)} of {module}"


def test_a_sequence_is_the_same_every_time() -> None:
    """A failure can be repeated from its seed and number alone."""
    own = seeds_of(7, 3, 1)[0]
    first, again = one(own), one(own)
    assert dump(first[1]) == dump(again[1])
    assert first[0].violations == again[0].violations
    assert [step.decision for step in first[0].steps] == [step.decision for step in again[0].steps]


def test_a_sequence_of_a_seed_does_not_depend_on_the_number_run() -> None:
    assert seeds_of(1, 0, 10)[4] == seeds_of(1, 4, 1)[0]


def test_moves_can_be_written_down_completely() -> None:
    moves = one(seeds_of(3, 0, 1)[0])[1]
    assert dump(load(dump(moves))) == dump(moves)


def test_a_sequence_shrinks_to_the_moves_that_matter() -> None:
    moves = [Move("m", {"n": n}) for n in range(40)]
    left = shrink(moves, lambda part: {3, 31} <= {move.args["n"] for move in part})
    assert [move.args["n"] for move in left] == [3, 31]


def killed(job: object) -> None:
    """A process killed by the machine, as when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_run_with_a_killed_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It used to wait forever for that process's sequences."""
    monkeypatch.setattr(runner, "_chunk", killed)
    with pytest.raises(BrokenProcessPool):
        runner.run(2 * runner.CHUNK, 1)


def test_the_command_line_prints_its_counts_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sequences", "3", "--seed", "5", "--json", "--processes", "1"])
    body = json.loads(capsys.readouterr().out)
    assert list(body) == ["sequences", "inputs", "violations", "seed"]
    assert body["seed"] == 5
