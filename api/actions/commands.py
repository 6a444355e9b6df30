"""The path of a command: publish it, wait for its outcome, then until the read model shows it.

One thread follows outcomes and quarantine for all waiting requests. Nothing is retried here: a
repeated request gets the first result, because the engine recognises it.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from api.actions.outcome_tail import CommandResult, OutcomeTail
from api.actions.projection_watcher import ProjectionWatcher
from api.services import Answer, Principal, PublishUnconfirmed, Stopped
from control.current import ControlFold
from control.fold import Control
from core.header import InputHeader, OperatorHeader
from core.payment.commands import CreatePayment, OperatorCommand
from core.payment.state import unpack
from core.records import Outcome
from core.values import ApprovalId, PaymentIntentId
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clock import MS_PER_S, Clock
from engine.errors import EngineError
from engine.partitioner import partition_of
from engine.ports import Headers
from engine.tracing import Span, Tracer, as_headers
from readmodel.ports import Reader, ReadModelDown
from schemas import topology
from schemas.codec import Codec

NOT_AFTER_S: Final = 60.0  # a command decided later is rejected COMMAND_EXPIRED
CONFIRM_S_MAX: Final = 5.0
OUTCOME_WAIT_S: Final = 10.0
PROJECTED_WAIT_S_MAX: Final = 2.0
LOOK_S_MAX: Final = 0.25  # between two reads while the read model reports no change
CONTROL_SEEN_S_MAX: Final = 3.0
PENDING_MAX: Final = 10_000  # commands without a known outcome that are remembered
CREATION_EVENTS_MAX: Final = 8  # more than one decision about a new payment makes
COMMAND_ID_BYTES: Final = 16
NO_LIMIT: Final = 0  # `not_after` of a creation: it has none, its idempotency key makes it safe


class KafkaCommands:
    """See api.services.Commands. Safe for many threads; `start` before use, `close` after it."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        codec: Codec,
        reader: Reader,
        clock: Clock,
        tail: OutcomeTail,
        control: ControlFold,
        partitions: int,
        wait_s: float = OUTCOME_WAIT_S,
        tracer: Tracer | None = None,
    ) -> None:
        """`partitions`: of the payments' topics; `wait_s`: how long an outcome is waited for;
        `tracer` records a span for each command, until its outcome is shown.
        """
        self._publisher = publisher
        self._codec = codec
        self._reader = reader
        self._clock = clock
        self._tail = tail
        self._control = control
        self._partitions = partitions
        self._wait_s = wait_s
        self._tracer = tracer
        self._watcher = ProjectionWatcher(reader)
        self._pending: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._unwritable: str | None = None

    def start(self) -> None:
        """Start following control, outcomes and quarantine. Raises Exit if they are unreadable."""
        self._control.start()
        self._tail.start()

    def close(self) -> None:
        """Stop following. The caller closes the publisher."""
        self._watcher.close()
        self._tail.close()
        self._control.close()

    def not_ready(self) -> str | None:
        """Why commands should go to another instance, or None. A STOP is not a reason."""
        return self._control.unreadable() or self._tail.failure() or self._unwritable

    # -- commands --------------------------------------------------------------------------------

    def header(self, payment_intent_id: str, traceparent: str | None) -> InputHeader:
        """As api.services.Commands."""
        return InputHeader(
            payment_intent_id=PaymentIntentId(payment_intent_id),
            command_id="cmd-" + secrets.token_hex(COMMAND_ID_BYTES),
            sent_at=self._clock.now_ms(),
            traceparent=traceparent,
        )

    def operator(self, principal: Principal, approval_id: str | None) -> OperatorHeader:
        """As api.services.Commands."""
        return OperatorHeader(
            operator_id=principal.id,
            roles=tuple(sorted(principal.roles)),
            token_id=principal.token_id,
            not_after=self._clock.now_ms() + int(NOT_AFTER_S * MS_PER_S),
            approval_id=None if approval_id is None else ApprovalId(approval_id),
        )

    def operate(self, command: OperatorCommand) -> Answer:
        """As api.services.Commands."""
        assert command.operator is not None
        not_after = command.operator.not_after
        value = self._encode(topology.OPERATOR_COMMANDS, command)
        with self._traced(command) as span, self._expected(command.header, not_after) as future:
            self._publish(topology.OPERATOR_COMMANDS, command.header, value, span)
            found = self._outcome_of(future)
            return self._answer(command.header, not_after, found)

    def submit(self, command: CreatePayment) -> Answer:
        """As api.services.Commands. A creation has no time limit."""
        value = self._encode(topology.API_COMMANDS, command)
        with self._traced(command) as span, self._expected(command.header, NO_LIMIT) as future:
            self._publish(topology.API_COMMANDS, command.header, value, span)
            found = self._outcome_or_creation(command.header, future)
            return self._answer(command.header, NO_LIMIT, found)

    def pending(self, command_id: str) -> int | None:
        """As api.services.Commands; 0 for a creation, which has no time limit."""
        with self._lock:
            return self._pending.get(command_id)

    def _encode(self, topic: str, command: Any) -> bytes:
        self._require_running()
        return self._codec.encode(topic, command)

    @contextmanager
    def _expected(self, header: InputHeader, not_after: int) -> Iterator[Future[CommandResult]]:
        """A future for what happens to the command, to enter before it is published. The threads of
        `api.actions.threads` limit how many wait at once.
        """
        command_id = header.command_id or ""
        try:
            self._remember(command_id, not_after)
            yield self._tail.expect(header.payment_intent_id, command_id)
        finally:
            self._tail.forget(header.payment_intent_id, command_id)

    def _answer(self, header: InputHeader, not_after: int, found: CommandResult | None) -> Answer:
        command_id = header.command_id or ""
        if found is None:
            return Answer(command_id, not_after)
        self._settle(command_id)
        if found.outcome is None:
            return Answer(command_id, not_after, quarantined=found.quarantined)
        projected = self._projected(found.outcome)
        return Answer(command_id, not_after, outcome=found.outcome, projected=projected)

    @contextmanager
    def _traced(self, command: OperatorCommand | CreatePayment) -> Iterator[Span | None]:
        """The command's span, below the caller's own, else in the payment's trace."""
        if self._tracer is None:
            yield None
            return
        payment_id = command.header.payment_intent_id
        parent = command.header.traceparent or self._trace_of(payment_id)
        name = f"ask {type(command).__name__}"
        span = self._tracer.begin(name, parent, payment_id, {"npp.payment": payment_id})
        outcome = "failed"
        try:
            yield span
            outcome = "answered"
        finally:
            span.end(outcome)

    def _trace_of(self, payment_id: str) -> str | None:
        try:
            row = self._reader.payment(payment_id)
        except ReadModelDown:
            return None
        return None if row is None else unpack(row.snapshot).traceparent

    def _publish(self, topic: str, header: InputHeader, value: bytes, span: Span | None) -> None:
        payment_id = header.payment_intent_id
        partition = self._partition_of(payment_id)
        headers = as_headers(header.traceparent if span is None else span.traceparent)
        try:
            publish(self._publisher, topic, payment_id.encode(), value, partition, headers)
        except PublishUnconfirmed as error:
            if isinstance(error.__cause__, EngineError):  # waiting does not help
                self._unwritable = f"commands cannot be written: {error.__cause__.code}"
            raise
        self._unwritable = None

    def _outcome_of(self, future: Future[CommandResult]) -> CommandResult | None:
        try:
            return future.result(self._wait_s)
        except NotYet:
            return None

    def _outcome_or_creation(
        self, header: InputHeader, future: Future[CommandResult]
    ) -> CommandResult | None:
        """An accepted creation has no outcome record, but its first event names the command."""
        until_s = self._clock.monotonic_s() + self._wait_s
        with self._watcher.of(self._partition_of(header.payment_intent_id)) as moved:
            future.add_done_callback(lambda _: moved.set())
            while True:
                moved.clear()
                if future.done():
                    return future.result()
                created = created_by(self._reader, self._codec, header)
                if created is not None:
                    return CommandResult(outcome=created)
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0:
                    return None
                moved.wait(min(left_s, LOOK_S_MAX))

    def _projected(self, outcome: Outcome) -> bool:
        """Whether the read model shows the outcome's last event within PROJECTED_WAIT_S_MAX."""
        if outcome.to_sequence == 0:
            return True
        until_s = self._clock.monotonic_s() + PROJECTED_WAIT_S_MAX
        with self._watcher.of(self._partition_of(outcome.payment_intent_id)) as moved:
            while True:
                moved.clear()
                try:
                    row = self._reader.payment(outcome.payment_intent_id)
                except ReadModelDown:
                    return False
                if row is not None and row.sequence >= outcome.to_sequence:
                    return True
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0:
                    return False
                moved.wait(min(left_s, LOOK_S_MAX))

    def _partition_of(self, payment_id: str) -> int:
        return partition_of(payment_id.encode(), self._partitions)

    def _remember(self, command_id: str, not_after: int) -> None:
        with self._lock:
            self._pending[command_id] = not_after
            while len(self._pending) > PENDING_MAX:
                self._pending.popitem(last=False)

    def _settle(self, command_id: str) -> None:
        with self._lock:
            self._pending.pop(command_id, None)

    # -- control ---------------------------------------------------------------------------------

    def control(self) -> Control:
        """As api.services.Commands."""
        return self._control.now()

    def write_control(self, record: msgspec.Struct) -> int:
        """As api.services.Commands; returns when `control` shows the record, or after
        CONTROL_SEEN_S_MAX.
        """
        value = self._codec.encode(topology.CONTROL, record)
        offset = publish(self._publisher, topology.CONTROL, None, value, 0)
        self._control.wait_for(offset, CONTROL_SEEN_S_MAX)
        return offset

    def _require_running(self) -> None:
        control = self._control.now()
        why = control.ready() or control.stopped()
        if why is not None:
            raise Stopped(f"Processing is stopped: {why}")


def publish(
    publisher: Publisher,
    topic: str,
    key: bytes | None,
    value: bytes,
    partition: int,
    headers: Headers | None = None,
) -> int:
    """Append one record and wait up to CONFIRM_S_MAX. Returns its offset. Raises
    PublishUnconfirmed.
    """
    try:
        placed = publisher.publish(
            topic, key, value, partition=partition, headers=headers, timeout_s=CONFIRM_S_MAX
        )
    except (NotConfirmed, EngineError) as error:
        raise PublishUnconfirmed(
            "Kafka did not confirm the record: it may be on the log or not. "
            "A repeat is recognised as a duplicate."
        ) from error
    return placed.offset


def created_by(reader: Reader, codec: Codec, header: InputHeader) -> Outcome | None:
    """The outcome of an accepted creation, from the payment's first events in the read model; None
    if they are not there, or another command made them.
    """
    try:
        events = reader.events(header.payment_intent_id, 0, CREATION_EVENTS_MAX)
    except ReadModelDown:
        return None
    if not events or header.command_id is None or events[0].command_id != header.command_id:
        return None
    first = events[0]
    place = (first.cause_topic, first.cause_partition, first.cause_offset)
    made = [e for e in events if (e.cause_topic, e.cause_partition, e.cause_offset) == place]
    last = made[-1]
    event = codec.decode(topology.EVENTS, first.raw)
    return Outcome(
        payment_intent_id=header.payment_intent_id,
        cause=event.header.cause,
        input_type="CreatePayment",
        result="ACCEPTED",
        code=None,
        rule=None,
        sentence=None,
        first_difference=None,
        decided_at=event.header.decided_at,
        rule_set=event.header.rule_set,
        from_sequence=first.sequence,
        to_sequence=last.sequence,
        state=last.state,
        money_outcome="OPEN",
    )
