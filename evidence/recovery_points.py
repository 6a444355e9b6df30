"""What two people decided about the log, from the read model's control records: rulings on journal
records, and recoveries from a lost log tail. A recovery makes checkpoints void; a void checkpoint
covers nothing.
"""

from __future__ import annotations

import threading
from typing import Final

from control.fold import Control
from core.dispositions import Disposition
from readmodel import rows
from readmodel.ports import Reader
from schemas.codec import Codec

PAGE_COUNT: Final = 1_000


class RecoveryPoints:
    """Follows the read model's control rows. Safe for many threads. Raises ReadModelDown."""

    def __init__(self, reader: Reader, codec: Codec) -> None:
        self._reader = reader
        self._control = Control(codec.decode)
        self._after = -1
        self._lock = threading.Lock()

    def checkpoint_over(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The checkpoint that covers a journal offset; None until one is signed, or signed again
        after a recovery.
        """
        row = self._reader.checkpoint_over(partition, offset)
        return None if row is None or self._is_void(row) else row

    def last_checkpoint(self, partition: int) -> rows.CheckpointRow | None:
        """The partition's last checkpoint that is not void, or None."""
        row = self._reader.last_checkpoint(partition)
        while row is not None and self._is_void(row):
            row = self._reader.checkpoint(partition, row.number - 1)
        return row

    def checkpoint_over_outcome(self, partition: int, offset: int) -> rows.CheckpointRow | None:
        """The journal partition's checkpoint that covers this offset of its outcomes, or None."""
        row = self._reader.checkpoint_over_outcome(partition, offset)
        return None if row is None or self._is_void(row) else row

    def rulings(self, payment: str) -> tuple[Disposition, ...]:
        """The rulings on records that name this payment, in journal order."""
        with self._lock:
            self._follow()
            return self._control.dispositions.of_payment(payment)

    def rulings_on(self, partition: int, to: int) -> list[Disposition]:
        """The rulings on records of the partition up to this offset, in journal order."""
        with self._lock:
            self._follow()
            found = [
                each
                for each in self._control.dispositions
                if each.request.partition == partition and each.request.offset <= to
            ]
        return sorted(found, key=lambda each: each.request.offset)

    def cluster_id(self) -> str:
        """The recorded cluster; empty before it is recorded."""
        with self._lock:
            self._follow()
            cluster = self._control.cluster
        return "" if cluster is None else cluster.cluster_id

    def _is_void(self, row: rows.CheckpointRow) -> bool:
        with self._lock:
            self._follow()
            recovery_points = self._control.recovery_points(row.partition)
        return any(point.voids_range(row.number, row.to_offset) for point in recovery_points)

    def _follow(self) -> None:
        while True:
            page = self._reader.control(self._after, PAGE_COUNT)
            for row in page:
                self._control.apply(row.offset, row.raw, row.at)
                self._after = row.offset
            if len(page) < PAGE_COUNT:
                return
