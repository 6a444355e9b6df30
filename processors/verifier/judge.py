"""Decides one partition's events again, on its own states, before a checkpoint covers them.

Up to the topic's last checkpoint states are only folded. No Kafka and no clock.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from control.fold import Control
from control.named import Named
from core.control_records import FOREIGN
from core.decider import Accepted
from core.declared import replaced
from core.dispositions import TELLS_SOMEBODY, Disposition
from core.header import Cause
from core.payment import state as payment_state
from core.payment.deadlines import with_deadline
from core.payment.decide import suspend
from core.payment.events import Event, ProcessingResumed, ProcessingSuspended
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import CorruptHistory, Payment
from core.records import PaymentLifecycle
from core.values import ZERO_HASH, same_person
from engine.ports import RecordPosition
from evidence.chain import RawCause, read_cause
from evidence.differences import first_difference
from evidence.redecide import (
    Environment,
    Input,
    decision_name,
    decisions,
    difference_of_input,
    encoded_as,
    event_difference,
)
from schemas.errors import Undecodable
from schemas.topology import EVENTS, LIFECYCLE

AGREES: Final = "AGREES"
AHEAD: Final = "AHEAD"
DIFFERS: Final = "DIFFERS"


class VerifierContext(Protocol):
    """A judge's data: the control topic, the inputs, the store."""

    environment: Environment
    control: Control
    named: Named

    def input(self, place: RecordPosition) -> Input | None:
        """The input at this position, read ahead."""

    def parked(self, cause: Cause) -> bool:
        """Whether quarantine has this input as PARKED."""

    def packed(self, partition: int, payment: str) -> bytes | None:
        """The lifecycle record of the payment as of the last checkpoint."""


class Known(msgspec.Struct, gc=False):
    """A payment, the hash of its last event, and its lifecycle record when that is made."""

    payment: Payment
    head: bytes
    packed: bytes | None = None


class Finding(msgspec.Struct, frozen=True):
    """An event that is not ours."""

    payment: str
    offset: int
    why: str


class Running(msgspec.Struct):
    """A decision whose events have not all arrived: the expected one, or several that the source
    maps of that time allow.
    """

    payment: str
    cause: RawCause
    decided: list[Accepted]
    taken: int
    offset: int


class Judge:
    """One partition."""

    def __init__(
        self, partition: int, context: VerifierContext, last_causes: dict[str, int]
    ) -> None:
        """`last_causes`: the last input that caused anything, by topic."""
        self.partition = partition
        self.last_causes = dict(last_causes)
        self.fresh: dict[str, Known] = {}  # newer than in the store
        self._context = context
        self._running: Running | None = None
        self._awaited: dict[str, deque[tuple[int, bytes]]] = {}  # lifecycle records, by payment
        self.outstanding = 0

    # -- states ------------------------------------------------------------------------------------

    def known(self, payment: str) -> Known | None:
        """The verified payment."""
        found = self.fresh.get(payment)
        if found is not None:
            return found
        packed = self._context.packed(self.partition, payment)
        if packed is None:
            return None
        record = self._context.environment.codec.decode(LIFECYCLE, packed)
        return Known(payment_state.unpack(record.snapshot), record.head_hash, packed)

    def pack(self, known: Known) -> bytes:
        """The lifecycle record of the state."""
        if known.packed is None:
            environment = self._context.environment
            rules = environment.rules(known.payment.rule_set)
            record = lifecycle_record(with_deadline(known.payment, rules), known.head)
            known.packed = environment.codec.encode(LIFECYCLE, record)
        return known.packed

    def move_out(self) -> dict[str, bytes]:
        """The states in memory, in the store's form; from now on they are read from the store. That
        of an incomplete decision stays: it is not a lifecycle record yet.
        """
        running = None if self._running is None else self._running.payment
        moved = {name: self.pack(known) for name, known in self.fresh.items() if name != running}
        for name in moved:
            del self.fresh[name]
        return moved

    # -- events ------------------------------------------------------------------------------------

    def ruling(self, offset: int, value: bytes) -> Disposition | None:
        """The ruling on this record of the partition, or None. A request that names a type other
        than the record's is ignored if the record may have caused an instruction.
        """
        found = self._context.control.dispositions.of(self.partition, offset, value)
        if found is None or found.ruling != FOREIGN:
            return found
        try:
            event = self._context.environment.codec.decode(EVENTS, value)
        except Undecodable:
            return found
        return None if type(event).__name__ in TELLS_SOMEBODY else found

    def take(self, payment: str, offset: int, value: bytes) -> list[Finding]:
        """Fold an event ruled TAKEN_AS_RECORDED, without deciding it again. Returns a problem with
        it or the previous decision.
        """
        findings = self.at_end()
        why = self.fold(payment, value)
        rule_set = 0 if why is not None else self.fresh[payment].payment.rule_set
        if why is None and rule_set not in self._context.named.rule_sets:
            why = f"it cannot be taken as recorded: control never named rule set {rule_set}"
        return findings if why is None else [*findings, Finding(payment, offset, why)]

    def fold(self, payment: str, value: bytes) -> str | None:
        """Fold an event that a checkpoint covers: it was decided again before that was signed."""
        codec = self._context.environment.codec
        before = self.known(payment)
        try:
            cause = read_cause(value)
            state = evolve(None if before is None else before.payment, codec.decode(EVENTS, value))
        except (Undecodable, CorruptHistory, ValueError) as error:
            return f"it cannot be folded: {error}"
        self.last_causes[cause.topic] = max(self.last_causes.get(cause.topic, -1), cause.offset)
        self.fresh[payment] = Known(state, hashlib.sha256(value).digest())
        return None

    def decide(self, payment: str, offset: int, value: bytes) -> list[Finding]:
        """Decide the next event of the partition, which continues its payment's chain. Returns a
        problem with it or the previous decision.
        """
        try:
            cause = read_cause(value)
        except ValueError as error:
            return [*self.at_end(), Finding(payment, offset, str(error))]
        running = self._running
        findings: list[Finding] = []
        if running is not None and (running.payment, running.cause) == (payment, cause):
            why = self._next(running, value)
        else:
            findings = self.at_end()
            why = self._begin(payment, cause, value)
        if why is not None:
            findings.append(Finding(payment, offset, why))
        elif self._running is not None:
            self._running.offset = offset
        return findings

    def is_running(self) -> bool:
        """Whether a decision still waits for events."""
        return self._running is not None

    def at_end(self) -> list[Finding]:
        """An incomplete decision at the end of its partition. Transactions become visible as a
        whole, so it is not ours.
        """
        running, self._running = self._running, None
        if running is None:
            return []
        count = len(running.decided[0].events)
        why = f"its decision gives {count} events, only {running.taken} of them are there"
        return [Finding(running.payment, running.offset, why)]

    def _begin(self, payment: str, named: RawCause, value: bytes) -> str | None:
        context = self._context
        try:
            event: Event = context.environment.codec.decode(EVENTS, value)
        except Undecodable as error:
            return f"it cannot be read: {error.reason}"
        header, cause = event.header, event.header.cause
        before = self.known(payment)
        why = self._foreign(cause, header.rule_set)
        if why is not None:
            return why
        place = (cause.topic, cause.partition, cause.offset)
        given = context.input(place)
        if given is None:
            return f"no input is at {place[0]} partition {place[1]} offset {place[2]}"
        why = difference_of_input(given, cause)
        if why is not None:
            return why
        state = None
        if before is not None:
            rules = context.environment.rules(before.payment.rule_set)
            state = with_deadline(before.payment, rules)
        head = ZERO_HASH if before is None else before.head
        decided: list[Accepted] = []
        why = "it was not decided"
        for found in self._decisions(event, given, state):
            if isinstance(found, str):
                why = found
                continue
            first = found.events[0]
            if encoded_as(context.environment.codec, first, head, value) != value:
                why = event_difference(first, event)
                continue
            decided.append(found)
        if not decided:
            return why
        self._running = Running(payment, named, decided, 1, 0)
        self.last_causes[cause.topic] = cause.offset
        return self._close(self._running, payment, value)

    def _foreign(self, cause: Cause, rule_set: int) -> str | None:
        context = self._context
        if cause.cluster_id != context.named.cluster_id:
            return f"its cause is on cluster {cause.cluster_id}, which control never named"
        if rule_set not in context.named.rule_sets:
            return f"rule set {rule_set} was never named by control"
        if cause.topic not in context.environment.topics or cause.partition != self.partition:
            return f"{cause.topic} partition {cause.partition} is no input of this partition"
        recovered = bool(context.control.recovery_points(self.partition))
        if cause.offset <= self.last_causes.get(cause.topic, -1) and not recovered:
            return f"its input, {cause.topic} offset {cause.offset}, was decided before"
        return None

    def _decisions(
        self, event: Event, given: Input, state: Payment | None
    ) -> Iterator[Accepted | str]:
        header, cause = event.header, event.header.cause
        environment = self._context.environment
        if isinstance(event, ProcessingSuspended):
            if state is None or not self._context.parked(cause):
                yield "its input is not in quarantine as PARKED"
                return
            named = replaced(cause, command_id=None)
            context = environment.context(named, header.decided_at, header.rule_set, frozenset())
            yield suspend(state, context, event.error)
            return
        if isinstance(event, ProcessingResumed) and state is not None:
            signed = self._context.control.resumption(state.payment_intent_id, state.sequence)
            persons = (event.requested_by, header.actor.id)
            if signed is None or not all(map(same_person, signed, persons)):
                yield "no two people signed for resuming the payment"
                return
        for found in decisions(
            environment, given, cause, state, header.decided_at, header.rule_set
        ):
            if isinstance(found, (Accepted, str)):
                yield found
            else:
                yield f"decided again it gives {decision_name(found)}"

    def _next(self, running: Running, value: bytes) -> str | None:
        codec = self._context.environment.codec
        head = self.fresh[running.payment].head
        fitting = [
            each
            for each in running.decided
            if len(each.events) > running.taken
            and encoded_as(codec, each.events[running.taken], head, value) == value
        ]
        if not fitting:
            self._running = None
            first = running.decided[0]
            if len(first.events) <= running.taken:
                return "decided again its input does not give it"
            try:
                recorded = codec.decode(EVENTS, value)
            except Undecodable as error:
                return f"it cannot be read: {error.reason}"
            return event_difference(first.events[running.taken], recorded)
        running.decided, running.taken = fitting, running.taken + 1
        return self._close(running, running.payment, value)

    def _close(self, running: Running, payment: str, value: bytes) -> str | None:
        """After each event: the head; after the last one the state and its lifecycle record."""
        head = hashlib.sha256(value).digest()
        done = next((e for e in running.decided if len(e.events) == running.taken), None)
        if done is None:
            before = self.known(payment)
            state = running.decided[0].state if before is None else before.payment
            self.fresh[payment] = Known(state, head)
            return None
        self._running = None
        known = Known(done.state, head)
        record = lifecycle_record(done.state, head)
        known.packed = self._context.environment.codec.encode(LIFECYCLE, record)
        self.fresh[payment] = known
        self._awaited.setdefault(payment, deque()).append((record.sequence, known.packed))
        self.outstanding += 1
        return None

    # -- lifecycle records -------------------------------------------------------------------------

    def lifecycle(self, payment: str, value: bytes | None) -> tuple[str, str]:
        """Compare the next lifecycle record: AGREES, AHEAD of its event, or DIFFERS, and why."""
        codec = self._context.environment.codec
        known = self.known(payment)
        if value is None:
            gone = known is None
            return (AGREES, "") if gone else (DIFFERS, "its lifecycle record was deleted")
        try:
            record = codec.decode(LIFECYCLE, value)
        except Undecodable as error:
            return DIFFERS, f"its lifecycle record cannot be read: {error.reason}"
        if not isinstance(record, PaymentLifecycle) or record.payment_intent_id != payment:
            return DIFFERS, "the lifecycle record is of another payment or type"
        awaited = self._awaited.get(payment, deque())
        if any(sequence == record.sequence for sequence, _ in awaited):
            while awaited[0][0] < record.sequence:
                awaited.popleft()  # compacted away
                self.outstanding -= 1
            expected = awaited.popleft()[1]
            self.outstanding -= 1
            if not awaited:
                del self._awaited[payment]
            return self._compare(expected, value, record)
        if self._running is not None and self._running.payment == payment:
            return AHEAD, "its decision has not all its events yet"
        sequence = 0 if known is None else known.payment.sequence
        if known is None or record.sequence > sequence:
            return AHEAD, f"its lifecycle record has sequence {record.sequence}, it has {sequence}"
        if record.sequence == sequence:
            return self._compare(self.pack(known), value, record)
        return DIFFERS, f"its lifecycle record goes back from {sequence} to {record.sequence}"

    def _compare(self, expected: bytes, value: bytes, record: PaymentLifecycle) -> tuple[str, str]:
        if expected == value:
            return AGREES, ""
        again = self._context.environment.codec.decode(LIFECYCLE, expected)
        skip = {"snapshot", "state_version"}
        if again.state_version == record.state_version:
            skip = set()  # a snapshot of another version is compared by name alone
        for field in PaymentLifecycle.__struct_fields__:
            if field not in skip:
                found = first_difference(getattr(again, field), getattr(record, field), field)
                if found is not None:
                    return DIFFERS, f"its lifecycle record differs: {found}"
        return AGREES, ""  # in another schema

    def awaiting(self) -> dict[str, int]:
        """Payments whose lifecycle record has not arrived, with their last sequence."""
        return {payment: awaited[-1][0] for payment, awaited in self._awaited.items()}

    def still_awaits(self, payment: str, sequence: int) -> bool:
        """Whether a lifecycle record up to that sequence is still missing."""
        awaited = self._awaited.get(payment)
        return awaited is not None and awaited[0][0] <= sequence

    def forget(self, payment: str) -> None:
        """The payment is broken: stop waiting for its records."""
        self.outstanding -= len(self._awaited.pop(payment, ()))
