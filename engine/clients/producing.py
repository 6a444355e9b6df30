"""What every producer of ours has in common, transactional or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Before compression, where the connection does not name it (topics.yaml, `producer_bytes_max`). Far
# above every topic's limit: that one counts compressed bytes, and it alone decides what fits.
MESSAGE_BYTES_MAX: Final = 32 * 1024 * 1024
COMPRESSION: Final = "lz4"
SMALLEST: Final = "zstd"  # for records that were squeezed below their topic's limit by others


def producing(connection: Mapping[str, Any]) -> dict[str, Any]:
    """librdkafka's options: one limit of size for all, no doubles and no gaps, confirmed by all
    in-sync replicas."""
    return {
        "message.max.bytes": MESSAGE_BYTES_MAX,
        **connection,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 1,
        "compression.type": COMPRESSION,
    }
