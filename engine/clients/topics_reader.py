"""Reads several topics at once without a consumer group, from given offsets: one client, one wait.

It commits nothing and joins no group; the caller keeps the offsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.membership import BrokerLiveness, close_aside
from engine.clients.partition_errors import Passed, ReaderErrors, Rest, go_on_behind
from engine.clients.reader import READING
from engine.clock import SystemClock
from engine.errors import PartitionError, Step, call, check_message_error, is_end_of_partition
from engine.ports import TopicPartition
from engine.records import LogRecord, to_log_record


class Reading(msgspec.Struct, frozen=True):
    """Records by place, each in offset order, and for places that came to their end that offset."""

    records: dict[TopicPartition, list[LogRecord]]
    ends: dict[TopicPartition, int]


class TopicsReader:
    """Committed records of some partitions of several topics."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        start: Mapping[TopicPartition, int],
        *,
        queued_kb: int,
        errors: ReaderErrors,
    ) -> None:
        """`start`: first offset by place; `queued_kb` bounds what is fetched ahead. A partition
        that cannot be read on is noted in `errors`; the others go on."""
        self._config = {
            **connection,
            **READING,
            "isolation.level": "read_committed",
            "max.partition.fetch.bytes": 4 * 1024 * 1024,
            "queued.max.messages.kbytes": queued_kb,
        }
        self._next = dict(start)
        self._passed: Passed = {}
        self._errors = errors
        errors.forget()
        self._rest = Rest(errors)
        self._liveness = BrokerLiveness(SystemClock())
        self._consumer = self._assigned()

    def _assigned(self) -> Consumer:
        consumer = Consumer(self._liveness.told_by(self._config))
        places = [ClientPartition(topic, n, offset) for (topic, n), offset in self._next.items()]
        call(Step.READ, consumer.assign, places)
        return consumer

    def pass_over(self, passed: Passed) -> None:
        """From now on go on behind these batches, all that two persons passed over."""
        self._passed = passed

    def read(self, count: int, wait_s: float) -> Reading:
        """At most `count` records. Raises Exit when a position is no longer on the log.

        A client that does not reach the brokers any more is replaced; an end may come again then.
        """
        records: dict[TopicPartition, list[LogRecord]] = {}
        ends: dict[TopicPartition, int] = {}
        for message in call(Step.READ, self._consumer.consume, count, wait_s):
            error = message.error()
            if error is not None:
                if is_end_of_partition(error):
                    place = (message.topic() or "", message.partition() or 0)
                    ends[place] = message.offset() or 0
                else:
                    self._note(check_message_error(message))
                continue
            record = to_log_record(message)
            place = (record.topic, record.partition)
            held = records.get(place)
            if held is None:
                records[place] = [record]
            else:
                held.append(record)
        for place, read in records.items():
            self._next[place] = read[-1].offset + 1
        read_to = {place: read[-1].offset + 1 for place, read in records.items()}
        self._errors.given(read_to | ends)
        self._rest.keep(self._consumer)
        if records or ends:
            self._liveness.answered()
        elif self._liveness.lost(self._consumer.list_topics, next(iter(self._next), (None,))[0]):
            close_aside(self._consumer)
            self._consumer = self._assigned()
            self._liveness.answered()
            self._rest.forget()
        return Reading(records, ends)

    def _note(self, error: PartitionError | None) -> None:
        if error is None:
            return
        after = go_on_behind(self._consumer, self._passed, error)
        if after is None:
            self._errors.note(error)
        else:
            self._next[error.topic, error.partition] = after

    def close(self) -> None:
        """Give the client back."""
        self._consumer.close()
