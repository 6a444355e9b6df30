"""Re-decide: every input of a payment again through the rule set that its event or outcome names.

The events it gives, encoded with the recorded schema, must be the recorded bytes; what appended
nothing must give the recorded outcome again. Recorded decidedAt stands for the clock. Source maps
have no number in events: the last one activated at or before decidedAt is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, assert_never

import msgspec

from core.decider import Accepted, Context, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Cause
from core.payment import state as payment_state
from core.payment.deadlines import with_deadline
from core.payment.decide import decide
from core.payment.events import ProcessingResumed, ProcessingSuspended
from core.payment.limits import command_id_of
from core.payment.state import Payment
from core.records import SENTENCE_MAX, Outcome
from core.rules import Rules
from core.values import Parties, Sealed
from evidence.chain import ZERO_HASH
from processors.replay.buckets import Entry, History
from processors.replay.fold import Folded, RulesOf, first_difference
from processors.replay.report import Failure, Strength
from schemas import topology
from schemas.codec import Codec
from schemas.codec.wire import schema_id
from schemas.errors import Undecodable, Unencodable
from schemas.topology import EVENTS, OUTCOMES

INPUT_MISSING: Final = "INPUT_MISSING"
INPUT_ALTERED: Final = "INPUT_ALTERED"
APPLIED_TWICE: Final = "APPLIED_TWICE"
EVENTS_DIFFER: Final = "EVENTS_DIFFER"
OUTCOME_DIFFERS: Final = "OUTCOME_DIFFERS"
DECIDE_RAISED: Final = "DECIDE_RAISED"
# Fields of an outcome that a decision determines.
OUTCOME_FIELDS: Final = (
    "result", "code", "rule", "sentence", "first_difference", "from_sequence", "to_sequence",
    "state", "money_outcome", "expected", "actual",
)  # fmt: skip


class NotCheckable(Exception):
    """This payment cannot be decided again here; the words say why."""


class SourceMap(msgspec.Struct, frozen=True):
    """Which sources a command topic may carry, from a time (epoch ms) on."""

    activated_at: int
    sources: dict[str, frozenset[str]]


class Environment(msgspec.Struct, frozen=True):
    """What decisions read beside inputs and states. `topics` are the inputs in decision order."""

    codec: Codec
    rules_of: RulesOf
    cluster_id: str
    topics: tuple[str, ...]
    source_maps: tuple[SourceMap, ...]  # in the order of the control topic
    open_parties: Callable[[Sealed], Parties]
    found: frozenset[str] = (
        frozenset()
    )  # by recoveries: see core.payment.inputs.recovered_submissions

    def sources(self, topic: str, decided_at: int) -> frozenset[str]:
        """The sources `topic` could carry when a decision was made."""
        for each in reversed(self.source_maps):
            if each.activated_at <= decided_at:
                return each.sources.get(topic, frozenset())
        return frozenset()

    def rules(self, number: int) -> Rules:
        """Raises NotCheckable when this release does not carry the rule set."""
        try:
            return self.rules_of(number)
        except KeyError:
            raise NotCheckable(f"rule set {number} is not carried by this release") from None


class Decided(msgspec.Struct, frozen=True):
    """Consecutive events of one input: indices first..last (inclusive) in the history."""

    cause: Cause
    first: int
    last: int


class PaymentRedecider:
    """One payment's inputs, in the order of the sequences that their events or outcomes name."""

    def __init__(
        self,
        environment: Environment,
        history: History,
        folded: Folded,
        partition: int,
        cut: int | None = None,
    ) -> None:
        """`cut`: decisions and outcomes past this many events are left out."""
        self._cut = len(folded.events) if cut is None else cut
        self._environment = environment
        self._history = history
        self._folded = folded
        self._partition = partition
        self._payment = history.key.decode("utf-8", "replace")

    def run(self, strength: Strength) -> None:
        """Decide everything again; stops at the first failure of this payment."""
        try:
            for failure in self._failures(strength):
                strength.fail(failure)
                return
        except NotCheckable as why:
            strength.skip(str(why))

    def _failures(self, strength: Strength) -> Iterator[Failure]:
        decisions = [d for d in decisions_of(self._folded) if d.last < self._cut]
        yield from self._twice(decisions)
        for decided in decisions:
            failure = self._decide_again(decided)
            if failure is not None:
                yield failure
            strength.checked += 1
        for entry in self._history.outcomes:
            outcome = self._environment.codec.decode(OUTCOMES, entry.value, entry.headers)
            if outcome.result == "MISROUTED" or self._is_past(outcome):
                continue
            failure = (
                self._accepted_again(entry, outcome, decisions)
                if outcome.result == "ACCEPTED"
                else self._outcome_again(entry, outcome, decisions)
            )
            if failure is not None:
                yield failure
            strength.checked += 1

    def _is_past(self, outcome: Outcome) -> bool:
        """Past the end of this replay: of what the journal does not have yet, or past the limit."""
        if outcome.to_sequence > self._cut:
            return True
        if self._cut == len(self._folded.events) and self._folded.failure is None:
            return False
        return self._cut == 0 or outcome.decided_at >= self._folded.states[self._cut - 1].decided_at

    def _twice(self, decisions: Sequence[Decided]) -> Iterator[Failure]:
        seen: set[tuple[str, int, int]] = set()
        for decided in decisions:
            cause = decided.cause
            place = (cause.topic, cause.partition, cause.offset)
            if place in seen:
                yield self._failure(APPLIED_TWICE, decided.first, "its input made events before")
            seen.add(place)

    # -- what appended -----------------------------------------------------------------------------

    def _decide_again(self, decided: Decided) -> Failure | None:
        first = self._folded.events[decided.first]
        if isinstance(first, (ProcessingSuspended, ProcessingResumed)):
            return None  # taken as given
        cause = decided.cause
        found = self._input(cause)
        if isinstance(found, str):
            kind = INPUT_ALTERED if found.startswith("its") else INPUT_MISSING
            return self._failure(kind, decided.first, found)
        decision = self._decision(
            found,
            cause,
            self._state_before(decided.first),
            first.header.decided_at,
            first.header.rule_set,
        )
        if isinstance(decision, str):
            return self._failure(DECIDE_RAISED, decided.first, decision)
        if not isinstance(decision, Accepted):
            return self._failure(
                EVENTS_DIFFER, decided.first, f"decided again it gives {_name(decision)}"
            )
        return self._compare(decided, decision)

    def _compare(self, decided: Decided, decision: Accepted) -> Failure | None:
        recorded = self._folded.events[decided.first : decided.last + 1]
        for index, event in enumerate(decision.events):
            at = decided.first + index
            if index >= len(recorded):
                return self._failure(
                    EVENTS_DIFFER, decided.last, f"decided again it adds {type(event).__name__}"
                )
            event.header.previous_hash = ZERO_HASH if at == 0 else self._folded.hashes[at - 1]
            raw = self._history.events[at].value
            if self._encoded(event, raw) != raw:
                return self._failure(EVENTS_DIFFER, at, _event_difference(event, recorded[index]))
        if len(decision.events) < len(recorded):
            at = decided.first + len(decision.events)
            missing = type(recorded[len(decision.events)]).__name__
            return self._failure(EVENTS_DIFFER, at, f"decided again it does not give {missing}")
        return None

    def _encoded(self, event: Any, recorded: bytes) -> bytes | None:
        number = schema_id(recorded)
        try:
            return self._environment.codec.encode_as(EVENTS, event, number)
        except KeyError:
            if self._environment.codec.schema_id(EVENTS, type(event).__name__) == number:
                raise
            return None  # written by the schema of another record type
        except Unencodable:
            return None

    # -- what appended nothing ---------------------------------------------------------------------

    def _outcome_again(
        self, entry: Entry, outcome: Outcome, decisions: Sequence[Decided]
    ) -> Failure | None:
        found = self._input(outcome.cause)
        if isinstance(found, str):
            kind = INPUT_ALTERED if found.startswith("its") else INPUT_MISSING
            return self._outcome_failure(kind, entry, outcome, found)
        difference: str | None = "no state of its time fits"
        for state in self._candidates(outcome, decisions):
            decision = self._decision(
                found, outcome.cause, state, outcome.decided_at, outcome.rule_set
            )
            if isinstance(decision, str):
                return self._outcome_failure(DECIDE_RAISED, entry, outcome, decision)
            difference = _outcome_difference(decision, state, outcome)
            if difference is None:
                return None
        return self._outcome_failure(OUTCOME_DIFFERS, entry, outcome, difference or "")

    def _accepted_again(
        self, entry: Entry, outcome: Outcome, decisions: Sequence[Decided]
    ) -> Failure | None:
        """An operator command's outcome names exactly the events that its command made."""
        for decided in decisions:
            if _place(decided.cause) == _place(outcome.cause):
                named = (outcome.from_sequence, outcome.to_sequence)
                if named == (decided.first + 1, decided.last + 1):
                    return None
                why = f"it names events {named}, found {(decided.first + 1, decided.last + 1)}"
                return self._outcome_failure(OUTCOME_DIFFERS, entry, outcome, why)
        why = "it says ACCEPTED, and its input made no event"
        return self._outcome_failure(OUTCOME_DIFFERS, entry, outcome, why)

    def _candidates(
        self, outcome: Outcome, decisions: Sequence[Decided]
    ) -> Iterator[Payment | None]:
        """The states in which it can have been decided.

        A refusal names the payment's last sequence. A duplicate names those of its first result,
        so each state at the ends of decisions made up to its own time is one.
        """
        if outcome.result != "DUPLICATE":
            yield self._state_before(outcome.to_sequence)
            return
        for decided in reversed(decisions):
            state = self._folded.states[decided.last]
            if decided.last + 1 < outcome.to_sequence or state.decided_at > outcome.decided_at:
                continue
            if str(state.state) == outcome.state:
                yield self._state_before(decided.last + 1)

    # -- common ------------------------------------------------------------------------------------

    def _state_before(self, index: int) -> Payment | None:
        """The state after `index` events, its deadline set as at the end of a decision."""
        if index == 0:
            return None
        state = self._folded.states[index - 1]
        return with_deadline(state, self._environment.rules(state.rule_set))

    def _input(self, cause: Cause) -> Entry | str:
        """The input a cause names, or what is wrong with it."""
        environment = self._environment
        if cause.cluster_id != environment.cluster_id:
            raise NotCheckable(f"its inputs are on cluster {cause.cluster_id}")
        if cause.topic not in environment.topics:
            raise NotCheckable(f"input topic {cause.topic} is not read")
        entry = self._history.inputs.get((environment.topics.index(cause.topic), cause.offset))
        place = f"{cause.topic} partition {cause.partition} offset {cause.offset}"
        if entry is None or cause.partition != entry.partition:
            return f"no input of this payment stands at {place}"
        if hashlib.sha256(entry.value).digest() != cause.input_hash:
            return f"its input at {place} has other bytes than when it was decided"
        return entry

    def _decision(
        self, entry: Entry, cause: Cause, state: Payment | None, decided_at: int, rule_set: int
    ) -> Decision | str:
        """Decide an input again, or why that could not be done."""
        environment = self._environment
        topic = environment.topics[entry.topic]
        try:
            command = environment.codec.decode(topic, entry.value, entry.headers)
        except Undecodable as error:
            return f"its input cannot be read: {error.reason}"
        context = Context(
            now_ms=decided_at,
            cause=Cause(
                cluster_id=environment.cluster_id,
                topic=topic,
                partition=cause.partition,
                offset=entry.offset,
                input_hash=cause.input_hash,
                command_id=command_id_of(command.header),
            ),
            rules=environment.rules(rule_set),
            origin=topology.ORIGINS.get(topic, "upstream"),
            sources=environment.sources(topic, decided_at),
            open_parties=environment.open_parties,
            recovered_submissions=environment.found,
        )
        try:
            return decide(state, command, context)
        except Exception as error:  # noqa: BLE001 a defect of decide is a finding about this payment
            return f"decide raised {type(error).__name__}"

    def _failure(self, kind: str, index: int, difference: str) -> Failure:
        offset = self._history.events[index].offset
        return Failure(kind, self._payment, index + 1, EVENTS, self._partition, offset, difference)

    def _outcome_failure(
        self, kind: str, entry: Entry, outcome: Outcome, difference: str
    ) -> Failure:
        return Failure(
            kind, self._payment, outcome.to_sequence, OUTCOMES, entry.partition, entry.offset,
            f"{outcome.cause.topic} offset {outcome.cause.offset}: {difference}",
        )  # fmt: skip


def decisions_of(folded: Folded) -> Iterator[Decided]:
    """Consecutive events with the same cause are one decision."""
    first = 0
    for index, event in enumerate(folded.events):
        following = folded.events[index + 1] if index + 1 < len(folded.events) else None
        cause = event.header.cause
        if following is None or _place(following.header.cause) != _place(cause):
            yield Decided(cause, first, index)
            first = index + 1


def _place(cause: Cause) -> tuple[str, str, int, int]:
    return (cause.cluster_id, cause.topic, cause.partition, cause.offset)


def _event_difference(again: Any, recorded: Any) -> str:
    if type(again) is not type(recorded):
        return f"decided again it gives {type(again).__name__}, recorded {type(recorded).__name__}"
    difference = first_difference(again, recorded, type(again).__name__)
    return difference or "the same values in other bytes"


def _outcome_difference(decision: Decision, state: Payment | None, recorded: Outcome) -> str | None:
    last = 0 if state is None else state.sequence
    again: dict[str, Any] = dict.fromkeys(OUTCOME_FIELDS)
    again["from_sequence"] = again["to_sequence"] = last
    again["state"] = None if state is None else str(state.state)
    again["money_outcome"] = None if state is None else str(payment_state.money_outcome(state))
    match decision:
        case Duplicate():
            again["result"] = "DUPLICATE"
            again["from_sequence"] = decision.from_sequence
            again["to_sequence"] = decision.to_sequence
        case Refusal():
            again["result"] = "REJECTED"
            for field in ("code", "rule", "sentence", "first_difference", "expected", "actual"):
                again[field] = getattr(decision, field)
        case NoEffect():
            again["result"] = "NO_EFFECT"
            again["rule"], again["sentence"] = decision.rule, decision.sentence
        case Accepted() | Unmatched():
            return f"decided again it gives {_name(decision)}"
        case _:
            assert_never(decision)
    if again["sentence"] is not None:
        again["sentence"] = again["sentence"][:SENTENCE_MAX]
    for field in OUTCOME_FIELDS:
        difference = first_difference(again[field], getattr(recorded, field), field)
        if difference is not None:
            return difference
    return None


def _name(decision: Decision) -> str:
    rule = getattr(decision, "rule", None)
    return type(decision).__name__ if rule is None else f"{type(decision).__name__} {rule}"
