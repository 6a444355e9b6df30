"""Is every input accounted for exactly once: by events, by one outcome, or by quarantine?

One byte of flags for each input offset of one partition, so that memory is small and predictable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

INPUT: Final = 1
EVENTS: Final = 2
OUTCOME: Final = 4
QUARANTINE: Final = 8
ACCEPTED: Final = 16  # the outcome says ACCEPTED
SET_ASIDE: Final = 32  # the outcome says MISROUTED or QUARANTINED
SUSPENDED: Final = 64  # the event is ProcessingSuspended
TWICE: Final = 128  # two outcomes or two quarantined copies

BEYOND_MAX: Final = 100_000  # offsets past a topic's end that are remembered: 10 MB
_NOT_THERE: Final = "it is accounted for but is on no input topic"
_ACCOUNT: Final = EVENTS | OUTCOME | QUARANTINE


class Accounts:
    """The inputs of one partition, topic by topic."""

    def __init__(self, topics: Sequence[str], ends: Mapping[str, int]) -> None:
        """`ends` of the topics: an offset past its topic's end is not an input yet, even if a
        record names it, and uses no memory for the offsets before it.
        """
        self._topics = tuple(topics)
        self._flags: list[bytearray] = [bytearray() for _ in topics]
        self._beyond: list[dict[int, int]] = [{} for _ in topics]
        self._ends: list[int] = []
        self.grow(ends)

    def grow(self, ends: Mapping[str, int]) -> None:
        """Extend the topics' ends: a live log has grown."""
        self._ends = [ends.get(topic, 0) for topic in self._topics]
        for topic, beyond in enumerate(self._beyond):
            for offset in [each for each in beyond if 0 <= each < self._ends[topic]]:
                self.mark(topic, offset, beyond.pop(offset))

    def mark(self, topic: int, offset: int, flag: int) -> None:
        """Set flags of an input."""
        flags = self._flags[topic]
        if not 0 <= offset < self._ends[topic]:
            beyond = self._beyond[topic]
            if offset in beyond or len(beyond) < BEYOND_MAX:
                beyond[offset] = _joined(beyond.get(offset, 0), flag)
            return
        if offset >= len(flags):
            flags.extend(bytes(max(offset + 1 - len(flags), len(flags), 1_024)))
        flags[offset] = _joined(flags[offset], flag)

    def flags(self, topic: int, offset: int) -> int:
        """The flags of an input."""
        flags = self._flags[topic]
        return flags[offset] if 0 <= offset < len(flags) else 0

    def lacks_events(self, topic: int, offset: int) -> bool:
        """Whether it is an input that nothing accounts for, or that only an outcome ACCEPTED
        does.
        """
        return self.flags(topic, offset) in (INPUT, INPUT | OUTCOME | ACCEPTED)

    def last_accounted(self, topic: int) -> int:
        """The highest offset that anything accounts for; -1 when nothing does."""
        flags = self._flags[topic]
        for offset in range(len(flags) - 1, -1, -1):
            if flags[offset] & _ACCOUNT:
                return offset
        return -1

    def unaccounted(self, topic: int) -> Iterator[int]:
        """Inputs that nothing accounts for although a later one of their topic is accounted for."""
        last = self.last_accounted(topic)
        flags = self._flags[topic]
        offset = flags.find(INPUT, 0, max(last, 0))
        while offset >= 0:
            yield offset
            offset = flags.find(INPUT, offset + 1, last)

    def pending(self, topic: int) -> int:
        """Number of inputs after the last accounted one: not decided yet."""
        behind = self._flags[topic][self.last_accounted(topic) + 1 :]
        return len(behind) - behind.count(0)

    def wrong(self, topic: int) -> Iterator[tuple[int, str]]:
        """Inputs whose accounts contradict each other, as (offset, what is wrong)."""
        for offset in sorted(self._beyond[topic]):
            yield offset, _NOT_THERE
        flags = self._flags[topic]
        if not any(_is_wrong(each) for each in set(flags)):
            return
        for offset in range(len(flags)):
            if _is_wrong(flags[offset]):
                yield offset, _WHY[flags[offset]] or ""

    def counts(self, topic: int) -> tuple[int, int, int, int]:
        """Inputs read, and those with events, with an outcome alone, and in quarantine."""
        by_events = by_outcome = by_quarantine = read = 0
        for flags in set(self._flags[topic]):
            number = self._flags[topic].count(flags)
            if flags & INPUT:
                read += number
            if flags & EVENTS:
                by_events += number
            elif flags & QUARANTINE:
                by_quarantine += number
            elif flags & OUTCOME:
                by_outcome += number
        return read, by_events, by_outcome, by_quarantine


def _is_wrong(flags: int) -> bool:
    return bool(flags & _ACCOUNT) and _WHY[flags] is not None


def _joined(known: int, flag: int) -> int:
    twice = TWICE if known & flag & (OUTCOME | QUARANTINE) else 0
    return known | flag | twice


def _why(flags: int) -> str | None:
    """What is wrong with this combination, or None."""
    if not flags & INPUT:
        return _NOT_THERE
    if flags & TWICE:
        return "two outcome records, or two quarantined copies, name it"
    if flags & EVENTS and flags & OUTCOME and not flags & ACCEPTED:
        return "it made events, and an outcome says that it made none"
    if flags & ACCEPTED and not flags & EVENTS:
        return "an outcome says ACCEPTED, and no event names it"
    if flags & QUARANTINE and flags & EVENTS and not flags & SUSPENDED:
        return "it made events and is in quarantine"
    if flags & QUARANTINE and flags & OUTCOME and not flags & SET_ASIDE:
        return "it has an outcome and is in quarantine"
    if flags & SET_ASIDE and not flags & QUARANTINE:
        return "an outcome says that it is in quarantine, and it is not"
    return None


_WHY: Final = tuple(_why(flags) for flags in range(256))
