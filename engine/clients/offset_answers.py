"""Reads the brokers' responses to offset requests; see engine.clients.reader.LogEnds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import OffsetSpec

from engine.errors import Retry
from engine.ports import TopicPartition

_NOT_THERE: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}
)


def results(futures: Mapping[ClientPartition, Any]) -> dict[TopicPartition, int]:
    """Raises Retry for a response without an offset: while a partition's leader is unknown, as
    after an outage, the client returns -1001 and no error.
    """
    found = {(tp.topic, tp.partition): f.result().offset for tp, f in futures.items()}
    if missing := [name for name, offset in found.items() if offset < 0]:
        topic, number = missing[0]
        raise Retry("NO_OFFSET", f"{len(missing)} without an offset, {topic} {number} among them")
    return found


def counts(known: Any, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts by topic from a cluster description; 0 for a missing topic.

    Raises Retry for a description without brokers or of a topic that is not ready: the client may
    return one after an outage, and existing records would not be read.
    """
    if not known.brokers:
        raise Retry("NO_BROKERS", "the cluster's description names no broker")
    found = {t: known.topics[t] for t in topics if t in known.topics}
    for name, topic in found.items():
        if topic.error is not None and topic.error.code() not in _NOT_THERE:
            raise Retry(topic.error.name(), f"{name}: {topic.error.str()}")
    return {t: len(found[t].partitions) if t in found else 0 for t in topics}


def latest() -> OffsetSpec:
    spec: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    return spec


def earliest() -> OffsetSpec:
    spec: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    return spec
