"""The ports of the adapter processors to Kafka and the codec. The engine implements them."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from core.values import ExternalRef
from engine.ports import Headers, InputRecord

DOUBLINGS_MAX: Final = 10  # of a pause, far beyond every s_max: a float has no room for 1,024


class Publisher(Protocol):
    """Writes one record and returns once all in-sync replicas have it. Thread-safe.

    Without `partition` the key selects it as in the Java client (murmur2). Raises
    engine.clients.publisher.NotConfirmed if it is unknown whether the record was written, Refused
    if the broker will never take it (too large), Exit if access is denied.
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
    """Whether this process still owns the partition in its group."""

    def confirm(self, partition: int) -> bool:
        """Ask the group's coordinator, which rejects an instance that was replaced.

        True means: the partition was ours at some moment after this call started, so its next owner
        reads everything that was written before the call.
        """


class LookAhead(Protocol):
    """Withdrawals further ahead in the submissions topic."""

    def is_fresh(self, partition: int) -> bool:
        """The partition has been read to an end offset at most 1 s old."""

    def is_withdrawn(self, external_ref: ExternalRef) -> bool:
        """A WITHDRAW of this reference was read. It is remembered past its submitBefore."""


class Work(msgspec.Struct):
    """One instruction while it is in a lane.

    `limit_ms`: from this time on (epoch ms) it is never submitted. `is_old`: an earlier run may
    have handled it, because it was on the topic before this process was assigned the partition or
    was decided long before it was read. `begun_s`: the first try, by the monotonic clock. `plan`:
    the remaining steps of an adapter that answers in steps.
    """

    record: InputRecord
    instruction: Any
    limit_ms: int = 0
    is_old: bool = False
    tries: int = 0
    begun_s: float = 0.0
    plan: list[Any] | None = None

    def pause_s(self, first_s: float, s_max: float) -> float:
        """Seconds until the next try: doubled with each try so far, `s_max` at most."""
        return min(s_max, first_s * 2.0 ** min(self.tries, DOUBLINGS_MAX))
