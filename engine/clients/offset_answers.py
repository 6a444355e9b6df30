"""What the brokers answer when they are asked for offsets; see engine.clients.reader.LogEnds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from engine.errors import Retry


def results(futures: Mapping[TopicPartition, Any]) -> dict[tuple[str, int], int]:
    """Raises Retry for an answer without an offset: while a partition's leader is not known, as
    after an outage, the client gives -1001 and no error."""
    found = {(tp.topic, tp.partition): f.result().offset for tp, f in futures.items()}
    if missing := [name for name, offset in found.items() if offset < 0]:
        topic, number = missing[0]
        raise Retry("NO_OFFSET", f"{len(missing)} without an offset, {topic} {number} among them")
    return found


def latest() -> OffsetSpec:
    spec: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    return spec


def earliest() -> OffsetSpec:
    spec: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    return spec
