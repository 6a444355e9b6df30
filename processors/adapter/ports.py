"""What the adapter processors need of Kafka and the codec, in words. The engine fills it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from engine.ports import Headers, InputRecord


class Publisher(Protocol):
    """Writes one record and comes back when all in-sync replicas have it. From any thread.

    Without `partition` the key decides, as the Java client would. Raises
    engine.clients.publisher.NotConfirmed when nobody knows whether it was written; Exit: not
    allowed.
    """

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Headers | None = None,
        timeout_s: float = 30.0,
    ) -> object: ...


class Ownership(Protocol):
    """Whether the group still gives this partition to this process."""

    def confirm(self, partition: int) -> bool:
        """Ask the group's coordinator, which refuses an instance that another has replaced.

        True means: at a moment after this call began the partition was ours, so the process that
        gets it next reads everything that was written before.
        """


class LookAhead(Protocol):
    """Withdraws that are further on in the submissions topic."""

    def is_fresh(self, partition: int) -> bool:
        """The partition has been read to an end offset at most 1 s old."""

    def is_withdrawn(self, external_ref: str) -> bool:
        """A withdraw of this reference was read. It stays so until submitBefore has passed."""


class Work(msgspec.Struct):
    """One instruction on its way through a lane.

    `limit_ms`: never submitted from then on. `is_old`: it stood on the topic before this process
    took the partition, so an earlier run may have handled it. `begun_s`: the first try, by the
    monotonic clock. `plan`: what an adapter that answers in steps has still to do.
    """

    record: InputRecord
    instruction: Any
    limit_ms: int = 0
    is_old: bool = False
    tries: int = 0
    begun_s: float = 0.0
    plan: list[Any] | None = None
