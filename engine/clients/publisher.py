"""Publishes records outside of transactions: idempotent, acks=all, partitioned explicitly, and
confirmed.

For commands, adapters' answers and control records. Idempotent means no doubles and no gaps *within
one life* of the producer; what is published again after an unclear end must be recognised by the
identity in the record.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from engine.clients.membership import BrokerLiveness
from engine.clients.producing import COMPRESSION, producing
from engine.clock import Clock, SystemClock
from engine.errors import Abort, EngineError, Exit, Step, call, call_until, refuses_content
from engine.partitioner import partition_of
from engine.ports import Headers

CONFIRM_S: Final = 30.0
METADATA_S: Final = 5.0
METADATA_DEADLINE_S: Final = 30.0
POLL_S: Final = 0.05
JOIN_S_MAX: Final = 10.0  # on a busy machine a thread may wait long for its turn
PURGED_S_MAX: Final = 1.0
QUEUE_MESSAGES_MAX: Final = 100_000
QUEUE_KBYTES_MAX: Final = 128 * 1024

_log = logging.getLogger(__name__)


class Outgoing(msgspec.Struct, frozen=True):
    """A record to publish. `partition` None: murmur2 of the key over the topic's partitions."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = []


class Placed(msgspec.Struct, frozen=True):
    """The place of a confirmed record; `timestamp_ms` is the broker's for LogAppendTime topics."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class NotConfirmed(Exception):
    """The record may or may not be in the log: publish it again under the same identity, or say
    so."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Refused(NotConfirmed):
    """The record is certainly not in the log and never will be: it is refused for what it is, as
    too large. Publishing it again changes nothing."""


class _Pending:
    """One call's records on their way."""

    __slots__ = ("done", "error", "left", "placed")

    def __init__(self, count: int) -> None:
        self.done = threading.Event()
        self.left = count
        self.error: KafkaError | None = None
        self.placed: list[Placed | None] = [None] * count


class _Client:
    """A client and how many of its records are not answered yet."""

    __slots__ = ("producer", "under_way")

    def __init__(self, config: dict[str, Any]) -> None:
        self.producer = Producer(config)
        self.under_way = 0


class Publisher:
    """Safe for several threads. One background thread serves the acknowledgements."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        client_id: str,
        clock: Clock | None = None,
        *,
        compression: str = COMPRESSION,
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = {
            **producing(connection),
            "client.id": client_id,
            "compression.type": compression,
            "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
            "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
            "message.timeout.ms": int(CONFIRM_S * 1000),
        }
        self._liveness = BrokerLiveness(self._clock)
        self._client = self._made()
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._failure: EngineError | None = None  # fatal: nothing is acknowledged from here on
        self._thread = threading.Thread(target=self._serve, name="npp-publisher", daemon=True)
        self._thread.start()

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Headers | None = None,
        timeout_s: float = CONFIRM_S,
    ) -> Placed:
        """One record, confirmed. Raises NotConfirmed, Refused among them, or Exit (not allowed)."""
        return self.publish_all(
            [Outgoing(topic, key, value, partition, headers or [])], timeout_s=timeout_s
        )[0]

    def publish_all(
        self, records: Sequence[Outgoing], *, timeout_s: float = CONFIRM_S
    ) -> list[Placed]:
        """Every record confirmed, in order per partition. Raises NotConfirmed or Exit (not
        allowed)."""
        if not records:
            return []
        deadline_s = self._clock.monotonic_s() + timeout_s
        pending = _Pending(len(records))
        for index, record in enumerate(records):
            self._send(record, pending, index, deadline_s)
        if not self._wait(pending, deadline_s):
            raise NotConfirmed("TIMED_OUT", f"not acknowledged within {timeout_s:g} s")
        if pending.error is not None:
            kind = Refused if refuses_content(pending.error) else NotConfirmed
            raise kind(pending.error.name(), pending.error.str())
        return [placed for placed in pending.placed if placed is not None]

    def _wait(self, pending: _Pending, deadline_s: float) -> bool:
        """True when every record was answered. Raises Exit when the client is of no more use."""
        while not pending.done.wait(POLL_S):
            if self._failure is not None:
                raise Exit(self._failure.code, self._failure.detail) from self._failure
            if self._clock.monotonic_s() >= deadline_s:
                return False
        return True

    def partitions(self, topic: str) -> int:
        """The topic's partition count, asked once."""
        count = self._counts.get(topic)
        if count is None:
            deadline_s = self._clock.monotonic_s() + METADATA_DEADLINE_S
            known = call_until(
                self._clock,
                deadline_s,
                Step.READ,
                self._client.producer.list_topics,
                topic,
                timeout=METADATA_S,
            ).topics[topic]
            if not known.partitions:
                raise Exit("UNKNOWN_TOPIC", f"{topic} is not on the cluster")
            count = self._counts[topic] = len(known.partitions)
        return count

    def close(self, timeout_s: float = CONFIRM_S) -> int:
        """Wait for what is on its way; gives the number of records that were not acknowledged."""
        left = self._client.producer.flush(timeout_s)
        self._closing = True
        self._thread.join(JOIN_S_MAX)
        if self._thread.is_alive():
            return left  # closing a client under its poll takes the process with it
        with contextlib.suppress(EngineError):  # a forbidden client says so once more
            call(Step.WORK, self._client.producer.close)
        return left

    def _send(self, record: Outgoing, pending: _Pending, index: int, deadline_s: float) -> None:
        partition = record.partition
        if partition is None:
            count = self.partitions(record.topic)
            partition = partition_of(record.key, count) if record.key is not None else 0

        headers: Any = record.headers or None

        while True:
            client = self._client

            def report(
                error: KafkaError | None, message: Message, client: _Client = client
            ) -> None:
                self._reported(client, pending, index, error, message)

            try:
                with self._lock:
                    client.under_way += 1
                call(
                    Step.WORK,
                    client.producer.produce,
                    record.topic,
                    record.value,
                    record.key,
                    partition,
                    on_delivery=report,
                    headers=headers,
                )
                return
            except (BufferError, EngineError) as error:
                with self._lock:
                    client.under_way -= 1
                if isinstance(error, Abort) and error.by_content:
                    raise Refused(error.code, error.detail) from error
                if isinstance(error, EngineError):
                    raise
                if self._clock.monotonic_s() >= deadline_s:
                    raise NotConfirmed("QUEUE_FULL", "the client's queue did not drain") from None
                self._clock.sleep(POLL_S)

    def _reported(
        self,
        client: _Client,
        pending: _Pending,
        index: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        with self._lock:
            client.under_way -= 1
            if error is not None:
                pending.error = error
            else:
                self._liveness.answered()
                pending.placed[index] = Placed(
                    message.topic() or "",
                    message.partition() or 0,
                    message.offset() or 0,
                    message.timestamp()[1],
                )
            pending.left -= 1
            if pending.left == 0:
                pending.done.set()

    def _serve(self) -> None:
        while not self._closing:
            try:
                call(Step.WORK, self._client.producer.poll, POLL_S)
                if not self._client.under_way:
                    self._liveness.answered()  # nobody waits for an answer
                elif self._liveness.lost(self._client.producer.list_topics):
                    self._renew()
            except EngineError as error:
                self._failure = error
                return

    def _made(self) -> _Client:
        return _Client(self._liveness.told_by(self._config))

    def _renew(self) -> None:
        """Another client takes this one's place. Each waiting caller learns that nothing is
        confirmed, and publishes again under the same identity."""
        _log.warning("publisher's client is replaced: no broker answers it any more")
        lost, self._client = self._client.producer, self._made()
        self._liveness.answered()
        lost.purge()
        call(Step.WORK, lost.flush, PURGED_S_MAX)
