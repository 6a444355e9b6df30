"""The engine's settings. Every wait, queue and size is limited here or by a named constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.loop.transaction import TransactionSettings
from engine.store.budget import CACHE_BYTES

Alarm = Callable[[str, int | None, str], None]
"""Called with a name (LOG_TAIL_LOST, STATE_DIFFERS, CLOCK_OFF, …), the partition if it has one, and
a sentence.
"""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one instance of one application."""

    connection: Mapping[
        str, Any
    ]  # bootstrap.servers, SASL and TLS settings, passed to every client
    instance_id: str
    data_dir: Path
    transaction: TransactionSettings = TransactionSettings()
    session_timeout_ms: int = 12_000  # longer than a transaction may stay open
    poll_interval_ms_max: int = 120_000
    poll_wait_s: float = 0.005
    # At a steady rate, the minimum time between the starts of two transactions (decision 25).
    transaction_interval_s: float = 0.0
    queued_messages_min: int = 10_000  # fetched ahead: about one large batch
    partition_fetch_bytes: int = 256 * 1024
    queued_kbytes_max: int = 32 * 1024
    committed_s: float = 30.0  # to read committed offsets: longer than a transaction stays open
    cache_bytes: int = CACHE_BYTES  # of the process, whatever the number of partitions
    store_age_ms_max: int = 24 * 3600 * 1000  # the state topic's delete.retention.ms
    tail_records_max: int = 10_000
    # The minimum journal ends (each partition's last signed checkpoint); partitions without one are
    # omitted.
    journal_floors: Callable[[Sequence[int]], Mapping[int, int]] | None = None
    shutdown_s_max: float = 25.0

    def transactional_id(self, application: str) -> str:
        """Names the producer, the group member and the store's folder."""
        return f"npp-{application}-{self.instance_id}"
