"""The transactional producer as a status machine that refuses the wrong order.

    NEW ──init──▶ READY ──begin──▶ OPEN ──commit, abort──▶ READY
                    ▲               │ unknown end, slow end, error during it, no acknowledgement
                    └── rebuild ── BROKEN              any ──destroy──▶ CLOSED

librdkafka ends transactions by the old protocol (no epoch bump per transaction, KIP-890), so a
delayed EndTxn could end a *later* one. Hence: after any unclear end this producer is destroyed, a
new one calls init_transactions (which completes or aborts the open transaction), and the nonce in
the committed offsets' metadata shows whether it was committed.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message, Producer
from confluent_kafka import TopicPartition as ClientPartition

from engine.clients.producing import hand_over, producing
from engine.clock import MS_PER_S, Clock
from engine.errors import (
    Abort,
    EngineError,
    Exit,
    Fenced,
    Rebuild,
    Retry,
    Step,
    WrongOrder,
    call,
    call_until,
)
from engine.loop.batch import Output
from engine.ports import TopicPartition

QUEUE_MESSAGES_MAX: Final = 500_000
QUEUE_KBYTES_MAX: Final = 512 * 1024
NONCE_BYTES: Final = 12
PURGED_S_MAX: Final = 1.0
QUEUE_FULL_WAIT_S: Final = 0.05
QUEUE_FULL_RETRIES_MAX: Final = 100  # 5 s, half the transaction's timeout


class Status(enum.Enum):
    """The producer's status."""

    NEW = "new"
    READY = "ready"
    OPEN = "open"
    BROKEN = "broken"
    CLOSED = "closed"


class TransactionSettings(msgspec.Struct, frozen=True):
    """Time limits of the transactional producer; each limits a wait."""

    timeout_ms: int = 10_000
    flush_s: float = 5.0  # until every record is acknowledged: nothing has been ended yet
    end_s: float = 5.0  # waiting for one commit or abort
    send_offsets_s: float = 5.0
    slow_ms: int = 1_000  # an end slower than this is unclear even if it was answered
    init_s: float = 60.0


class TransactionalProducer:
    """One transaction at a time, of one transactional id."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        transactional_id: str,
        clock: Clock,
        settings: TransactionSettings,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._config = {
            **producing(connection),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": settings.timeout_ms,
            "retry.backoff.ms": 2,  # of send_offsets, while the last transaction is completed
            "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
            "queue.buffering.max.kbytes": QUEUE_KBYTES_MAX,
            "error_cb": self._on_error,
        }
        self._status = Status.NEW
        self._producer: Producer | None = None
        self._error_seen: str | None = None
        self._refusal: str | None = None  # of a record, by the broker
        self._begun_s = 0.0
        self._acknowledged: dict[TopicPartition, int] = {}
        self.nonce = ""
        self.log_append_ms: int | None = None  # the broker's clock on the last acknowledged record

    @property
    def status(self) -> Status:
        return self._status

    def init(self) -> None:
        """Take the transactional id: older producers with it are fenced, their open transaction is
        ended.
        """
        self._expect(Status.NEW)
        self._producer = Producer(self._config)
        deadline_s = self._clock.monotonic_s() + self._settings.init_s
        call_until(
            self._clock,
            deadline_s,
            Step.INIT,
            self._producer.init_transactions,
            self._settings.end_s,
        )
        self._error_seen = None
        self._status = Status.READY

    def begin(self) -> str:
        """Open a transaction; returns the nonce that its offsets will carry."""
        self._expect(Status.READY)
        # First: an old nonce would report a transaction as committed that could not even begin.
        self.nonce = secrets.token_hex(NONCE_BYTES)
        self._acknowledged = {}
        self._error_seen = self._refusal = None
        self.log_append_ms = None
        self._guard(Step.WORK, self._current().begin_transaction)
        self._begun_s = self._clock.monotonic_s()
        self._status = Status.OPEN
        return self.nonce

    def produce(self, outputs: Sequence[Output], last_kept: Mapping[TopicPartition, int]) -> None:
        """Pass the records to the client; only those in `last_kept` report their offset.

        Raises Abort (`by_content`) if the client refuses one of them.
        """
        self._expect(Status.OPEN)
        at = 0
        for index in sorted(last_kept.values()):
            self._produce(outputs[at:index], None)
            self._produce(outputs[index : index + 1], self._on_delivery)
            at = index + 1
        self._produce(outputs[at:] if at else outputs, None)

    def _produce(self, outputs: Sequence[Output], report: Any) -> None:
        produce = self._current().produce
        at = 0
        for _ in range(QUEUE_FULL_RETRIES_MAX):
            try:
                at = call(Step.WORK, hand_over, produce, outputs, at, report)
            except EngineError:
                self._doubt_if_late()
                raise
            if at == len(outputs):
                return
            self._serve(self._current().poll, QUEUE_FULL_WAIT_S)
        raise Abort("_QUEUE_FULL", "the client's queue did not drain")

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        """Add the inputs' next offsets, each with the nonce as its metadata.

        Raises LostMembership or Abort if they were refused, Rebuild if that is unknown: a request
        still in flight could join the next transaction.
        """
        self._expect(Status.OPEN)
        if not offsets:
            raise WrongOrder("a transaction without an offset could not be resolved by its nonce")
        positions = [ClientPartition(t, p, o, self.nonce) for (t, p), o in offsets.items()]
        self._guard(
            Step.OFFSETS,
            self._current().send_offsets_to_transaction,
            positions,
            group_metadata,
            self._settings.send_offsets_s,
        )

    def commit(self) -> dict[TopicPartition, int]:
        """Commit; returns the offsets acknowledged for `last_kept`.

        Raises Rebuild if the end is unknown or was slow, Abort if the broker refused before it.
        """
        self._expect(Status.OPEN)
        self._flush()
        started_s = self._clock.monotonic_s()
        self._guard(Step.END, self._current().commit_transaction, self._settings.end_s)
        self._check_end("commit", started_s)
        return self._acknowledged

    def _flush(self) -> None:
        """Wait until every record is acknowledged or has failed, so that only the end itself can be
        unclear. Raises Abort. The client is then replaced: it may have lost the leader of one
        partition for good (decision 13).
        """
        left = self._serve(self._current().flush, self._settings.flush_s)
        if left:
            self._doubt_if_late()
            self._status = Status.BROKEN
            raise Abort("_TIMED_OUT", f"{left} records are not acknowledged")

    def _serve(self, function: Callable[[float], int], wait_s: float) -> int:
        """Let the client run its callbacks; the transaction has not been ended yet.

        A fatal error between two callbacks can get lost: the client then reports only a failure.
        Aborting makes it report the error again. Raises that error, else Rebuild.
        """
        try:
            return call(Step.WORK, function, wait_s)
        except Fenced:
            self._doubt_if_late()
            raise
        except SystemError as error:
            self.abort()
            self._status = Status.BROKEN
            raise Rebuild("_LOST_ERROR", str(error)) from error

    def abort(self) -> None:
        """Abort. Raises Rebuild if the end is unknown or was slow."""
        self._expect(Status.OPEN)
        started_s = self._clock.monotonic_s()
        try:
            call(Step.END, self._current().abort_transaction, self._settings.end_s)
        except Fenced:
            self._doubt_if_late()
            raise
        except Exit:
            raise
        except EngineError as error:
            self._status = Status.BROKEN
            raise Rebuild(error.code, error.detail) from error
        self._check_end("abort", started_s)

    def rebuild(self) -> None:
        """Destroy this producer and take the id again, which ends any open transaction."""
        self.destroy()
        self._status = Status.NEW
        self.init()

    def destroy(self) -> None:
        """Drop the client without waiting for its queue or for a broker.

        Not by `Producer.close`: that first aborts an open transaction and waits without a limit,
        and an abort lost by a hanging broker never ends. Without a reference the client is
        destroyed, and the next `init` ends its open transaction.
        """
        producer, self._producer = self._producer, None
        self._status = Status.CLOSED
        if producer is None:
            return
        producer.purge()
        # A fenced or forbidden client reports it again, or reports that it lost the error.
        with contextlib.suppress(EngineError, SystemError):
            call(Step.END, producer.flush, PURGED_S_MAX)  # its callbacks, so that they are freed
        _forget_locals(sys.exception())
        del producer

    def acknowledged(self) -> dict[TopicPartition, int]:
        """Offsets acknowledged so far in the transaction begun last."""
        return self._acknowledged

    def probe_clock(self, topic: str) -> int:
        """Broker time minus our time in ms, from one record that is never committed.

        Raises Retry if the broker did not return its time: an unknown clock difference is not
        acceptable. Raises Exit if a newer instance has taken the id.
        """
        try:
            self.begin()
            self._produce([(topic, b"", None, 0, None)], self._on_delivery)
            self._flush()
        except (Abort, Rebuild) as error:
            self.abort_or_rebuild()
            raise Retry(error.code, error.detail) from error
        seen_ms, now_ms = self.log_append_ms, self._clock.now_ms()
        self.abort_or_rebuild()
        if seen_ms is None:
            why = self._refusal or "it keeps the producers' time"
            raise Retry("NO_BROKER_TIME", f"{topic}: {why}")
        return seen_ms - now_ms

    def abort_or_rebuild(self) -> bool:
        """Abort, replacing the producer if necessary (then True). READY afterwards."""
        try:
            if self._status is Status.OPEN:
                self.abort()
        except Rebuild:
            self._status = Status.BROKEN
        if self._status is Status.READY:
            return False
        self.rebuild()
        return True

    def _guard(self, step: Step, function: Any, *arguments: Any) -> None:
        try:
            call(step, function, *arguments)
        except Fenced:
            self._doubt_if_late()
            raise
        except Rebuild:
            self._status = Status.BROKEN
            raise

    def _doubt_if_late(self) -> None:
        """Raises Rebuild if the transaction is open longer than its timeout: the coordinator then
        answers as if this producer were fenced, although there is no newer one.
        """
        open_ms = (self._clock.monotonic_s() - self._begun_s) * MS_PER_S
        if self._status is Status.OPEN and open_ms >= self._settings.timeout_ms:
            self._status = Status.BROKEN
            raise Rebuild("TRANSACTION_TIMED_OUT", f"open for {open_ms:.0f} ms")

    def _check_end(self, which: str, started_s: float) -> None:
        took_ms = (self._clock.monotonic_s() - started_s) * MS_PER_S
        if self._error_seen is not None or took_ms > self._settings.slow_ms:
            self._status = Status.BROKEN
            raise Rebuild("DOUBTFUL_END", f"{which} took {took_ms:.0f} ms, {self._error_seen}")
        self._status = Status.READY

    def _on_error(self, error: KafkaError) -> None:
        self._error_seen = error.name()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        offset, partition, topic = message.offset(), message.partition(), message.topic()
        if error is not None or offset is None or partition is None or topic is None:
            self._refusal = None if error is None else error.str()
            return  # the transaction can no longer commit; commit reports it
        kind, at_ms = message.timestamp()
        if kind == TIMESTAMP_LOG_APPEND_TIME:
            self.log_append_ms = at_ms
        self._acknowledged[topic, partition] = offset

    def _current(self) -> Producer:
        if self._producer is None:
            raise WrongOrder("no producer")
        return self._producer

    def _expect(self, status: Status) -> None:
        if self._status is not status:
            raise WrongOrder(f"{self._status.value} where {status.value} is needed")


def _forget_locals(error: BaseException | None) -> None:
    """Drop the locals that an error's traceback still references: they may include the client."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
