"""The figures of the last 24 hours by minute, cached between reads: only minutes that may have
changed are read.

A partition's events are decided in journal order, so new ones fall into its newest minute or later.
Each read also covers one hour of the day in turn, so that minutes displaced by a clock jump appear
within TURNS reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from readmodel import minutes
from readmodel.minutes import Figures
from readmodel.ports import Reader
from schemas.topology import EVENTS

DAY_MINUTES: Final = 1_440
SLACK_MINUTES: Final = 5  # the clocks of two processors differ by less
TURN_MINUTES: Final = 60
TURNS: Final = DAY_MINUTES // TURN_MINUTES


def journal_offsets(reader: Reader) -> dict[int, int]:
    """The read model's next journal offset by partition. Raises ReadModelDown."""
    found = reader.projected()
    return {number: offset for (topic, number), offset in found.items() if topic == EVENTS}


class Day:
    """The cached minutes. For one thread at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offsets: Mapping[int, int] = {}
        self._packed: dict[int, dict[int, bytes]] = {}  # by minute and partition
        self._newest: dict[int, int] = {}  # minute, by partition
        self._sums: dict[int, Figures] = {}
        self._turn = 0

    def look(self, last: int, offsets: Mapping[int, int]) -> dict[int, Figures]:
        """The figures of each minute that has any, for the 24 hours up to epoch minute `last`.
        `offsets`: the `journal_offsets` read before this call. Raises ReadModelDown.
        """
        first = last - DAY_MINUTES + 1
        self._forget(first)
        moved = [n for n, offset in offsets.items() if offset != self._offsets.get(n)]
        if not self._offsets or any(offsets.get(n, -1) < at for n, at in self._offsets.items()):
            self._packed.clear()  # another generation of the read model, or the first look
            self._sums.clear()
            self._read(first, last)
        else:
            if moved:
                since = min(self._newest.get(number, first) for number in moved)
                self._read(max(first, since - SLACK_MINUTES), last)
            begin = first + self._turn * TURN_MINUTES
            self._read(begin, begin + TURN_MINUTES - SLACK_MINUTES - 1)
            self._turn = (self._turn + 1) % TURNS
        self._offsets = dict(offsets)
        return {minute: self._sums[minute] for minute in sorted(self._sums) if minute <= last}

    def _forget(self, first: int) -> None:
        for minute in [each for each in self._packed if each < first]:
            del self._packed[minute], self._sums[minute]

    def _read(self, since: int, until: int) -> None:
        """Minutes from `since` to `until`, and SLACK_MINUTES more: a clock may be ahead of ours."""
        changed = set()
        for row in self._reader.minutes(since, until + SLACK_MINUTES + 1):
            known = self._packed.setdefault(row.minute, {})
            if known.get(row.partition) != row.figures:
                known[row.partition] = row.figures
                changed.add(row.minute)
                self._newest[row.partition] = max(row.minute, self._newest.get(row.partition, 0))
        for minute in changed:
            packed = self._packed[minute].values()
            self._sums[minute] = minutes.total(map(minutes.unpack, packed))
