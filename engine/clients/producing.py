"""What our producers share: options, and passing records to the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from engine.loop.batch import Output

# Of one record before compression, if the connection does not set it (topics.yaml,
# `producer_bytes_max`). Far above every topic's limit: that limit counts compressed bytes, and it
# alone decides what fits.
MESSAGE_BYTES_MAX: Final = 32 * 1024 * 1024
COMPRESSION: Final = "lz4"
SMALLEST: Final = "zstd"  # for records that others compressed below their topic's limit


def producing(connection: Mapping[str, Any]) -> dict[str, Any]:
    """librdkafka's options: one size limit for all, no duplicates and no gaps, confirmed by all
    in-sync replicas.
    """
    return {
        "message.max.bytes": MESSAGE_BYTES_MAX,
        **connection,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 1,
        "compression.type": COMPRESSION,
    }


def hand_over(
    produce: Callable[..., Any], outputs: Sequence[Output], start: int, report: Any
) -> int:
    """Produce from `start` on; returns the index of the first that did not fit into the client's
    queue. `report`: the client's delivery callback of these records, or None.
    """
    at = start
    try:
        while at < len(outputs):
            topic, value, key, partition, headers = outputs[at]
            if headers:
                produce(topic, value, key, partition, report, None, 0, headers)
            elif report is None:
                produce(topic, value, key, partition)
            else:
                produce(topic, value, key, partition, report)
            at += 1
    except BufferError:
        return at
    return at
