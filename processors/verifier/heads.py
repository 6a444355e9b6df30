"""The lifecycle records of one partition, compared with the states decided again.

They come on a topic of their own: one that is ahead of its event waits, and so does a checkpoint
until every record of what it covers has come. Where an end of the topic was there before the
verifier knew the states (a lost store, a recovery), only each payment's last record has to agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from processors.verifier.judge import AGREES, AHEAD, Finding, Judge

GRACE_S: Final = 5.0  # commit markers reach two partitions one after the other


class LifecycleHeads:
    """Fed in log order; `next_offset` is the first record that was not compared yet."""

    def __init__(self, judge: Judge, start: int, lenient_to: int) -> None:
        """Before `lenient_to` a later record of the same payment may put an earlier one right."""
        self.next_offset = start
        self._judge = judge
        self._lenient_to = lenient_to
        self._records: deque[tuple[int, str, bytes | None]] = deque()
        self._differing: dict[str, Finding] = {}  # lenient: until a later record agrees
        self._read_to = start
        self._waiting_s: float | None = None
        self._missing_s: float | None = None

    def known_to(self) -> int:
        """For the store: every record before it agrees; -1 while that is not known."""
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
        self, broken: Mapping[str, object], caught_up: bool, now_s: float
    ) -> Iterator[Finding]:
        """What does not agree. `caught_up`: every event of the partition has been taken."""
        while self._records:
            offset, payment, value = self._records[0]
            lenient = offset < self._lenient_to
            verdict, why = (AGREES, "")
            if payment not in broken:
                verdict, why = self._judge.lifecycle(payment, value)
            if verdict == AHEAD and not (lenient and caught_up):
                self._waiting_s = self._waiting_s if self._waiting_s is not None else now_s
                if not caught_up or now_s - self._waiting_s < GRACE_S:
                    return
            self._waiting_s = None
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
        yield from self._missing(now_s)

    def _missing(self, now_s: float) -> Iterator[Finding]:
        """Events whose record does not come: one transaction writes both."""
        if not self._judge.outstanding:
            self._missing_s = None
            return
        if self._missing_s is None:
            self._missing_s = now_s
        elif now_s - self._missing_s >= GRACE_S:
            self._missing_s = None
            for payment in self._judge.missing():
                self._judge.forget(payment)
                yield Finding(payment, -1, "its event has no lifecycle record: not written by us")
