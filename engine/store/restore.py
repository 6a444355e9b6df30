"""Brings partitions' states up to the end of the state topic before they are served.

Reads without a group from each store's own offset, committed records only, up to the *uncommitted*
high watermark taken after assignment: an open transaction of the previous owner is waited for.
Without progress it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from engine.clients.reader import TO_AN_END, PartitionReader
from engine.clock import Clock
from engine.errors import Exit
from engine.ports import CrashPoint
from engine.records import pairs_of
from engine.store.states import PartitionStates

NO_PROGRESS_S_MAX: Final = (
    45.0  # longer than the previous owner's transaction may stay open (10 s) and be ended
)
READ_COUNT: Final = 10_000
READ_WAIT_S: Final = 0.02


class Watermarks(NamedTuple):
    """First available offset, and the next one to be written (including uncommitted records)."""

    low: int
    high: int


class LogTailLost(Exception):
    """The store is past the log's end: committed payments are lost."""

    def __init__(self, partition: int, detail: str) -> None:
        super().__init__(f"partition {partition}: {detail}")
        self.partition = partition
        self.detail = detail


class Interrupted(Exception):
    """A rebalance happened during the restore; loaded data stays valid."""


class RestoreProgress:
    """Records still to read, by partition, for /startupz and the metric."""

    def __init__(self) -> None:
        self.remaining: dict[int, int] = {}


def prepare(state: PartitionStates, marks: Watermarks, now_ms: int, store_age_ms_max: int) -> bool:
    """Decide where a partition starts; True if its store had to be discarded (too old, or cut off).

    Raises LogTailLost if the store is past the log's end.
    """
    if state.state_offset > marks.high:
        raise LogTailLost(
            state.number, f"the store is at {state.state_offset}, the log ends at {marks.high}"
        )
    if not state.state_offset:
        return False
    if state.state_offset < marks.low or now_ms - state.written_at_ms > store_age_ms_max:
        state.clear()
        return True
    return False


def restore(
    connection: Mapping[str, Any],
    topic: str,
    states: Sequence[PartitionStates],
    targets: Mapping[int, Watermarks],
    clock: Clock,
    progress: RestoreProgress,
    keep_alive: Callable[[], bool],
    crash: CrashPoint,
) -> None:
    """Read until every partition has reached its target.

    `keep_alive` is called between reads and returns False if a rebalance makes this restore useless
    (Interrupted). Raises Exit RESTORE_STUCK without progress for NO_PROGRESS_S_MAX.
    """
    by_number = {s.number: s for s in states if s.state_offset < targets[s.number].high}
    progress.remaining = {n: targets[n].high - s.state_offset for n, s in by_number.items()}
    if not by_number:
        return
    start = {n: max(s.state_offset, targets[n].low) for n, s in by_number.items()}
    reader = PartitionReader(connection, topic, start, extra=TO_AN_END)
    moved_s = clock.monotonic_s()
    try:
        while by_number:
            if not keep_alive():
                raise Interrupted
            if _read_some(reader, by_number, targets, clock.now_ms(), progress, crash):
                moved_s = clock.monotonic_s()
            elif clock.monotonic_s() - moved_s > NO_PROGRESS_S_MAX:
                raise Exit(
                    "RESTORE_STUCK",
                    f"nothing for {NO_PROGRESS_S_MAX:.0f} s, still to read {progress.remaining}"
                    + (f": {reader.trouble}" if reader.trouble else ""),
                )
    finally:
        reader.close()


def _read_some(
    reader: PartitionReader,
    by_number: dict[int, PartitionStates],
    targets: Mapping[int, Watermarks],
    now_ms: int,
    progress: RestoreProgress,
    crash: CrashPoint,
) -> bool:
    """One read; True if any partition's position advanced."""
    moved = False
    batches, ends = reader.polled(READ_COUNT, READ_WAIT_S)
    for number, found in batches.items():
        state = by_number.get(number)
        if state is None:
            continue
        state.load(*pairs_of(found), now_ms)
        moved = True
        crash("during_restore")
    for number, end in ends.items():
        state = by_number.get(number)
        if state is not None and end > state.state_offset:
            state.load((), end, now_ms)
            moved = True
    for number, state in list(by_number.items()):
        progress.remaining[number] = max(0, targets[number].high - state.state_offset)
        if state.state_offset >= targets[number].high:
            del by_number[number]
            reader.stop(number)
    return moved
