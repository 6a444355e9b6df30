"""Fold: events in, state out, compared in decoded form with the compacted topic.

`rebuild` does it for one payment: any arrival order, a prefix suffices, a gap is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from core.payment import state as payment_state
from core.payment.deadlines import with_deadline
from core.payment.events import Event
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import CorruptHistory, Payment
from core.records import STATE_VERSION, PaymentLifecycle
from evidence.chain import event_hash, require_complete
from evidence.differences import first_difference
from evidence.redecide import RulesOf
from processors.replay.buckets import Entry, History
from processors.replay.report import Failure
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import EVENTS, LIFECYCLE

MISSING_SEQUENCE: Final = "MISSING_SEQUENCE"
CORRUPT_HISTORY: Final = "CORRUPT_HISTORY"
UNDECODABLE_EVENT: Final = "UNDECODABLE_EVENT"
LIFECYCLE_MISSING: Final = "LIFECYCLE_MISSING"
LIFECYCLE_AHEAD: Final = "LIFECYCLE_AHEAD"
LIFECYCLE_BEHIND: Final = "LIFECYCLE_BEHIND"
LIFECYCLE_DIFFERS: Final = "LIFECYCLE_DIFFERS"
LIFECYCLE_UNREADABLE: Final = "LIFECYCLE_UNREADABLE"
DEPENDS_ON_RULES: Final = frozenset({"deadline", "deadline_kind", "at_rest", "waiting_for_person"})


class Folded(msgspec.Struct):
    """A history as values; `states[i]` and `hashes[i]` are those after sequence i + 1."""

    events: list[Event] = []
    states: list[Payment] = []
    hashes: list[bytes] = []
    failure: Failure | None = None
    lifecycle: PaymentLifecycle | None = None  # once compared: the record as it was read

    @property
    def state(self) -> Payment | None:
        """The state after the last event that could be folded."""
        return self.states[-1] if self.states else None


def rebuild(
    codec: Codec,
    values: Iterable[bytes],
    rules_of: RulesOf,
    *,
    up_to_sequence: int | None = None,
) -> Payment:
    """State of one payment from its raw events, in whatever order they arrive.

    Raises MissingSequence for a gap, ValueError for no events or a repeated one, CorruptHistory.
    """
    events = [codec.decode(EVENTS, value) for value in values]
    require_complete([event.header.sequence for event in events])
    events.sort(key=lambda event: event.header.sequence)
    state: Payment | None = None
    for event in events[:up_to_sequence]:
        state = evolve(state, event)
    if state is None:
        raise ValueError("no events: there is no payment to rebuild")
    return with_deadline(state, rules_of(state.rule_set))


def fold(codec: Codec, history: History, partition: int) -> Folded:
    """Decode and fold a payment's events in log order, up to the first problem."""
    folded = Folded()
    state: Payment | None = None
    for entry in history.events:
        sequence = len(folded.events) + 1
        try:
            event = codec.decode(EVENTS, entry.value, entry.headers)
        except Undecodable as error:
            folded.failure = _event_failure(
                UNDECODABLE_EVENT, history, sequence, partition, entry, error.reason
            )
            return folded
        found = event.header.sequence
        if found != sequence:
            why = f"sequence {sequence} is missing" if found > sequence else "it occurs twice"
            folded.failure = _event_failure(MISSING_SEQUENCE, history, found, partition, entry, why)
            return folded
        try:
            state = evolve(state, event)
        except CorruptHistory as error:
            folded.failure = _event_failure(
                CORRUPT_HISTORY, history, found, partition, entry, str(error)
            )
            return folded
        folded.events.append(event)
        folded.states.append(state)
        folded.hashes.append(event_hash(entry.value))
    return folded


def compare_lifecycle(
    codec: Codec, rules_of: RulesOf, history: History, folded: Folded, partition: int, required: int
) -> tuple[Failure | None, str | None]:
    """Compare the compacted record with the fold at its own sequence; (failure, not checkable).

    `required` is the minimum sequence it must have reached.
    """
    last = len(folded.events)

    def failure(kind: str, difference: str, sequence: int) -> Failure:
        entry = history.lifecycle
        offset = -1 if entry is None else entry.offset
        return Failure(
            kind, history.key.decode("utf-8", "replace"), sequence, LIFECYCLE, partition, offset,
            difference,
        )  # fmt: skip

    if history.lifecycle is None:
        return failure(LIFECYCLE_MISSING, "the payment has no lifecycle record", last), None
    try:
        record = codec.decode(LIFECYCLE, history.lifecycle.value, history.lifecycle.headers)
        folded.lifecycle = record
        if _is_as_folded(record, folded, max(required, 1), rules_of):
            return None, None
        snapshot = payment_state.unpack(record.snapshot)
    except (Undecodable, ValueError) as error:
        why = f"the lifecycle record cannot be read: {type(error).__name__}"
        return failure(LIFECYCLE_UNREADABLE, why, last), None
    if record.sequence > last:
        why = f"it has sequence {record.sequence}, the journal ends at {last}"
        return failure(LIFECYCLE_AHEAD, why, record.sequence), None
    if record.sequence < max(required, 1):
        why = f"it has sequence {record.sequence}, the journal had {required}"
        return failure(LIFECYCLE_BEHIND, why, record.sequence), None
    state, skipped = _at_decision_end(folded.states[record.sequence - 1], rules_of)
    expected = lifecycle_record(state, folded.hashes[record.sequence - 1])
    difference = _lifecycle_difference(expected, record, state, snapshot, skipped is not None)
    if difference is not None:
        return failure(LIFECYCLE_DIFFERS, difference, record.sequence), None
    return None, skipped


def _is_as_folded(
    record: PaymentLifecycle, folded: Folded, required: int, rules_of: RulesOf
) -> bool:
    """Whether it is the very record that the fold gives, its packed state byte for byte."""
    if not required <= record.sequence <= len(folded.events):
        return False
    state, skipped = _at_decision_end(folded.states[record.sequence - 1], rules_of)
    expected = lifecycle_record(state, folded.hashes[record.sequence - 1])
    return skipped is None and expected == record


def _at_decision_end(state: Payment, rules_of: RulesOf) -> tuple[Payment, str | None]:
    try:
        return with_deadline(state, rules_of(state.rule_set)), None
    except KeyError:
        return state, f"rule set {state.rule_set} is not carried: deadlines not compared"


def _lifecycle_difference(
    expected: PaymentLifecycle,
    actual: PaymentLifecycle,
    state: Payment,
    snapshot: Payment,
    without_rules: bool,
) -> str | None:
    skip = set(DEPENDS_ON_RULES) if without_rules else set()
    for field in expected.__struct_fields__:
        if field in ("snapshot", "state_version") or field in skip:
            continue
        found = first_difference(getattr(expected, field), getattr(actual, field), field)
        if found is not None:
            return found
    if actual.state_version != STATE_VERSION:
        return None  # a snapshot of another version is compared on the fields it has by name
    for field in state.__struct_fields__:
        if field not in skip:
            found = first_difference(
                getattr(state, field), getattr(snapshot, field), f"snapshot.{field}"
            )
            if found is not None:
                return found
    return None


def _event_failure(
    kind: str, history: History, sequence: int, partition: int, entry: Entry, difference: str
) -> Failure:
    return Failure(
        kind, history.key.decode("utf-8", "replace"), sequence, EVENTS, partition, entry.offset,
        difference,
    )  # fmt: skip
