"""An attempt that was started, and its withdrawal."""

from __future__ import annotations

from schemas import topology
from tests.processors.rail.harness import Harness

SUBMIT, WITHDRAW = 0, 1  # offsets
ALREADY = "ALREADY_SUBMITTED"
CERTAIN = {"WITHDRAWN", "NOT_SUBMITTED"}


def forget_record(harness: Harness) -> None:
    harness.log.topics[topology.RAIL_SUBMITTED] = []


def answers(harness: Harness) -> list[tuple[str, str | None]]:
    """The answers to withdrawals, and end reports; NO_ANSWER of single tries is left out."""
    return [(kind, code) for kind, code in harness.said() if kind in CERTAIN | {ALREADY}]
