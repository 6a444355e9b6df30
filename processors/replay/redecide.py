"""Re-decide: decide every input of a payment again with the rule set that its event or outcome
names.

The events, encoded with the recorded schema, must be the recorded bytes; an input that appended
nothing must give the recorded outcome again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, assert_never

import msgspec

from core.decider import Accepted, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Cause
from core.payment import state as payment_state
from core.payment.deadlines import with_deadline
from core.payment.events import ProcessingResumed, ProcessingSuspended
from core.payment.state import Payment
from core.records import SENTENCE_MAX, Outcome
from engine.ports import RecordPosition
from evidence.chain import ZERO_HASH
from evidence.differences import first_difference
from evidence.redecide import (
    Environment,
    Input,
    NotCarried,
    decision_name,
    decisions,
    encoded_as,
    event_difference,
)
from processors.replay.buckets import Entry, History
from processors.replay.fold import Folded
from processors.replay.report import Failure, Strength
from schemas.topology import EVENTS, OUTCOMES

INPUT_MISSING: Final = "INPUT_MISSING"
INPUT_ALTERED: Final = "INPUT_ALTERED"
APPLIED_TWICE: Final = "APPLIED_TWICE"
EVENTS_DIFFER: Final = "EVENTS_DIFFER"
OUTCOME_DIFFERS: Final = "OUTCOME_DIFFERS"
DECIDE_RAISED: Final = "DECIDE_RAISED"
SET_ASIDE: Final = frozenset({"MISROUTED", "QUARANTINED"})  # nothing was decided
# Fields of an outcome that a decision determines.
OUTCOME_FIELDS: Final = (
    "result", "code", "rule", "sentence", "first_difference", "from_sequence", "to_sequence",
    "state", "money_outcome", "expected", "actual",
)  # fmt: skip


class NotCheckable(Exception):
    """This payment cannot be decided again here; the message says why."""


class Decided(msgspec.Struct, frozen=True):
    """Consecutive events of one input: indices first..last (inclusive) in the history; or one event
    ruled TAKEN_AS_RECORDED.
    """

    cause: Cause
    first: int
    last: int
    taken: bool = False


class PaymentRedecider:
    """One payment's inputs, in the order of the sequences in their events or outcomes."""

    def __init__(
        self,
        environment: Environment,
        history: History,
        folded: Folded,
        partition: int,
        cut: int | None = None,
        taken: frozenset[int] = frozenset(),
    ) -> None:
        """`cut`: decisions and outcomes past this many events are left out. `taken`: indices of
        events ruled TAKEN_AS_RECORDED, which are not decided again.
        """
        self._taken = taken
        self._cut = len(folded.events) if cut is None else cut
        self._environment = environment
        self._history = history
        self._folded = folded
        self._partition = partition
        self._payment = history.key.decode("utf-8", "replace")

    def run(self, strength: Strength) -> None:
        """Decide everything again, up to the payment's first failure, which goes to `strength`."""
        try:
            for failure in self._failures(strength):
                strength.fail(failure)
                return
        except (NotCheckable, NotCarried) as why:
            strength.skip(str(why))

    def _failures(self, strength: Strength) -> Iterator[Failure]:
        decisions = [d for d in decisions_of(self._folded, self._taken) if d.last < self._cut]
        yield from self._twice(decisions)
        for decided in (each for each in decisions if not each.taken):
            failure = self._decide_again(decided)
            if failure is not None:
                yield failure
            strength.checked += 1
        for entry in self._history.outcomes:
            outcome = self._environment.codec.decode(OUTCOMES, entry.value, entry.headers)
            if outcome.result in SET_ASIDE or self._is_past(outcome):
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
        """Past the end of this replay: not on the journal yet, or past the limit."""
        if outcome.to_sequence > self._cut:
            return True
        if self._cut == len(self._folded.events) and self._folded.failure is None:
            return False
        return self._cut == 0 or outcome.decided_at >= self._folded.states[self._cut - 1].decided_at

    def _twice(self, decisions: Sequence[Decided]) -> Iterator[Failure]:
        seen: set[RecordPosition] = set()
        for decided in (each for each in decisions if not each.taken):
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
        failure: Failure | None = None
        for decision in self._decisions(
            found,
            cause,
            self._state_before(decided.first),
            first.header.decided_at,
            first.header.rule_set,
        ):
            different = self._judge(decided, decision)
            if different is None:
                return None
            failure = failure or different
        return failure

    def _judge(self, decided: Decided, decision: Decision | str) -> Failure | None:
        if isinstance(decision, str):
            return self._failure(DECIDE_RAISED, decided.first, decision)
        if not isinstance(decision, Accepted):
            return self._failure(
                EVENTS_DIFFER, decided.first, f"decided again it gives {decision_name(decision)}"
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
            head = ZERO_HASH if at == 0 else self._folded.hashes[at - 1]
            raw = self._history.events[at].value
            if encoded_as(self._environment.codec, event, head, raw) != raw:
                return self._failure(EVENTS_DIFFER, at, event_difference(event, recorded[index]))
        if len(decision.events) < len(recorded):
            at = decided.first + len(decision.events)
            missing = type(recorded[len(decision.events)]).__name__
            return self._failure(EVENTS_DIFFER, at, f"decided again it does not give {missing}")
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
            for decision in self._decisions(
                found, outcome.cause, state, outcome.decided_at, outcome.rule_set
            ):
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
            if is_one(decided.cause, outcome.cause):
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
        """The states in which it may have been decided.

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
        """The input that a cause names, or what is wrong with it.

        Raises NotCheckable if the input is on another cluster or a topic that is not read.
        """
        environment = self._environment
        if cause.cluster_id != environment.cluster_id:
            raise NotCheckable(f"its inputs are on cluster {cause.cluster_id}")
        if cause.topic not in environment.topics:
            raise NotCheckable(f"input topic {cause.topic} is not read")
        entry = self._history.inputs.get((environment.topics.index(cause.topic), cause.offset))
        place = f"{cause.topic} partition {cause.partition} offset {cause.offset}"
        if entry is None or cause.partition != entry.partition:
            return f"no input of this payment is at {place}"
        if hashlib.sha256(entry.value).digest() != cause.input_hash:
            return f"its input at {place} has other bytes than when it was decided"
        return entry

    def _decisions(
        self, entry: Entry, cause: Cause, state: Payment | None, decided_at: int, rule_set: int
    ) -> Iterator[Decision | str]:
        """An input decided again, once for each source map of that time."""
        environment = self._environment
        topic = environment.topics[entry.topic]
        given = Input(topic, entry.partition, entry.offset, entry.value, entry.headers)
        return decisions(environment, given, cause, state, decided_at, rule_set)

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


def decisions_of(folded: Folded, taken: frozenset[int] = frozenset()) -> Iterator[Decided]:
    """Consecutive events with the same cause are one decision; each `taken` event is separate."""
    first = 0
    for index, event in enumerate(folded.events):
        following = folded.events[index + 1] if index + 1 < len(folded.events) else None
        cause = event.header.cause
        alone = not taken.isdisjoint((index, index + 1))
        if alone or following is None or not is_one(following.header.cause, cause):
            yield Decided(cause, first, index, index in taken)
            first = index + 1


def is_one(cause: Cause, other: Cause) -> bool:
    """Whether both name the same input; consecutive events that do are one decision."""
    return (
        cause.offset == other.offset
        and cause.topic == other.topic
        and cause.partition == other.partition
        and cause.cluster_id == other.cluster_id
    )


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
            return f"decided again it gives {decision_name(decision)}"
        case _:
            assert_never(decision)
    if again["sentence"] is not None:
        again["sentence"] = again["sentence"][:SENTENCE_MAX]
    for field in OUTCOME_FIELDS:
        difference = first_difference(again[field], getattr(recorded, field), field)
        if difference is not None:
            return difference
    return None
