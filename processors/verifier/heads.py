"""The lifecycle records of one partition, compared with the states decided again.

They are on a separate topic: one that is ahead of its event waits, and a checkpoint waits until
every record that it covers has arrived. For records from before the verifier knew the states (a
lost store, a recovery), only each payment's last record must agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from processors.verifier.judge import AGREES, AHEAD, Finding, Judge

GRACE_S: Final = 5.0  # commit markers reach two partitions one after the other


class LifecycleHeads:
    """Fed in log order; `next_offset` is the first record not yet compared."""

    def __init__(
        self,
        judge: Judge,
        start: int,
        lenient_to: int,
        ends: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """Before `lenient_to` a later record of the same payment may correct an earlier one.
        `ends`: the current ends of the journal's partition and this one.
        """
        self._ends = ends
        self.next_offset = start
        self._judge = judge
        self._lenient_to = lenient_to
        self._records: deque[tuple[int, str, bytes | None]] = deque()
        self._differing: dict[str, Finding] = {}  # lenient: until a later record agrees
        self._read_to = start
        self._ahead = Patience()
        self._missing = Patience()
        self._awaited: Mapping[str, int] = {}

    def known_to(self) -> int:
        """For the store: every record before it agrees; -1 while unknown."""
        return self.next_offset if self.next_offset >= self._lenient_to else -1

    def feed(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """The next record of the topic."""
        payment = (key or b"").decode("utf-8", "backslashreplace")
        self._records.append((offset, payment, value))
        self._read_to = offset + 1

    def reached(self, end: int) -> None:
        """Every record before `end` has been read."""
        self._read_to = max(self._read_to, end)

    def waiting(self) -> int:
        """Records that wait for their events."""
        return len(self._records)

    def compare(
        self, broken: Mapping[str, object], events_to: int | None, now_s: float
    ) -> Iterator[Finding]:
        """Disagreements. `events_to`: every event before it was processed, and no more have been
        read; None while events wait.
        """
        caught_up = events_to is not None
        while self._records:
            offset, payment, value = self._records[0]
            lenient = offset < self._lenient_to
            verdict, why = (AGREES, "")
            if payment not in broken:
                verdict, why = self._judge.lifecycle(payment, value)
            if (
                verdict == AHEAD
                and not (lenient and caught_up)
                and not self._ahead.is_over(now_s, events_to or 0, self._events_end)
            ):
                return
            self._ahead.begin()
            self._records.popleft()
            self.next_offset = offset + 1
            if verdict == AGREES:
                self._differing.pop(payment, None)
            elif lenient:
                self._differing[payment] = Finding(payment, offset, why)
            else:
                yield Finding(payment, offset, why)
        self.next_offset = max(self.next_offset, self._read_to)
        if self.next_offset >= self._lenient_to and self._differing and caught_up:
            yield from self._differing.values()
            self._differing.clear()
        yield from self._not_come(now_s)

    def _not_come(self, now_s: float) -> Iterator[Finding]:
        """Events whose record does not arrive, although one transaction writes both."""
        late = {p: n for p, n in self._awaited.items() if self._judge.still_awaits(p, n)}
        if not late:
            self._awaited = self._judge.awaiting()
            self._missing.begin()
            return
        if not self._missing.is_over(now_s, self._read_to, self._lifecycle_end):
            return
        self._awaited = {}
        for payment in late:
            self._judge.forget(payment)
            yield Finding(payment, -1, "its event has no lifecycle record: not written by us")

    def _events_end(self) -> int:
        return self._ends()[0]

    def _lifecycle_end(self) -> int:
        return self._ends()[1]


class Patience:
    """How long to wait for a record: GRACE_S, and then until everything on the topic by that time
    has been read. So neither load nor an unreachable broker ends the wait early.
    """

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._end: int | None = None

    def begin(self) -> None:
        """It has arrived, or the wait is for something else."""
        self._since_s = self._end = None

    def is_over(self, now_s: float, read_to: int, end: Callable[[], int]) -> bool:
        """Whether the wait is over; then the next one starts."""
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < GRACE_S:
            return False
        if self._end is None:
            self._end = end()
        if read_to < self._end:
            return False
        self.begin()
        return True
