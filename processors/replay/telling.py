"""What `npp run replay` tells of itself: the proof that runs, and how the last one ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core.monitoring import ProofState
from engine.clock import MS_PER_S, Clock
from processors.replay.report import PASSED, Report

EVERY_S: Final = 2.0  # of progress
DIFFERENCE_CHARACTERS_MAX: Final = 1_000

Tell = Callable[[ProofState], None]


class Telling:
    """One for each process. `last` is what was told before it began, so that a restart forgets no
    result."""

    def __init__(self, tell: Tell, clock: Clock, last: ProofState | None) -> None:
        self._tell = tell
        self._clock = clock
        now = clock.now_ms()
        self._state = last or ProofState(at=now, running=False, began_at=now, done=0, total=0)
        self._told_ms = 0

    def began(self) -> None:
        now = self._clock.now_ms()
        self._say(running=True, began_at=now, done=0, total=0)

    def progress(self, done: int, total: int) -> None:
        """Told every EVERY_S seconds at most."""
        if self._clock.now_ms() - self._told_ms >= EVERY_S * MS_PER_S:
            self._say(done=done, total=total)

    def ended(self, report: Report | None) -> None:
        """With its report; without one it could not be made, and the last result stays."""
        if report is None:
            self._say(running=False)
            return
        first = report.first_failure
        self._say(
            running=False,
            done=self._state.total,
            ended_at=self._clock.now_ms(),
            verdict=verdict(report),
            events=report.fold.events,
            difference=None if first is None else first.sentence()[:DIFFERENCE_CHARACTERS_MAX],
        )

    def _say(self, **changes: object) -> None:
        now = self._clock.now_ms()
        self._state = msgspec.structs.replace(self._state, at=now, **changes)
        self._told_ms = now
        self._tell(self._state)


def verdict(report: Report) -> str:
    """FAILED, or PASSED when every strength did; else some of it was not checkable."""
    if not report.passed:
        return "FAILED"
    whole = all(each.verdict == PASSED for each in report.strengths())
    return "PASSED" if whole else "NOT_CHECKABLE"
