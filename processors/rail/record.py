"""The rail adapter's own record of what it submitted: memory over npp.rail.submitted.v1.

Written (acks=all) before the HTTP call, read back at each assignment. What it does not certainly
know is asked of the rail before anything is concluded, so a lost record never makes a payment.

    (none) ──▶ SUBMITTING ──▶ SUBMITTED | REFUSED | NOT_SUBMITTED
       └─────▶ WITHDRAWN | NOT_SUBMITTED
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from core.records import RailSubmission

SUBMITTING: Final = "SUBMITTING"
SUBMITTED: Final = "SUBMITTED"
REFUSED: Final = "REFUSED"
WITHDRAWN: Final = "WITHDRAWN"
NOT_SUBMITTED: Final = "NOT_SUBMITTED"
UNSENT: Final = frozenset({WITHDRAWN, NOT_SUBMITTED})

# How much a phase says that the rail may have it. A phase that says less never replaces one that
# says more: it can only come from an instance that had lost the partition.
EVIDENCE: Final = {WITHDRAWN: 0, NOT_SUBMITTED: 0, SUBMITTING: 1, REFUSED: 2, SUBMITTED: 2}

KEPT_MS: Final = 3_600_000  # past submitBefore: by then all has ended, or its time is over
SWEEP_MS: Final = 60_000
# A SUBMIT is decided at most so long before its submitBefore: windows.submit_ms of each rule set
# (1 min), with room; a test compares the two.
SUBMIT_WINDOW_MS_MAX: Final = 600_000
CLOCKS_MS_MAX: Final = 60_000  # between two processes' clocks (engine.clock refuses more)


class _New(msgspec.Struct, frozen=True):
    """A SUBMIT that this process has read from its topic."""

    partition: int
    offset: int
    limit_ms: int


class SubmissionRecord:
    """What is known of each reference of the assigned partitions; bounded by time."""

    def __init__(self) -> None:
        self._known: dict[str, RailSubmission] = {}
        self._new: dict[str, _New] = {}
        self._ends: dict[int, int] = {}
        self._since_ms: dict[int, int | None] = {}
        self._swept_at = 0
        self._lock = threading.Lock()

    def note(self, reference: str, *, partition: int, offset: int, limit_ms: int) -> None:
        """A SUBMIT was read from its topic, and was decided a moment ago."""
        with self._lock:
            self._new[reference] = _New(partition, offset, limit_ms)

    def fold(self, submission: RailSubmission, now_ms: int) -> None:
        """Take in the topic's next record, in its order."""
        if _is_kept(submission, now_ms):
            with self._lock:
                self._apply(submission)

    def begin(self, partition: int, *, end: int, since_ms: int | None) -> None:
        """The partition's record was read. `end`: of its instructions, before that; `since_ms`:
        append time of the oldest record that is still there, or None when there was none.
        """
        with self._lock:
            self._ends[partition] = end
            self._since_ms[partition] = since_ms

    def has_begun(self, partition: int) -> bool:
        return partition in self._ends

    def stood_before(self, partition: int, offset: int) -> bool:
        """Whether the instruction at this offset was on its topic before the record was read."""
        return offset < self._ends.get(partition, offset + 1)

    def get(self, external_ref: str) -> RailSubmission | None:
        with self._lock:
            return self._known.get(external_ref)

    def put(self, submission: RailSubmission) -> None:
        """Take in what was just written to the topic."""
        with self._lock:
            self._apply(submission)
            self._new.pop(submission.external_ref, None)
            if submission.at - self._swept_at > SWEEP_MS:
                self._sweep(submission.at)

    def clear(self) -> None:
        """The partitions were taken away."""
        with self._lock:
            self._known.clear()
            self._ends.clear()
            self._since_ms.clear()

    def is_new(self, external_ref: str) -> bool:
        """Whether this process has read the reference's SUBMIT, and it came to the topic after the
        record was read: nobody else can have submitted it.
        """
        with self._lock:
            return self._is_new(external_ref)

    def reaches_back(self, external_ref: str, *, partition: int, submit_before: int) -> bool:
        """Whether the record certainly holds what was ever submitted of the reference.

        So it is when it holds something, when the SUBMIT is new, and when a record that is older
        than the SUBMIT's decision is still on the topic. After KEPT_MS it is dropped here; then
        nothing is known of it but that it has ended, or its time is over.
        """
        with self._lock:
            if external_ref in self._known or self._is_new(external_ref):
                return True
            since_ms = self._since_ms.get(partition)
        if since_ms is None:
            return False
        return since_ms + CLOCKS_MS_MAX <= submit_before - SUBMIT_WINDOW_MS_MAX

    def __len__(self) -> int:
        return len(self._known)

    def _is_new(self, external_ref: str) -> bool:
        new = self._new.get(external_ref)
        return new is not None and not self.stood_before(new.partition, new.offset)

    def _apply(self, submission: RailSubmission) -> None:
        before = self._known.get(submission.external_ref)
        if before is None or _replaces(before, submission):
            self._known[submission.external_ref] = submission

    def _sweep(self, now_ms: int) -> None:
        self._swept_at = now_ms
        self._known = {r: each for r, each in self._known.items() if _is_kept(each, now_ms)}
        self._new = {r: new for r, new in self._new.items() if new.limit_ms + KEPT_MS > now_ms}


def _replaces(before: RailSubmission, after: RailSubmission) -> bool:
    """The writer of NOT_SUBMITTED over SUBMITTING has asked the rail, and knew of the last try."""
    if after.phase == NOT_SUBMITTED and before.phase == SUBMITTING:
        return after.tries >= before.tries
    return EVIDENCE.get(after.phase, 0) >= EVIDENCE.get(before.phase, 0)


def _is_kept(submission: RailSubmission, now_ms: int) -> bool:
    return submission.submit_before + KEPT_MS > now_ms
