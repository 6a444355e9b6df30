"""An adapter worker's settings: its handler, limits, and consumer options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.clients.publisher import Outgoing
from engine.ports import InputRecord
from engine.worker.lanes import BYTES_MAX, LANES_COUNT, RECORDS_MAX, LaneOf, lane_of_key

Handler = Callable[[InputRecord], Sequence[Outgoing]]


class TryAgain(Exception):
    """Raised by a handler: an outside system does not answer; the record is retried after
    `pause_s`, and until then the thread serves others.
    """

    def __init__(self, reason: str, pause_s: float = 1.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one worker; all waits and queues are bounded."""

    connection: Mapping[str, Any]
    group: str  # consumer group, e.g. npp-rail
    topics: tuple[str, ...]
    control_topic: str
    instance_id: str | None = None  # with one, a killed instance rejoins without a rebalance
    # The handler itself starts nothing under STOP; it is called anyway for work that may continue.
    handler_obeys_stop: bool = False
    lanes: int = LANES_COUNT  # threads
    lane_of: LaneOf = lane_of_key
    lane_room: tuple[int, ...] = ()  # threads by rank (engine.worker.lanes, rule 4)
    records_max: int = RECORDS_MAX
    bytes_max: int = BYTES_MAX
    session_timeout_ms: int = 10_000
    poll_interval_ms_max: int = 120_000
    revoke_s_max: float = 10.0  # waiting for records in progress before partitions are released
    shutdown_s_max: float = 15.0

    def consumer(self) -> dict[str, Any]:
        """librdkafka's options: committed records only, offsets committed by the worker alone."""
        member = self.instance_id
        return {
            **self.connection,
            "group.id": self.group,
            **({"group.instance.id": f"{self.group}-{member}"} if member else {}),
            "partition.assignment.strategy": "range",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # the worker reports it and starts again itself
            "enable.partition.eof": True,
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": self.session_timeout_ms // 8,
            "max.poll.interval.ms": self.poll_interval_ms_max,
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.queue.backoff.ms": 10,
            "fetch.error.backoff.ms": 50,
        }
