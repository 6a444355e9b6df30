"""Publishes the last hour's figures for the monitor: a minute's complete record when it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from engine.clients.publisher import NotConfirmed, Outgoing
from readmodel import minutes
from readmodel.minutes import Buckets
from schemas.codec import Codec
from schemas.topology import MINUTES

log = structlog.get_logger("npp.projector")

CONFIRM_S: Final = 2.0  # what is not confirmed is published again with the next second


class Publishes(Protocol):
    """The publisher's part that is needed here."""

    def publish_all(self, records: Sequence[Outgoing], *, timeout_s: float) -> object:
        """Every record confirmed. Raises NotConfirmed, or Exit when it is not allowed."""


class MinuteTopic:
    """Remembers in memory what it published. After a restart it publishes the last hour again, and
    readers drop the repeats.
    """

    def __init__(self, publisher: Publishes, codec: Codec) -> None:
        self._publisher = publisher
        self._codec = codec
        self._published: dict[tuple[int, int], bytes] = {}

    def publish(self, buckets: Buckets) -> int:
        """Publish the minutes that changed; returns their number, 0 if Kafka did not confirm them.
        Raises Exit if access is denied.
        """
        packed = {key: minutes.pack(each) for key, each in buckets.items() if each.offset >= 0}
        changed = {
            key: buckets[key] for key, now in packed.items() if now != self._published.get(key)
        }
        records = [
            Outgoing(
                MINUTES,
                minutes.slot(partition, minute),
                self._codec.encode(
                    MINUTES, minutes.record_of(partition, minute, changed[partition, minute])
                ),
                0,
                [],
            )
            for partition, minute in changed
        ]
        try:
            self._publisher.publish_all(records, timeout_s=CONFIRM_S)
        except NotConfirmed as error:
            log.warning("minutes_not_published", count=len(records), why=str(error))
            return 0
        self._published = packed
        return len(records)
