"""Where a partition continued after a recovery from a lost log tail, and which checkpoints are void
since.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.records import Checkpoint


class RecoveryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a partition continued after `npp control recover` (dual control)."""

    journal_end: int  # the journal ended here at the recovery
    checkpoint: int  # number of the last checkpoint by then; 0 for none

    def voids(self, checkpoint: Checkpoint) -> bool:
        """True for a checkpoint over lost events: its root cannot be computed again."""
        return self.voids_range(checkpoint.number, checkpoint.to_offset)

    def voids_range(self, number: int, to_offset: int) -> bool:
        """As `voids`, for the checkpoint with this number and end."""
        return number <= self.checkpoint and to_offset >= self.journal_end


def is_void(checkpoint: Checkpoint, recovery_points: Sequence[RecoveryPoint]) -> bool:
    """A void checkpoint remains a link of the chain but covers nothing."""
    return any(point.voids(checkpoint) for point in recovery_points)
