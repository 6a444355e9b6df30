"""Where two persons let a partition go on after its log had lost its tail: which checkpoints are
void since then.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.records import Checkpoint


class RecoveryPoint(msgspec.Struct, frozen=True):
    """Where two persons let a partition go on after its log had lost its tail: `npp control
    recover`.
    """

    journal_end: int  # the journal ended here, whatever was there before
    checkpoint: int  # number of the last checkpoint by then; 0 for none

    def voids(self, checkpoint: Checkpoint) -> bool:
        """True for a checkpoint over events that have vanished: nothing can give its root."""
        return self.voids_range(checkpoint.number, checkpoint.to_offset)

    def voids_range(self, number: int, to_offset: int) -> bool:
        """The same of the checkpoint with this number and end."""
        return number <= self.checkpoint and to_offset >= self.journal_end


def is_void(checkpoint: Checkpoint, recovery_points: Sequence[RecoveryPoint]) -> bool:
    """A void checkpoint stays a link of the chain and covers nothing."""
    return any(point.voids(checkpoint) for point in recovery_points)
