"""Reads several topics at once without a consumer group, from given offsets, with one client.

It commits nothing and joins no group; the caller keeps the offsets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.clients.assigned_reader import AssignedReader
from engine.clients.partition_errors import Passed, ReaderErrors
from engine.ports import TopicPartition
from engine.records import LogRecord, to_log_record


class Reading(msgspec.Struct, frozen=True):
    """Records by partition, each in offset order, and the end offset of partitions that reached
    it.
    """

    records: dict[TopicPartition, list[LogRecord]]
    ends: dict[TopicPartition, int]


class TopicsReader(AssignedReader):
    """Committed records of some partitions of several topics."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        start: Mapping[TopicPartition, int],
        *,
        queued_kb: int,
        errors: ReaderErrors,
    ) -> None:
        """`start`: first offset by partition; `queued_kb` limits prefetching. An unreadable
        partition is noted in `errors`; the others continue.
        """
        limits = {
            "isolation.level": "read_committed",
            "max.partition.fetch.bytes": 4 * 1024 * 1024,
            "queued.max.messages.kbytes": queued_kb,
        }
        super().__init__(connection, start, limits, errors, {})

    def pass_over(self, passed: Passed) -> None:
        """From now on continue after these batches, all those skipped under dual control."""
        self._passed = passed

    def read(self, count: int, wait_s: float) -> Reading:
        """At most `count` records. Raises Exit if a position is no longer on the log.

        A client that no longer reaches the brokers is replaced; an end may then be reported again.
        """
        messages, ends = self._poll(count, wait_s)
        records: defaultdict[TopicPartition, list[LogRecord]] = defaultdict(list)
        for record in map(to_log_record, messages):
            records[record.topic, record.partition].append(record)
        read = {place: found[-1].offset + 1 for place, found in records.items()}
        return Reading({**records}, self._advance(read, ends))
