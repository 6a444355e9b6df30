"""Request bodies for the tests that act over HTTP, and time parsing."""

from __future__ import annotations

from datetime import datetime


def epoch_ms(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1000)


RETRY = {"attemptId": "att_002", "reason": "Resolve approved retry after rail timeout"}
TEXT = "O'Brien <b>x</b> \u202e=1+1 ☕ \r\n; DROP TABLE payments --"
