"""What the brokers answer when they are asked for offsets; see engine.clients.reader.LogEnds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import OffsetSpec

from engine.errors import Retry

_NOT_THERE: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}
)


def results(futures: Mapping[ClientPartition, Any]) -> dict[tuple[str, int], int]:
    """Raises Retry for an answer without an offset: while a partition's leader is not known, as
    after an outage, the client gives -1001 and no error."""
    found = {(tp.topic, tp.partition): f.result().offset for tp, f in futures.items()}
    if missing := [name for name, offset in found.items() if offset < 0]:
        topic, number = missing[0]
        raise Retry("NO_OFFSET", f"{len(missing)} without an offset, {topic} {number} among them")
    return found


def counts(known: Any, topics: Sequence[str]) -> dict[str, int]:
    """Partitions by topic, of a cluster's description; 0 for a topic that is not there.

    Raises Retry for a description without brokers or of a topic that is not ready: after an outage
    the client may give one, and nothing would be read of what is there.
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
