"""Reads consumer groups and broker settings from outside, and sets the offsets of an empty group.
For the command line's doctor and recovery; the loop does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from engine.clock import Clock, SystemClock
from engine.errors import Step, call, call_until, classify
from engine.ports import TopicPartition

REQUEST_S: Final = 10.0
DEADLINE_S: Final = 30.0


class GroupAdmin:
    """One cluster's groups. Every call waits at most DEADLINE_S and raises Exit then."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock | None = None) -> None:
        self._connection = connection
        self._admin = call(Step.READ, AdminClient, {**connection})
        self._clock = clock or SystemClock()

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Committed offsets of a group by (topic, partition); empty if it has none."""
        topics = self._until(lambda: self._admin.list_topics(timeout=REQUEST_S)).topics
        places = [ClientPartition(t, n) for t, known in topics.items() for n in known.partitions]
        with self._outsider(group) as consumer:
            found = self._until(lambda: consumer.committed(places, timeout=REQUEST_S))
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def members(self, group: str) -> int:
        """The number of a group's members; 0 if it is empty or unknown."""

        def ask() -> Any:
            answers = self._admin.describe_consumer_groups([group], request_timeout=REQUEST_S)
            return answers[group].result()

        return len(self._until(ask).members)

    def set_offsets(self, group: str, offsets: Mapping[TopicPartition, int], metadata: str) -> None:
        """Commit offsets for an empty group. Raises EngineError."""
        places = [
            ClientPartition(topic, number, offset, metadata)
            for (topic, number), offset in offsets.items()
        ]
        with self._outsider(group) as consumer:
            done = call(Step.WORK, consumer.commit, offsets=places, asynchronous=False)
        for place in done or ():
            if place.error is not None:
                raise classify(place.error, Step.WORK)

    @contextmanager
    def _outsider(self, group: str) -> Iterator[Consumer]:
        """A consumer that never joins the group. The admin client's own calls for a group's offsets
        crash the process (a null pointer in librdkafka) while the group's coordinator is moving or
        loading.
        """
        consumer = Consumer(
            {
                "log_level": 4,
                **self._connection,
                "group.id": group,
                "enable.auto.commit": False,
                # The current value, without waiting for a transaction that may be committing.
                "isolation.level": "read_uncommitted",
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def broker_setting(self, name: str) -> str | None:
        """A setting of the first broker, e.g. offsets.retention.minutes; None when unknown."""
        brokers = self._until(lambda: self._admin.list_topics(timeout=REQUEST_S).brokers)
        resource = ConfigResource(ConfigResource.Type.BROKER, str(min(brokers)))
        futures = self._admin.describe_configs([resource], request_timeout=REQUEST_S)
        entries = call(Step.READ, next(iter(futures.values())).result)
        return entries[name].value if name in entries else None

    def _until(self, function: Any) -> Any:
        deadline_s = self._clock.monotonic_s() + DEADLINE_S
        return call_until(self._clock, deadline_s, Step.READ, function)
