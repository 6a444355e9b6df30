"""What the readers without a consumer group share: a client with assigned partitions, which is
replaced if it no longer reaches the brokers, and the errors of single partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.membership import BrokerLiveness, close_aside
from engine.clients.partition_errors import (
    Passed,
    ReaderErrors,
    RetryPauses,
    go_on_behind,
    sort_messages,
)
from engine.clock import SystemClock
from engine.errors import (
    Exit,
    PartitionError,
    Step,
    call,
    check_message_error,
)
from engine.ports import TopicPartition

UNREADABLE: Final = "UNREADABLE"
READING: Final = {  # shared by all our readers
    # the client requires a group name; nothing is ever committed under it
    "group.id": "npp-reader",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 50,
    "fetch.max.bytes": 32 * 1024 * 1024,
}


class AssignedReader:
    """Reads partitions from explicit offsets; the readers built on it say in which form."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        start: Mapping[TopicPartition, int],
        limits: Mapping[str, Any],
        errors: ReaderErrors | None,
        passed: Passed,
    ) -> None:
        """`start`: first offset by partition; `limits`: options in addition to READING. With
        `errors` an unreadable partition is noted there and the others continue; without it, the
        next call raises Exit. `passed`: batches skipped under dual control.
        """
        self._config = {**connection, **READING, **limits}
        self._next = {**start}
        self._passed = passed
        self.trouble: PartitionError | None = None  # the client's last error for a partition
        self._unreadable: dict[TopicPartition, PartitionError] = {}
        self._errors = errors
        if errors is not None:
            errors.forget()
        self._retry_pauses = None if errors is None else RetryPauses(errors)
        self._liveness = BrokerLiveness(SystemClock())
        self._consumer = self._assigned()

    def _assigned(self) -> Consumer:
        consumer = Consumer(self._liveness.with_statistics(self._config))
        places = [ClientPartition(topic, n, offset) for (topic, n), offset in self._next.items()]
        call(Step.READ, consumer.assign, places)
        return consumer

    def _poll(self, count: int, wait_s: float) -> tuple[list[Message], dict[TopicPartition, int]]:
        """Records, and end offsets reached. Raises Exit: UNREADABLE for a batch that no client can
        read, after the records before it; OFFSETS_LOST for a position that is not on the log.
        """
        for unreadable in self._unreadable.values():
            raise Exit(UNREADABLE, str(unreadable))
        messages = call(Step.READ, self._consumer.consume, count, wait_s)
        return sort_messages(messages, self._note)

    def _advance(
        self, read: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Continue after what was read, `read` being the next offsets; replaces a client that no
        longer reaches the brokers, or no longer fetches a partition. Returns the ends of the
        partitions that are at them now.
        """
        # One call can bring an end and then records behind it.
        ends = {place: end for place, end in ends.items() if end >= read.get(place, end)}
        self._next |= {place: after for place, after in read.items() if place in self._next}
        if self._errors is not None and self._retry_pauses is not None:
            self._errors.given(read | ends)
            self._retry_pauses.keep(self._consumer)
        if read or ends:
            self._liveness.answered()
        if self._liveness.stuck() or self._is_lost():
            close_aside(self._consumer)
            self._consumer = self._assigned()
            self._liveness.replaced()
            if self._retry_pauses is not None:
                self._retry_pauses.forget()
        return ends

    def _is_lost(self) -> bool:
        topic = next(iter(self._next), (None,))[0]
        return self._liveness.lost(self._consumer.list_topics, topic)

    def _note(self, message: Message) -> None:
        error = check_message_error(message)
        if error is None:
            return
        place = (error.topic, error.partition)
        after = go_on_behind(self._consumer, self._passed, error)
        if after is not None:
            self._next[place] = after
            return
        self.trouble = error
        if self._errors is not None:
            self._errors.note(error)
        elif error.lasts:
            self._unreadable[place] = error

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()
