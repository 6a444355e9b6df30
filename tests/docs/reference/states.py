"""The reference page of the state machine: diagram, transitions, and the three matrices.

The matrices are the golden files with which the tests compare core in every cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from core.payment.operator.verdicts import COUNTED_ONLY
from core.transitions import TRANSITIONS
from core.transitions import __doc__ as state_machine
from core.values import State
from tests.docs.reference.markdown import page, table

GOLDEN: Final = Path(__file__).resolve().parents[3] / "tests" / "core" / "payment" / "golden"
# Verdict rows that the golden file leaves out.
VERDICT_NOTES: Final[tuple[str, ...]] = (
    "Of these the report and the sums may leave some out; `npp conflict show` lists what fits now.",
    "NOT_PAID is for an attempt that has ended, and makes it certain.",
    "AMOUNT_ACCEPTED takes the amount of the report, of a settlement or of Deposits Core's answer.",
    "It closes a request of Deposits Core's that is still open; a HOLD is not closed so.",
    "A report of another amount than is recorded is never SETTLED_AFTER_ALL or RETURNED.",
    "RETURNED states an amount of at most what was settled and has not come back.",
    "Of returns SETTLED_AFTER_ALL says that settlement and returns stand as they are recorded.",
    "REPORT_WRONG changes nothing but that the conflict ends; the rail is asked at once.",
    f"A conflict that was only counted takes {' or '.join(COUNTED_ONLY)} alone.",
)


def state_machine_page() -> str:
    """Diagram, transitions, and the result of every report and command in every situation."""
    assert state_machine is not None
    diagram = state_machine.split("\n\n", 2)[1]
    states = [each.value for each in State]
    rows = [
        (
            t.event,
            t.source or "(none)",
            t.target,
            ", ".join(sorted(t.reasons)) or ("any" if t.event == "PaymentFailed" else "-"),
        )
        for t in TRANSITIONS
    ]
    pairs = {(t.source, t.target) for t in TRANSITIONS}
    matrix = [
        (f"**{source}**", *("yes" if (source, target) in pairs else "-" for target in states))
        for source in states
    ]
    reports = _golden("report_state.yaml")["reports"]
    commands = _golden("command_state.yaml")
    parts = [
        ["```", diagram, "```"],
        ["## Transitions", "", *table(("event", "from", "to", "failure reasons"), rows)],
        ["## State × state", "", *table(("from \\ to", *states), matrix)],
        [
            "## Situations",
            "",
            (
                "Rows of the tables below are states, or a state with how it came about: "
                "`FAILED_REJECTED` by the rail's final word, `FAILED_RETRYABLE` by one that allows "
                "a retry, `FAILED_LATE` after the acknowledgement, `FAILED_UNCERTAIN` marked by an "
                "operator, `FAILED_CANCELLED` and `FAILED_RECALLED` cancelled after sending, "
                "`FAILED_UNSENT` and `EXPIRED_UNSENT` before sending, `EXPIRED_RAIL` by the rail. "
                "`*` is every row not named. `quiet` appends notes at most, `duplicate` gives the "
                "first result again, `conflict` opens one and leaves the state."
            ),
        ],
        ["## Report × state", "", *_matrix(reports)],
        ["## Command × state", "", *_commands(commands)],
        [
            "## Verdict × conflict",
            "",
            (
                "Which verdicts a conflict takes, by the state of the attempt it speaks of. Any "
                "other is refused `VERDICT_NOT_APPLICABLE`, when it is asked for and when it is "
                "given. What each does for a conflict, and whom to ask, is in the "
                "[runbook](../runbook.md#contradicted)."
            ),
            "",
            *_verdicts(_golden("verdict_state.yaml")),
            "",
            *(f"* {note}" for note in VERDICT_NOTES),
        ],
    ]
    return page("State machine", *parts)


def _verdicts(golden: dict[str, Any]) -> list[str]:
    """One column for all states that have the same verdicts for every kind of conflict."""
    kinds, words = golden["verdicts"], golden["letters"]
    columns: dict[tuple[str, ...], list[str]] = {}
    for index, state in enumerate(golden["states"]):
        columns.setdefault(tuple(row[index] for row in kinds.values()), []).append(state)
    rows = [
        (
            f"`{kind}`",
            *(", ".join(words[letter] for letter in column[index]) for column in columns),
        )
        for index, kind in enumerate(kinds)
    ]
    return table(("conflict", *(", ".join(states) for states in columns.values())), rows)


def _golden(name: str) -> Any:
    return yaml.safe_load((GOLDEN / name).read_text(encoding="utf-8"))


def _matrix(cells: dict[str, dict[str, Any]], level: str = "###") -> list[str]:
    lines: list[str] = []
    for name, row in cells.items():
        lines += [f"{level} {name}", "", *table(("in", "result"), _rows(row)), ""]
    return lines[:-1]


def _commands(golden: dict[str, Any]) -> list[str]:
    """Commands that need an approval have two tables: with a matching one and without."""
    lines: list[str] = []
    for name, row in golden["commands"].items():
        if set(row) <= {"with", "without"}:
            for which, cells in row.items():
                title = f"### {name}, {which} an approval"
                lines += [title, "", *table(("in", "result"), _rows(cells)), ""]
        else:
            lines += [f"### {name}", "", *table(("in", "result"), _rows(row)), ""]
    return lines[:-1]


def _rows(cells: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"`{name}`", _result(cell)) for name, cell in cells.items()]


def _result(cell: Any) -> str:
    text = ", ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
    return text or "nothing"
