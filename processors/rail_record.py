"""The rail adapter's own record of what it submitted: memory over npp.rail.submitted.v1.

Written (acks=all) before the HTTP call, read back at each assignment. What is old and not in it
is asked of the rail before anything is concluded, so a lost record never makes a payment.

    (none) ──▶ SUBMITTING ──▶ SUBMITTED | REFUSED | NOT_SUBMITTED
       └─────▶ WITHDRAWN | NOT_SUBMITTED
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from core.records import RailSubmission

SUBMITTING: Final = "SUBMITTING"
SUBMITTED: Final = "SUBMITTED"
REFUSED: Final = "REFUSED"
WITHDRAWN: Final = "WITHDRAWN"
NOT_SUBMITTED: Final = "NOT_SUBMITTED"
FINAL_PHASES: Final = frozenset({SUBMITTED, REFUSED, WITHDRAWN, NOT_SUBMITTED})

KEPT_MS: Final = 3_600_000  # past submitBefore; later the rail itself is asked
SWEEP_MS: Final = 60_000


class SubmissionRecord:
    """What is known of each reference of the assigned partitions; bounded by time."""

    def __init__(self) -> None:
        self._known: dict[str, RailSubmission] = {}
        self._swept_at = 0
        self._lock = threading.Lock()

    def restore(self, submissions: Iterable[RailSubmission], now_ms: int) -> int:
        """Fold the topic's records in order; the number of references known afterwards."""
        with self._lock:
            for each in submissions:
                if self._is_kept(each, now_ms):
                    self._apply(each)
            return len(self._known)

    def get(self, external_ref: str) -> RailSubmission | None:
        with self._lock:
            return self._known.get(external_ref)

    def put(self, submission: RailSubmission) -> None:
        """Take in what was just written to the topic."""
        with self._lock:
            self._apply(submission)
            if submission.at - self._swept_at > SWEEP_MS:
                self._swept_at = submission.at
                self._known = {
                    ref: each
                    for ref, each in self._known.items()
                    if self._is_kept(each, submission.at)
                }

    def clear(self) -> None:
        """The partitions were taken away."""
        with self._lock:
            self._known.clear()

    def __len__(self) -> int:
        return len(self._known)

    def _apply(self, submission: RailSubmission) -> None:
        """A reference that may have been submitted is never believed withdrawn.

        Such a record can only come from an instance that had lost the partition.
        """
        before = self._known.get(submission.external_ref)
        if before is not None and submission.phase == WITHDRAWN and before.phase != WITHDRAWN:
            return
        self._known[submission.external_ref] = submission

    @staticmethod
    def _is_kept(submission: RailSubmission, now_ms: int) -> bool:
        return submission.submit_before + KEPT_MS > now_ms
