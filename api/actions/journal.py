"""Reads the journal from Kafka itself: whether a payment's creation is in it, and where it ends.
The read model only gives a hint where to look first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.payment.events import PaymentIntentCreated
from engine.clients.reader import LogEnds, PartitionReader
from engine.clock import Clock
from engine.partitioner import partition_of
from engine.records import LogRecord
from evidence.log import ENDS_S_MAX, KafkaEvidenceLog
from readmodel.ports import Reader, ReadModelDown
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import EVENTS

CHUNK_COUNT: Final = 50_000  # offsets read in one pass, the newest first
SEARCH_S_MAX: Final = 20.0
READ_COUNT: Final = 10_000
READ_WAIT_S: Final = 0.2
ENDS_FRESH_S: Final = 0.5


class KafkaJournal:
    """Safe for many threads. Raises engine errors when Kafka does not answer."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        reader: Reader,
        codec: Codec,
        clock: Clock,
        partitions: int,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._codec = codec
        self._clock = clock
        self._places = [(EVENTS, n) for n in range(partitions)]
        self._log = KafkaEvidenceLog(connection, clock)
        self._ends = LogEnds(connection, clock, ENDS_S_MAX)
        self._known: tuple[float, Mapping[int, int]] = (float("-inf"), {})

    def ends(self) -> Mapping[int, int]:
        """The journal's end offset of each partition, at most ENDS_FRESH_S old."""
        at_s, known = self._known
        now_s = self._clock.monotonic_s()
        if now_s - at_s > ENDS_FRESH_S:
            found = self._ends.stable_once(self._places)
            known = {partition: offset for (_, partition), offset in found.items()}
            self._known = (now_s, known)
        return known

    def created(self, payment_intent_id: str) -> tuple[int, int] | None:
        """Partition and offset of the payment's PaymentIntentCreated; None if there is none.

        Raises TimeoutError if the partition could not be searched to its beginning in time.
        """
        key = payment_intent_id.encode()
        partition = partition_of(key, len(self._places))
        hint = self._hint(payment_intent_id)
        if hint is not None:
            there = self._log.at(EVENTS, partition, [hint]).get(hint)
            if there is not None and self._is_creation(there, key):
                return partition, hint
        found = self._search(partition, key)
        return None if found is None else (partition, found)

    def _hint(self, payment_intent_id: str) -> int | None:
        try:
            first = self._reader.events(payment_intent_id, 0, 1)
        except ReadModelDown:
            return None
        return first[0].offset if first else None

    def _search(self, partition: int, key: bytes) -> int | None:
        """Search in chunks from the end, because requests are mostly about new payments."""
        name = (EVENTS, partition)
        low = self._ends.low([name])[name]
        until = self._ends.stable([name])[name]
        deadline_s = self._clock.monotonic_s() + SEARCH_S_MAX
        while until > low:
            start = max(low, until - CHUNK_COUNT)
            found = self._search_chunk(partition, start, until, key, deadline_s)
            if found is not None:
                return found
            until = start
        return None

    def _search_chunk(
        self, partition: int, start: int, until: int, key: bytes, deadline_s: float
    ) -> int | None:
        reader = PartitionReader(self._connection, EVENTS, {partition: start})
        position = start
        try:
            while position < until:
                if self._clock.monotonic_s() > deadline_s:
                    raise TimeoutError("the journal could not be searched in time")
                batches, ends = reader.read(READ_COUNT, READ_WAIT_S)
                for record in batches.get(partition, []):
                    if record.offset < until and self._is_creation(record, key):
                        return record.offset
                    position = record.offset + 1
                position = max(position, ends.get(partition, position))
        finally:
            reader.close()
        return None

    def _is_creation(self, record: LogRecord, key: bytes) -> bool:
        if record.key != key:
            return False
        try:
            found = self._codec.decode(EVENTS, record.value, record.headers)
        except Undecodable:
            return False
        return isinstance(found, PaymentIntentCreated)
