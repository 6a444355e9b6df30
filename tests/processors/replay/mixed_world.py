"""A log that contains some of every case, made once per test file."""

from __future__ import annotations

import msgspec

from engine.records import LogRecord
from processors.replay import Report

STRENGTHS = ("fold", "chain", "redecide", "identity", "money")


def _verdicts(report: Report) -> dict[str, str]:
    return {each.name: each.verdict for each in report.strengths()}


def _replace(records: list[LogRecord], index: int, value: bytes) -> None:
    records[index] = msgspec.structs.replace(records[index], value=value)
