"""Failed proofs become STOPs: one cause is one STOP.

While a STOP of a kind is open, a further finding of that kind is a metric and a log line. It
becomes a separate STOP if the open one has ended and the finding persists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import structlog

from core.control_records import ProcessingStopped
from engine.clock import Clock
from engine.ports import RecordPosition
from evidence.chain import Break
from processors.verifier.partition import Problem
from processors.verifier.store import VerifierStore

log = structlog.get_logger("npp.verifier")

REPORTED_MAX: Final = 1_000  # problems reported individually; by then everything has stopped
ACTOR: Final = "verifier"


class Stops:
    """The findings, and the STOPs to write."""

    def __init__(self, store: VerifierStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reported: set[RecordPosition] = set()
        self._waiting: dict[str, ProcessingStopped] = {}
        self._written: dict[str, int] = {}  # by kind: control offset of the last one

    def found(self, problem: Problem) -> bool:
        """Report it once; False if it was reported before."""
        place = problem.offset if isinstance(problem, Break) else problem.number
        name = (problem.kind, problem.partition, place)
        if name in self._reported or len(self._reported) >= REPORTED_MAX:
            return False
        self._reported.add(name)
        where: dict[str, object] = (
            {"payment": problem.payment, "sequence": problem.sequence, "offset": problem.offset}
            if isinstance(problem, Break)
            else {"checkpoint": problem.number}
        )
        log.critical(
            "proof_failed",
            kind=problem.kind,
            partition=problem.partition,
            first_difference=problem.first_difference,
            **where,
        )
        stop_id = f"{_prefix(problem.kind)}{problem.partition}-{place}"
        self._waiting[stop_id] = ProcessingStopped(
            stop_id=stop_id,
            reason=problem.sentence(),
            automatic=True,
            stopped_at=self._clock.now_ms(),
            actor=ACTOR,
            cause=problem.kind,
        )
        return True

    def due(self, open_ones: Sequence[str], read_to: int) -> Iterator[ProcessingStopped]:
        """STOPs to write now. `open_ones`: ids of those on the control topic before `read_to`."""
        for stop_id, stop in list(self._waiting.items()):
            prefix = stop_id[: stop_id.index("-", len(ACTOR) + 1) + 1]
            is_unread = self._written.get(prefix, -1) >= read_to
            if is_unread or any(each.startswith(prefix) for each in open_ones):
                continue
            if self._store.stop_published(stop_id):
                del self._waiting[stop_id]
                continue
            yield stop

    def published(self, stop: ProcessingStopped, offset: int) -> None:
        """It was written to the control topic, at this offset."""
        self._store.remember_stop(stop.stop_id)
        del self._waiting[stop.stop_id]
        prefix = stop.stop_id[: stop.stop_id.index("-", len(ACTOR) + 1) + 1]
        self._written[prefix] = offset
        log.critical("processing_stopped", stop_id=stop.stop_id, reason=stop.reason)


def _prefix(kind: str) -> str:
    return f"{ACTOR}-{kind}-"
