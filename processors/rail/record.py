"""The rail adapter's own record of what it submitted: npp.rail.submitted.v1, held in memory.

Written (acks=all) before the HTTP call and read back at each assignment. Where the record is not
conclusive the adapter asks the rail first, so a lost entry never causes a second submission.

    (none) ──▶ SUBMITTING ──▶ SUBMITTED | REFUSED | NOT_SUBMITTED
       └─────▶ WITHDRAWN | NOT_SUBMITTED
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from core.records import RailSubmission
from core.values import ExternalRef

SUBMITTING: Final = "SUBMITTING"
SUBMITTED: Final = "SUBMITTED"
REFUSED: Final = "REFUSED"
WITHDRAWN: Final = "WITHDRAWN"
NOT_SUBMITTED: Final = "NOT_SUBMITTED"
UNSENT: Final = frozenset({WITHDRAWN, NOT_SUBMITTED})

# How strongly a phase indicates that the rail may have the instruction. A weaker phase does not
# replace a stronger one: it can only come from an instance that had lost the partition. For the one
# exception see `_replaces`.
EVIDENCE: Final = {WITHDRAWN: 0, NOT_SUBMITTED: 0, SUBMITTING: 1, REFUSED: 2, SUBMITTED: 2}

KEPT_MS: Final = 3_600_000  # after submitBefore: from then on nothing more may be sent
SWEEP_MS: Final = 60_000
# The longest time from the decision of a SUBMIT to its submitBefore: windows.submit_ms of each rule
# set (1 min), with a margin; a test compares the two.
SUBMIT_WINDOW_MS_MAX: Final = 600_000
CLOCKS_MS_MAX: Final = 60_000  # difference of two processes' clocks (engine.clock refuses more)


class _New(msgspec.Struct, frozen=True):
    """A SUBMIT that this process has read from its topic."""

    partition: int
    offset: int
    limit_ms: int


class SubmissionRecord:
    """The phase of each externalRef of the assigned partitions. Entries are dropped KEPT_MS after
    their submitBefore. All times are epoch milliseconds.
    """

    def __init__(self) -> None:
        self._known: dict[str, RailSubmission] = {}
        self._new: dict[str, _New] = {}
        self._ends: dict[int, int] = {}
        self._since_ms: dict[int, int | None] = {}
        self._swept_at = 0
        self._lock = threading.Lock()

    def note(self, reference: ExternalRef, *, partition: int, offset: int, limit_ms: int) -> None:
        """A recently decided SUBMIT was read from its topic; `limit_ms` is its submitBefore."""
        with self._lock:
            self._new[reference] = _New(partition, offset, limit_ms)

    def fold(self, submission: RailSubmission, now_ms: int) -> None:
        """Fold the topic's next record, in order."""
        if _is_kept(submission, now_ms):
            with self._lock:
                self._apply(submission)

    def begin(self, partition: int, *, end: int, since_ms: int | None) -> None:
        """The partition's record was read back. `end`: the end offset of the instructions topic,
        taken before that; `since_ms`: append time of the oldest entry still on the record's topic,
        or None when it is empty.
        """
        with self._lock:
            self._ends[partition] = end
            self._since_ms[partition] = since_ms

    def has_begun(self, partition: int) -> bool:
        return partition in self._ends

    def stood_before(self, partition: int, offset: int) -> bool:
        """Whether the instruction at this offset was on its topic before the record was read."""
        return offset < self._ends.get(partition, offset + 1)

    def get(self, external_ref: ExternalRef) -> RailSubmission | None:
        with self._lock:
            return self._known.get(external_ref)

    def put(self, submission: RailSubmission) -> None:
        """Fold a record that was just written to the topic."""
        with self._lock:
            self._apply(submission)
            self._new.pop(submission.external_ref, None)
            if submission.at - self._swept_at > SWEEP_MS:
                self._sweep(submission.at)

    def clear(self) -> None:
        """The partitions were revoked."""
        with self._lock:
            self._known.clear()
            self._ends.clear()
            self._since_ms.clear()

    def is_new(self, external_ref: ExternalRef) -> bool:
        """Whether this process has read the reference's SUBMIT, and it was appended after the
        record was read back: no other instance can have submitted it.
        """
        with self._lock:
            return self._is_new(external_ref)

    def reaches_back(
        self, external_ref: ExternalRef, *, partition: int, submit_before: int
    ) -> bool:
        """Whether the record certainly has every submission of the reference (ruling 8).

        That is so if it has an entry, if the SUBMIT is new, or if an entry older than the SUBMIT's
        decision is still on the record's topic.
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

    def _is_new(self, external_ref: ExternalRef) -> bool:
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
    """Whether `after` replaces `before`: by EVIDENCE; but NOT_SUBMITTED replaces SUBMITTING if its
    writer, which has asked the rail, knew of the last try.
    """
    if after.phase == NOT_SUBMITTED and before.phase == SUBMITTING:
        return after.tries >= before.tries
    return EVIDENCE.get(after.phase, 0) >= EVIDENCE.get(before.phase, 0)


def _is_kept(submission: RailSubmission, now_ms: int) -> bool:
    return submission.submit_before + KEPT_MS > now_ms
