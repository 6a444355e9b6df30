"""What the verifier needs of Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from core.header import Cause
from engine.ports import RecordPosition
from engine.records import LogRecord
from processors.verifier.partition import RawCheckpoint

# (topic, partition, key, value)
Publication = tuple[str, int, bytes | None, bytes]


class VerifierLog(Protocol):
    """What the verifier needs of Kafka. Offsets are the log's own; reading is read_committed."""

    def take(self) -> None:
        """Take the transactional id, which fences any other verifier."""

    def partitions(self) -> int:
        """Partitions of the journal, and so of the checkpoint topic."""

    def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """First offset and next offset to be written, open transactions included, by partition."""

    def checkpoints(self, starts: Mapping[int, int]) -> Mapping[int, Iterator[RawCheckpoint]]:
        """Checkpoints from an offset of each partition to its current end."""

    def control(self, start: int) -> Sequence[tuple[int, bytes, int]]:
        """Offset, value and append time of control records from `start` to the current end."""

    def outcomes_partitions(self) -> int:
        """Partitions of the outcomes topic."""

    def follow(
        self, start: Mapping[int, int], outcomes: Mapping[int, int], lifecycle: Mapping[int, int]
    ) -> None:
        """Read the journal, the outcomes and the lifecycle topic from these offsets on."""

    def poll(self, wait_s: float) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        """New journal records by partition, and the ends of partitions read to their end.

        Raises Exit OFFSETS_LOST if a position is no longer on the log.
        """

    def poll_outcomes(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        """Like `poll`, for the outcomes."""

    def poll_lifecycle(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        """Like `poll`, for the lifecycle topic."""

    def inputs(self, places: Iterable[RecordPosition]) -> Mapping[RecordPosition, LogRecord]:
        """The inputs at these places; one that is not there is missing."""

    def parked(self, cause: Cause) -> bool:
        """Whether quarantine has this input as PARKED."""

    def publish(self, records: Sequence[Publication]) -> list[int]:
        """Publish all in one transaction; returns their offsets.

        Raises Rebuild or Abort if the result is unknown or it failed, Exit if fenced.
        """

    def close(self) -> None:
        """Close all clients."""
