"""The demo's output while it runs, without a terminal."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.demo.table import LINE_EVERY_SECONDS, Display
from app.demo.watcher import Watcher
from tests.clock import HeldClock


class Seen(SimpleNamespace):
    """The part of a watcher that a line needs."""

    counts: Counter[str]

    def states(self) -> Counter[str]:
        return self.counts


def test_without_a_terminal_a_line_is_printed_only_when_it_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = HeldClock(0)
    seen = Seen(counts=Counter(SETTLED=3), others=0, events=9, lag=0)
    display = Display(clock)

    def shown() -> list[str]:
        for _ in range(200):
            clock.advance(int(LINE_EVERY_SECONDS * 1000))
            seen.events += 1
            display.show(cast(Watcher, cast(Any, seen)), doing="stays up", kills=0, answers=0)
        return capsys.readouterr().err.splitlines()

    first = shown()
    assert len(first) == 1
    assert "stays up: SETTLED 3" in first[0]
    assert shown() == []

    seen.others = 2
    assert ["others published 2" in line for line in shown()] == [True]
