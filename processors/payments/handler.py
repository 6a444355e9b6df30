"""The payments processor: core run on the engine.

bytes → value → decide → events with their chain, the lifecycle record and instructions, or one
outcome. All output goes into the engine's transaction; this module does no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast, get_args

import structlog

from control import quarantine
from control.fold import Control
from core.decider import Accepted, Context, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Cause, InputHeader, OperatorHeader
from core.payment import commands
from core.payment.decide import decide, suspend
from core.payment.lifecycle_record import lifecycle_record
from core.payment.limits import command_id_of
from core.payment.state import Payment
from core.records import Outcome
from core.rules import Rules
from core.values import PAYMENT_ID_LENGTH, ZERO_HASH, PaymentIntentId, same_person
from core.words import DeadlineKind
from core.words import QuarantineReason as Reason
from engine.errors import EngineError
from engine.loop.batch import Overlay
from engine.partitioner import partition_of
from engine.ports import DependencyDown, EngineTopology, InputRecord
from engine.records import UNREADABLE_HEADERS, has_unreadable_headers
from engine.tracing import as_headers
from evidence.redecide import with_trace
from processors.payments import outcomes as payments_outcomes
from processors.payments.metrics import PaymentsMetrics
from processors.payments.packing import Known, Packing
from processors.payments.spans import DecisionSpans, named
from processors.payments.topics import INSTRUCTION_TOPICS
from schemas import topology
from schemas.codec import Codec
from schemas.codec.parties import open_parties
from schemas.errors import RegistryDown, Undecodable

log = structlog.get_logger("npp.payments")
OPERATOR_COMMANDS: Final = frozenset(get_args(commands.OperatorCommand))


class PaymentsApplication:
    """See engine.ports.Application. `rules_of(number)` raises KeyError for a rule set that this
    release lacks.
    """

    def __init__(
        self,
        *,
        topology: EngineTopology,
        codec: Codec,
        control: Control,
        rules_of: Callable[[int], Rules],
        cluster_id: str,
        work_partitions: Mapping[str, int],
        metrics: PaymentsMetrics,
        spans: DecisionSpans | None = None,
    ) -> None:
        self.topology = topology
        self._codec = codec
        self._control = control
        self._rules_of = rules_of
        self._cluster_id = cluster_id
        self._work_partitions = dict(work_partitions)
        self._metrics = metrics
        self._spans = spans
        self._packing = Packing(codec, topology, rules_of)

    # -- deciding --------------------------------------------------------------------------------

    def decide(self, batch: Overlay, record: InputRecord) -> None:
        value, headers = record.value, record.headers
        if value is None or (headers and has_unreadable_headers(headers)):
            why = "the record has no value" if value is None else UNREADABLE_HEADERS
            self._quarantine(batch, record, quarantine.UNDECODABLE, why)
            return
        try:
            command = self._codec.decode(record.topic, value, headers)
        except Undecodable as error:
            self._quarantine(batch, record, quarantine.UNDECODABLE, str(error))
            return
        except RegistryDown as error:
            raise DependencyDown(str(error)) from error
        if headers:
            command = with_trace(command, headers)
        header: InputHeader = command.header
        payment_id = header.payment_intent_id
        cause = self._cause(record, value, header)
        key = record.key
        if len(payment_id) > PAYMENT_ID_LENGTH:
            why = f"paymentIntentId is longer than {PAYMENT_ID_LENGTH} characters"
            self._misrouted(batch, record, command, cause, why)
            return
        if key is None or key != payment_id.encode():
            why = "the record's key is not the paymentIntentId of its body"
            self._misrouted(batch, record, command, cause, why)
            return
        known: Known | None = batch.get(record.partition, payment_id)
        if known is None and partition_of(key, self.topology.partitions) != record.partition:
            why = "the record stands in another partition than its key's"
            self._misrouted(batch, record, command, cause, why)
            return
        if (
            known is not None
            and known.payment.parked
            and type(command) is not commands.ResumeProcessing
        ):
            self._quarantine(
                batch, record, quarantine.PARKED, "the payment is parked until it is resumed"
            )
            return
        if known is not None and known.payment.parked and not self._is_confirmed(command, known):
            self._quarantine(
                batch, record, quarantine.UNMATCHED, "two people have not signed for it"
            )
            return
        context = self._context(record, cause, known)
        span = None if self._spans is None else self._spans.begin(record, command, known)
        decision = decide(None if known is None else known.payment, command, context)
        trace = None if span is None else span.traceparent
        self._apply(batch, record, command, known, context, decision, trace)
        if span is not None and self._spans is not None:
            self._spans.decided(span, type(decision).__name__)

    def _is_confirmed(self, command: commands.ResumeProcessing, known: Known) -> bool:
        """Whether two people have signed for the end of this suspension on the control topic, and
        the command names them. It is not a rule of `decide`, because replay decides without the
        control topic.
        """
        payment = known.payment
        persons = self._control.resumption(payment.payment_intent_id, payment.sequence)
        named = (command.requested_by, command.operator.operator_id)
        return persons is not None and all(map(same_person, persons, named))

    def on_defect(self, batch: Overlay, record: InputRecord, error: BaseException) -> None:
        """Park the payment (domain §5): record it in the history and quarantine this input, as
        `decide` does with each later one. After an engine error, such as an output too large for
        Kafka, the input is quarantined by reference; one that is unreadable or misrouted parks no
        payment.
        """
        # A defect's text may quote the record: log only its position.
        detail, refused = type(error).__name__, isinstance(error, EngineError)
        if isinstance(error, EngineError):
            detail = f"{detail} {error.code}"
        if refused and (reason := self._no_input(record)) is not None:
            self._refer_to(batch, record, reason, detail)
            return
        log.critical(
            "payment_parked", topic=record.topic, partition=record.partition, offset=record.offset,
            error=type(error).__name__, exc_info=error,
        )  # fmt: skip
        known = self._readable(batch, record)
        if known is not None and not known.payment.parked and record.value is not None:
            cause = self._cause(
                record, record.value, InputHeader(payment_intent_id=known.payment.payment_intent_id)
            )
            context = self._context(record, cause, known)
            accepted = suspend(known.payment, context, type(error).__name__)
            self._append(batch, record.partition, known.payment.payment_intent_id, known, accepted)
        self._metrics.parked()
        keep = self._refer_to if refused else self._quarantine
        keep(batch, record, quarantine.PARKED, detail)

    def _no_input(self, record: InputRecord) -> Reason | None:
        """Why the record is not an input of its key's payment, as a quarantine reason, or None."""
        try:
            command = self._codec.decode(record.topic, record.value, record.headers)
        except (Undecodable, RegistryDown):
            return quarantine.UNDECODABLE
        if record.key != command.header.payment_intent_id.encode():
            return quarantine.MISROUTED
        return None

    def _readable(self, batch: Overlay, record: InputRecord) -> Known | None:
        """The payment's state, or None if there is none or it is unreadable."""
        if record.key is None or record.value is None:
            return None
        try:
            known: Known | None = batch.get(record.partition, record.key.decode("utf-8", "replace"))
        except ValueError:
            return None
        return known

    def emit_timer(
        self, batch: Overlay, partition: int, key: str, state: Known, deadline_ms: int
    ) -> None:
        due = commands.TimerDue(
            header=InputHeader(payment_intent_id=PaymentIntentId(key), sent_at=deadline_ms),
            kind=cast(DeadlineKind, state.payment.deadline_kind),  # set, because a deadline is due
            deadline=deadline_ms,
        )
        timers = self.topology.timers
        batch.emit(timers, partition, key.encode(), self._codec.encode(timers, due))

    def _context(self, record: InputRecord, cause: Cause, known: Known | None) -> Context:
        in_force = self._control.rule_set
        if in_force is None:
            raise DependencyDown("no rule set is in force")
        number = in_force.number if known is None else max(in_force.number, known.payment.rule_set)
        try:
            rules = self._rules_of(number)
        except KeyError as error:
            raise DependencyDown(f"this release does not carry rule set {number}") from error
        return Context(
            now_ms=record.polled_at_ms,
            cause=cause,
            rules=rules,
            origin=topology.ORIGINS.get(record.topic, "upstream"),
            sources=self._control.sources(record.topic),
            open_parties=open_parties,
            recovered_submissions=self._control.found,
        )

    def _cause(self, record: InputRecord, value: bytes, header: InputHeader) -> Cause:
        return Cause(
            cluster_id=self._cluster_id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            input_hash=hashlib.sha256(value).digest(),
            command_id=command_id_of(header),
        )

    def _apply(
        self,
        batch: Overlay,
        record: InputRecord,
        command: Any,
        known: Known | None,
        context: Context,
        decision: Decision,
        trace: str | None,
    ) -> None:
        payment_id = command.header.payment_intent_id
        name = type(command).__name__
        if isinstance(decision, Accepted):
            self._append(batch, record.partition, payment_id, known, decision, trace)
            self._metrics.input(name, "ACCEPTED")
            if type(command) in OPERATOR_COMMANDS and type(command.operator) is OperatorHeader:
                self._outcome(batch, record, name, context, decision.state, decision)
            return
        if isinstance(decision, Unmatched):
            self._metrics.input(name, "UNMATCHED")
            self._quarantine(batch, record, quarantine.UNMATCHED, decision.sentence)
            return
        self._outcome(
            batch, record, name, context, None if known is None else known.payment, decision
        )

    def _append(
        self,
        batch: Overlay,
        partition: int,
        payment_id: str,
        known: Known | None,
        accepted: Accepted,
        trace: str | None = None,
    ) -> None:
        """Emit the events with their chain, the instructions and the lifecycle record, all in the
        batch's transaction. Instructions carry `trace`, the decision's span, or the payment's own.
        """
        key = payment_id.encode()
        head = ZERO_HASH if known is None else known.head
        codec, journal = self._codec, self.topology.journal
        for event in accepted.events:
            event.header.previous_hash = head
            raw = codec.encode(journal, event)
            head = hashlib.sha256(raw).digest()
            batch.emit(journal, partition, key, raw)
            self._metrics.event(event)
        payment = accepted.state
        for instruction in accepted.instructions:
            topic = INSTRUCTION_TOPICS[type(instruction)]
            to, value = partition % self._work_partitions[topic], codec.encode(topic, instruction)
            passed_on = trace or instruction.header.traceparent
            batch.emit(topic, to, key, value, None if passed_on is None else as_headers(passed_on))
        record = lifecycle_record(payment, head)
        known = Known(payment, head, record.at_rest, record.snapshot)
        batch.put(partition, payment_id, known, codec.encode(self.topology.state, record))

    def _outcome(
        self,
        batch: Overlay,
        record: InputRecord,
        name: str,
        context: Context,
        payment: Payment | None,
        decision: Accepted | Duplicate | Refusal | NoEffect,
    ) -> None:
        payment_id = record.key.decode() if record.key else ""
        outcome = payments_outcomes.of_decision(payment_id, name, context, payment, decision)
        if type(decision) is not Accepted:
            self._metrics.input(name, outcome.result, outcome.code or "", outcome.rule or "")
        self._emit_outcome(batch, record, outcome)

    # -- what is not decided ---------------------------------------------------------------------

    def _misrouted(
        self, batch: Overlay, record: InputRecord, command: Any, cause: Cause, why: str
    ) -> None:
        outcome = payments_outcomes.misrouted(command, cause, record, self._number_in_force(), why)
        self._emit_outcome(batch, record, outcome)
        self._quarantine(batch, record, quarantine.MISROUTED, why)

    def _quarantine(self, batch: Overlay, record: InputRecord, reason: Reason, detail: str) -> None:
        self._keep(batch, record, reason, quarantine.copy_of(record, reason, detail))

    def _refer_to(self, batch: Overlay, record: InputRecord, reason: Reason, detail: str) -> None:
        """Quarantine by reference, because Kafka may have refused the full copy."""
        self._keep(batch, record, reason, quarantine.reference_to(record, reason, detail))

    def _keep(
        self, batch: Overlay, record: InputRecord, reason: Reason, copy: quarantine.Copy
    ) -> None:
        """Quarantine in the batch's transaction, with the input's offset: an abort undoes both. An
        unreadable record of an upstream system also gets an outcome.

        The adapters have no transaction: their `QuarantineWriter` waits for Kafka's confirmation
        before the offset is committed, so a crash between the two quarantines the record twice.
        """
        self._metrics.quarantined(reason, by_reference=copy.by_reference)
        log.warning(
            "record_quarantined", reason=reason, topic=record.topic, partition=record.partition,
            offset=record.offset, by_reference=copy.by_reference, **named(record),
        )  # fmt: skip
        if reason == quarantine.UNDECODABLE and self._is_upstreams(record):
            cause = self._cause(
                record, record.value or b"", InputHeader(payment_intent_id=PaymentIntentId(""))
            )
            outcome = payments_outcomes.quarantined(cause, record, self._number_in_force())
            self._emit_outcome(batch, record, outcome)
        partition = record.partition % self._work_partitions[topology.QUARANTINE]
        batch.emit(topology.QUARANTINE, partition, copy.key, copy.value, copy.headers)

    def _is_upstreams(self, record: InputRecord) -> bool:
        return topology.ORIGINS.get(record.topic, "upstream") == "upstream"

    def _number_in_force(self) -> int:
        in_force = self._control.rule_set
        return 0 if in_force is None else in_force.number

    def _emit_outcome(self, batch: Overlay, record: InputRecord, outcome: Outcome) -> None:
        topic = topology.OUTCOMES
        partition = record.partition % self._work_partitions[topic]
        key = payments_outcomes.key_of(record.key)
        batch.emit(topic, partition, key, self._codec.encode(topic, outcome))

    # -- packed state ----------------------------------------------------------------------------

    def unpack(self, packed: bytes) -> Known:
        return self._packing.unpack(packed)

    def pack_short(self, state: Known) -> bytes:
        return self._packing.pack_short(state)

    def unpack_short(self, short: bytes) -> Known:
        return self._packing.unpack_short(short)

    def deadline_ms(self, state: Known) -> int | None:
        return state.payment.deadline

    def at_rest(self, state: Known) -> bool:
        return state.at_rest

    def packed_hints(self, packed: bytes) -> tuple[bool, int | None]:
        return self._packing.hints(packed)

    def check_tail(
        self,
        partition: int,
        records: Sequence[tuple[int, bytes, bytes]],
        get_packed: Callable[[str], bytes | None],
    ) -> list[str]:
        return self._packing.differing(records, get_packed)

    def rebuild(
        self, partition: int, key: str, history: Sequence[bytes], packed: bytes | None
    ) -> bytes | None:
        return self._packing.folded(history, packed)

    # -- figures ---------------------------------------------------------------------------------

    def after_commit(self, decided: int) -> None:
        self._metrics.commit()
        if self._spans is not None:
            self._spans.committed()

    def after_abort(self) -> None:
        self._metrics.abort()
        if self._spans is not None:
            self._spans.dropped()
