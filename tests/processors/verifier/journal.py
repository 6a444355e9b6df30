"""A journal of real event bytes without any decisions: for the chain and the verifier."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from core.header import Actor, Cause, EventHeader
from core.payment.events import CustomerNotified
from core.values import ZERO_HASH, PaymentIntentId, payment_intent_id
from engine.errors import Exit, Rebuild
from engine.partitioner import partition_of
from engine.ports import RecordPosition
from engine.records import LogRecord
from evidence.chain import read_link
from processors.verifier.judge import Finding, Judge
from processors.verifier.ports import Publication
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, OUTCOMES

PARTITIONS = 2
CAUSE = Cause(
    cluster_id="cluster",
    topic="npp.customer.notified.v1",
    partition=0,
    offset=0,
    input_hash=ZERO_HASH,
)


class Journal:
    """Appends chained events; a test may then damage the log through `logs`."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.logs: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
        self._heads: dict[str, tuple[int, bytes]] = {}

    def payments(self, partition: int, count: int) -> list[str]:
        """Ids of payments that belong to a partition."""
        ids = (payment_intent_id("test", str(n)) for n in range(10_000))
        mine = (each for each in ids if partition_of(each.encode(), PARTITIONS) == partition)
        return [next(mine) for _ in range(count)]

    def event(self, payment: str) -> bytes:
        """The payment's next event, not yet on the log."""
        sequence, previous = self._heads.get(payment, (0, ZERO_HASH))
        header = EventHeader(
            payment_intent_id=PaymentIntentId(payment),
            sequence=sequence + 1,
            previous_hash=previous,
            decided_at=1_000 + sequence,
            cause=CAUSE,
            actor=Actor(kind="system", id="test"),
            attempt=1,
            state_after="CREATED",
            reason=None,
            approval_id=None,
            rule_set=1,
            traceparent=None,
        )
        event = CustomerNotified(
            header=header,
            notification_id="ntf_001",
            kind="failed",
            result="DELIVERED",
            channel=None,
            delivered_at=None,
        )
        raw = self.codec.encode(EVENTS, event)
        self._heads[payment] = (sequence + 1, hashlib.sha256(raw).digest())
        return raw

    def append(self, payment: str, count: int = 1) -> None:
        """Put the payment's next events on the log."""
        for _ in range(count):
            raw = self.event(payment)
            self.put(EVENTS, partition_of(payment.encode(), PARTITIONS), payment.encode(), raw)

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        """Append any record to a partition; return its offset."""
        log = self.logs[topic, partition]
        # A transaction's marker takes an offset, so the next record leaves a gap.
        offset = log[-1].offset + 2 if log else 0
        log.append(LogRecord(topic, partition, offset, 0, key, value, []))
        return offset

    def rewind(self) -> None:
        """Continue from what is on the log, after its end was cut off."""
        self._heads.clear()
        for (topic, _), log in self.logs.items():
            for record in log if topic == EVENTS else ():
                link = read_link(record.value or b"")
                head = hashlib.sha256(record.value or b"").digest()
                self._heads[link.payment_intent_id] = (link.sequence, head)

    def replace(self, topic: str, partition: int, index: int, value: bytes) -> None:
        """Alter a record in place."""
        log = self.logs[topic, partition]
        old = log[index]
        log[index] = LogRecord(topic, partition, old.offset, 0, old.key, value, [])


class MemoryVerifierLog:
    """A VerifierLog over a Journal; `doubt` makes the next publications end unclear."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.takes = 0
        self.doubt: list[bool] = []  # for each next publication: is it written anyway?
        self._position: dict[int, int] = {}
        self._outcomes_position: dict[int, int] = {}

    def take(self) -> None:
        self.takes += 1

    def partitions(self) -> int:
        return PARTITIONS

    def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        return {n: (self._low(topic, n), self._end(topic, n)) for n in range(PARTITIONS)}

    def checkpoints(self, starts: Mapping[int, int]) -> Mapping[int, Iterator[tuple[int, bytes]]]:
        return {
            number: iter(
                [
                    (record.offset, record.value or b"")
                    for record in self.journal.logs[CHECKPOINTS, number]
                    if record.offset >= start
                ]
            )
            for number, start in starts.items()
        }

    def control(self, start: int) -> Sequence[tuple[int, bytes, int]]:
        log = self.journal.logs[CONTROL, 0]
        return [(r.offset, r.value, 0) for r in log if r.offset >= start and r.value is not None]

    def outcomes_partitions(self) -> int:
        return 1

    def follow(
        self, start: Mapping[int, int], outcomes: Mapping[int, int], lifecycle: Mapping[int, int]
    ) -> None:
        self._position = dict(start)
        self._outcomes_position = dict(outcomes)

    def poll_outcomes(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        batches = {}
        for number, position in self._outcomes_position.items():
            log = self.journal.logs[OUTCOMES, number]
            records = [record for record in log if record.offset >= position]
            if records:
                batches[number] = records
        ends = {n: self._end(OUTCOMES, n) for n in self._outcomes_position}
        self._outcomes_position = dict(ends)
        return batches, ends

    def poll(self, wait_s: float) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        batches, ends = {}, {}
        for number, position in self._position.items():
            end = self._end(EVENTS, number)
            if position > end:
                raise Exit("OFFSETS_LOST", "the position is off the log")
            log = self.journal.logs[EVENTS, number]
            records = [record for record in log if record.offset >= position]
            if records:
                batches[number] = records
                self._position[number] = records[-1].offset + 1
            ends[number] = end
        return batches, ends

    def poll_lifecycle(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        return {}, {}

    def inputs(self, places: Iterable[RecordPosition]) -> Mapping[RecordPosition, LogRecord]:
        return {}

    def parked(self, cause: Cause) -> bool:
        return False

    def publish(self, records: Sequence[Publication]) -> list[int]:
        written = self.doubt.pop(0) if self.doubt else None
        if written is False:
            raise Rebuild("DOUBTFUL_END", "it was not written")
        offsets = [self.journal.put(*record) for record in records]
        if written is True:
            raise Rebuild("DOUBTFUL_END", "it was written")
        return offsets

    def close(self) -> None:
        """Nothing to give back."""

    def stops(self) -> list[object]:
        """The control records that were written."""
        log = self.journal.logs[CONTROL, 0]
        return [self.journal.codec.decode(CONTROL, record.value) for record in log]

    def _low(self, topic: str, partition: int) -> int:
        log = self.journal.logs[topic, partition]
        return log[0].offset if log else 0

    def _end(self, topic: str, partition: int) -> int:
        log = self.journal.logs[topic, partition]
        return log[-1].offset + 2 if log else 0


class Unjudged(Judge):
    """Accepts every event as decided, for tests of chain and checkpoints alone."""

    def fold(self, payment: str, value: bytes) -> str | None:
        return None

    def decide(self, payment: str, offset: int, value: bytes) -> list[Finding]:
        return []
