"""Publishes records outside of transactions: idempotent, acks=all, partitioned explicitly, and
confirmed.

For commands, adapters' reports and control records. Idempotent means no duplicates and no gaps
*within one lifetime* of the producer; a record published again after an unclear result must be
recognised by its own identity.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from engine.clients.membership import LOST_AFTER_S, BrokerLiveness
from engine.clients.producing import COMPRESSION, producing
from engine.clock import Clock, SystemClock
from engine.errors import Abort, EngineError, Exit, Step, call, call_until, refuses_content
from engine.partitioner import partition_of
from engine.ports import Headers

CONFIRM_S: Final = 30.0
METADATA_S: Final = 5.0
METADATA_DEADLINE_S: Final = 30.0
POLL_S: Final = 0.05
JOIN_S_MAX: Final = 10.0  # on a busy machine a thread may be scheduled late
PURGED_S_MAX: Final = 1.0
LOOK_S_MAX: Final = 1.0
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
    """The position of a confirmed record; `timestamp_ms` is the broker's for LogAppendTime
    topics.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class NotConfirmed(Exception):
    """The record may or may not be in the log: publish it again under the same identity, or report
    that.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Refused(NotConfirmed):
    """The record is certainly not in the log and never will be: the record itself is refused, for
    example as too large. Publishing it again does not help.
    """


class _Pending:
    """The records of one call in flight."""

    __slots__ = ("done", "error", "left", "placed")

    def __init__(self, count: int) -> None:
        self.done = threading.Event()
        self.left = count
        self.error: KafkaError | None = None
        self.placed: list[Placed | None] = [None] * count


class _Client:
    """A client and its unacknowledged records, numbered in the order in which they were sent."""

    __slots__ = ("_clock", "_looked_s", "_oldest", "_sent", "_waited_s", "producer", "unanswered")

    def __init__(self, config: dict[str, Any], clock: Clock) -> None:
        self.producer = Producer(config)
        self.unanswered: dict[int, None] = {}
        self._sent = 0
        self._clock = clock
        self._looked_s = clock.monotonic_s()
        self._oldest: int | None = None
        self._waited_s = 0.0

    def sends(self) -> int:
        """Another record; returns its number."""
        self._sent += 1
        self.unanswered[self._sent] = None
        return self._sent

    def waited_s(self) -> float:
        """For how long the oldest record has had no acknowledgement; call it at least every
        LOOK_S_MAX. A process that was suspended observed nothing in that time.
        """
        now_s = self._clock.monotonic_s()
        elapsed_s = min(now_s - self._looked_s, LOOK_S_MAX)
        self._looked_s = now_s
        oldest = next(iter(self.unanswered), None)
        still = oldest is not None and oldest == self._oldest
        self._waited_s = self._waited_s + elapsed_s if still else 0.0
        self._oldest = oldest
        return self._waited_s


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
        """Publish one record and wait for confirmation. Raises as `publish_all`."""
        return self.publish_all(
            [Outgoing(topic, key, value, partition, headers or [])], timeout_s=timeout_s
        )[0]

    def publish_all(
        self, records: Sequence[Outgoing], *, timeout_s: float = CONFIRM_S
    ) -> list[Placed]:
        """Publish records in order per partition and wait up to `timeout_s` seconds for all
        confirmations. Raises NotConfirmed (or its subclass Refused), or Exit if it is not allowed
        or this client is no longer usable.
        """
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
        """True if every record was acknowledged or refused. Raises Exit if the client is no longer
        usable.
        """
        while not pending.done.wait(POLL_S):
            if self._failure is not None:
                raise Exit(self._failure.code, self._failure.detail) from self._failure
            if self._clock.monotonic_s() >= deadline_s:
                return False
        return True

    def partitions(self, topic: str) -> int:
        """The topic's partition count, requested once. Raises Exit if the topic is missing or the
        cluster does not answer.
        """
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
        """Wait for records in flight; returns the number of unacknowledged records."""
        left = self._client.producer.flush(timeout_s)
        self._closing = True
        self._thread.join(JOIN_S_MAX)
        if self._thread.is_alive():
            return left  # closing a client while a thread polls it crashes the process
        with contextlib.suppress(EngineError):  # an unauthorised client reports it again
            call(Step.WORK, self._client.producer.close)
        return left

    def _send(self, record: Outgoing, pending: _Pending, index: int, deadline_s: float) -> None:
        partition = record.partition
        if partition is None:
            count = self.partitions(record.topic)
            partition = partition_of(record.key, count) if record.key is not None else 0

        headers: Any = record.headers or None

        while True:
            with self._lock:  # never to a client that has been replaced: nobody polls it
                client = self._client
                number = client.sends()

                def report(
                    error: KafkaError | None,
                    message: Message,
                    client: _Client = client,
                    number: int = number,
                ) -> None:
                    self._reported(client, number, pending, index, error, message)

                try:
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
                    del client.unanswered[number]
                    if isinstance(error, Exit):
                        raise
                    if isinstance(error, EngineError):  # not taken, and nothing to abort here
                        refused = isinstance(error, Abort) and error.by_content
                        kind = Refused if refused else NotConfirmed
                        raise kind(error.code, error.detail) from error
            if self._clock.monotonic_s() >= deadline_s:
                raise NotConfirmed("QUEUE_FULL", "the client's queue did not drain") from None
            self._clock.sleep(POLL_S)

    def _reported(
        self,
        client: _Client,
        number: int,
        pending: _Pending,
        index: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        with self._lock:
            del client.unanswered[number]
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
                client = self._client
                call(Step.WORK, client.producer.poll, POLL_S)
                with self._lock:
                    waited_s = client.waited_s()
                    waits = bool(client.unanswered)
                if not waits:
                    self._liveness.answered()  # no caller waits
                elif waited_s >= LOST_AFTER_S:
                    self._renew(f"a record was not acknowledged for {waited_s:.0f} s")
                elif self._liveness.lost(client.producer.list_topics):
                    self._renew("no broker answers it any more")
            except EngineError as error:
                self._failure = error
                return

    def _made(self) -> _Client:
        return _Client(self._liveness.with_statistics(self._config), self._clock)

    def _renew(self, why: str) -> None:
        """Replace the client. Each waiting caller gets NotConfirmed, and publishes again under the
        same identity.
        """
        _log.warning("publisher's client is replaced: %s", why)
        made = self._made()
        with self._lock:
            lost, self._client = self._client.producer, made
        self._liveness.replaced()
        lost.purge()
        call(Step.WORK, lost.flush, PURGED_S_MAX)
