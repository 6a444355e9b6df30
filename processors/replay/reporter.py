"""The published state of `npp run replay`: the running proof, and the last result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core.monitoring import ProofState
from core.words import ProofVerdict
from engine.clock import MS_PER_S, Clock
from processors.replay.report import PASSED, Report

EVERY_S: Final = 2.0  # of progress
DIFFERENCE_CHARACTERS_MAX: Final = 1_000

Publish = Callable[[ProofState], None]


class ProofReporter:
    """One for each process. `last` is the state published before the start, so that a restart keeps
    the result.
    """

    def __init__(self, publish: Publish, clock: Clock, last: ProofState | None) -> None:
        self._send = publish
        self._clock = clock
        now = clock.now_ms()
        self._state = last or ProofState(at=now, running=False, began_at=now, done=0, total=0)
        self._published_ms = 0

    def began(self) -> None:
        now = self._clock.now_ms()
        self._publish(running=True, began_at=now, done=0, total=0)

    def progress(self, done: int, total: int) -> None:
        """Publish progress, at most every EVERY_S seconds."""
        if self._clock.now_ms() - self._published_ms >= EVERY_S * MS_PER_S:
            self._publish(done=done, total=total)

    def ended(self, report: Report | None) -> None:
        """Publish the result; without a report the proof could not run, and the last result
        stays.
        """
        if report is None:
            self._publish(running=False)
            return
        first = report.first_failure
        self._publish(
            running=False,
            done=self._state.total,
            ended_at=self._clock.now_ms(),
            verdict=verdict(report),
            events=report.fold.events,
            difference=None if first is None else first.sentence()[:DIFFERENCE_CHARACTERS_MAX],
        )

    def _publish(self, **changes: object) -> None:
        now = self._clock.now_ms()
        self._state = msgspec.structs.replace(self._state, at=now, **changes)
        self._published_ms = now
        self._send(self._state)


def verdict(report: Report) -> ProofVerdict:
    """FAILED, or PASSED when every strength did; else some of it was not checkable."""
    if not report.passed:
        return "FAILED"
    whole = all(each.verdict == PASSED for each in report.strengths())
    return "PASSED" if whole else "NOT_CHECKABLE"
