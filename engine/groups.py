"""Looks at consumer groups and broker settings from outside, and sets a group's offsets when nobody
is in it. For the command line's doctor and recovery; the loop does not use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from engine.clock import Clock, SystemClock
from engine.errors import Step, call, call_until

REQUEST_S: Final = 10.0
DEADLINE_S: Final = 30.0
Name = tuple[str, int]


class GroupAdmin:
    """One cluster's groups. Every call waits at most DEADLINE_S and raises Exit then."""

    def __init__(self, connection: Mapping[str, Any], clock: Clock | None = None) -> None:
        self._admin = AdminClient({**connection})
        self._clock = clock or SystemClock()

    def committed(self, group: str) -> dict[Name, int]:
        """Committed offsets of a group by (topic, partition); empty when it has none."""
        asked = [ConsumerGroupTopicPartitions(group)]

        def ask() -> Any:
            answers = self._admin.list_consumer_group_offsets(asked, request_timeout=REQUEST_S)
            return answers[group].result()

        answer = self._until(ask)
        return {(p.topic, p.partition): p.offset for p in answer.topic_partitions if p.offset >= 0}

    def members(self, group: str) -> int:
        """How many members a group has; 0 when nobody is in it or it is not known."""

        def ask() -> Any:
            answers = self._admin.describe_consumer_groups([group], request_timeout=REQUEST_S)
            return answers[group].result()

        return len(self._until(ask).members)

    def set_offsets(self, group: str, offsets: Mapping[Name, int], metadata: str) -> None:
        """Commit offsets for a group that nobody is in. Raises one of the four meanings."""
        places = [
            TopicPartition(topic, number, offset, metadata)
            for (topic, number), offset in offsets.items()
        ]
        wanted = [ConsumerGroupTopicPartitions(group, places)]
        futures = self._admin.alter_consumer_group_offsets(wanted, request_timeout=REQUEST_S)
        call(Step.WORK, futures[group].result)

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
