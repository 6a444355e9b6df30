"""One payment's proofs: chain, fold against the compacted topic, and re-decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core.dispositions import Dispositions
from core.payment import state as payment_state
from core.payment.events import Event
from core.payment.state import Payment
from core.values import external_ref
from engine.clock import Clock
from evidence.chain import FOREIGN_EVENT, Break, ChainChecker, MemoryHeads
from evidence.redecide import Environment
from processors.replay import identity
from processors.replay.buckets import Entry, History
from processors.replay.fold import Folded, compare_lifecycle, fold
from processors.replay.money.checks import Money
from processors.replay.redecide import PaymentRedecider
from processors.replay.report import Failure, PaymentView, Report
from schemas.errors import Undecodable
from schemas.topology import EVENTS, LIFECYCLE

IDENTITY: Final = "IDENTITY"
LIFECYCLE_FOREIGN: Final = "LIFECYCLE_FOREIGN"
ENDS_EARLIER: Final = "the replay ends before the payment's lifecycle record"
NO_FOLD: Final = "payments whose history could not be folded"


class Limit(msgspec.Struct, frozen=True):
    """The end of a replay: after `sequence` of each payment, `offset` of each journal partition, or
    with the last event decided at or before `time_ms` (epoch ms).
    """

    sequence: int | None = None
    offset: int | None = None
    time_ms: int | None = None

    def __bool__(self) -> bool:
        return any(each is not None for each in (self.sequence, self.offset, self.time_ms))

    def sentence(self) -> str | None:
        """For the report."""
        named = (("sequence", self.sequence), ("offset", self.offset), ("time", self.time_ms))
        parts = [f"{name} {value}" for name, value in named if value is not None]
        return "up to " + ", ".join(parts) if parts else None


class Prover:
    """Collects the findings about each payment in one report."""

    def __init__(
        self,
        environment: Environment,
        report: Report,
        limit: Limit,
        clock: Clock,
        account: Callable[[Event, bool], None],
        rulings: Dispositions,
    ) -> None:
        """`account(event, taken)` is called for every readable event; `taken`: it is ruled
        TAKEN_AS_RECORDED. `rulings`: those of the control topic.
        """
        self._rulings = rulings
        self._environment = environment
        self._report = report
        self._limit = limit
        self._clock = clock
        self._account = account

    def prove(
        self, history: History, partition: int, known: int | None, *, last_look: bool
    ) -> int | None:
        """Prove all strengths for one payment of `partition`. `known`: the sequence that it had
        reached at the previous look; None at the first.

        A payment with a failure is looked at again, because a live log may have grown between the
        reads of two topics, or ended within a decision: nothing is reported yet, and its current
        sequence is returned. At the last look the failure is reported, and None is returned.
        """
        scratch = Report(self._report.payment, None)
        count = self._prove(history, partition, known, scratch)
        if not scratch.passed:
            if not last_look:
                return count
            if self._is_excused(history, partition, scratch):
                for each in scratch.strengths():
                    self._report.excused.merge(each)
                return None
            self._excuse_old_money(partition, scratch)
        self._report.merge(scratch)
        return None

    def _is_excused(self, history: History, partition: int, found: Report) -> bool:
        """A payment left out by name, or one whose broken history ends before the base.

        A differing lifecycle record is never excused, because decisions depend on it.
        """
        report = self._report
        if history.key.decode("utf-8", "replace") in report.without:
            return True
        if not history.events or not report.is_past(partition, history.events[-1].offset):
            return False
        return any(
            failure.topic == EVENTS
            for each in (found.chain, found.fold)
            for failure in each.failures
        )

    def _excuse_old_money(self, partition: int, found: Report) -> None:
        """Problems with money or identity before the base are listed, not judged."""
        for strength in (found.identity, found.money):
            old = [each for each in strength.failures if self._is_past(partition, each)]
            for each in old:
                self._report.excused.fail(each)
                strength.failures.remove(each)
            strength.failure_count -= len(old)

    def _is_past(self, partition: int, failure: Failure) -> bool:
        return self._report.is_past(partition, failure.offset)

    def _prove(self, history: History, partition: int, known: int | None, report: Report) -> int:
        seconds = self._clock.monotonic_s
        started_s = seconds()
        if history.lifecycle is not None and not history.lifecycle.value:
            history.lifecycle = None  # undone by a recovery
        history.events = self._own(history, partition, report)
        if not history.events:
            self._without_events(history, partition, report)
            return 0
        folded = fold(self._environment.codec, history, partition)
        taken: frozenset[int] = frozenset()
        if len(self._rulings):
            taken = frozenset(
                index
                for index, entry in enumerate(history.events)
                if self._rulings.of(partition, entry.offset, entry.value) is not None
            )
        for index, event in enumerate(folded.events):
            self._account(event, index in taken)
        for entry in history.events[len(folded.events) :]:
            self._mark(entry)
        cut = self._cut(history, folded)
        self._fold(history, folded, partition, cut, known, report)
        folded_s = seconds()
        report.fold.seconds += folded_s - started_s
        limited = cut < len(folded.events)
        events = history.events[:cut] if limited else history.events
        self._chain(history.key, events, folded.hashes, partition, report)
        chained_s = seconds()
        report.chain.seconds += chained_s - folded_s
        report.redecide.payments += 1
        report.redecide.events += cut
        if folded.failure is None or limited:
            redecider = PaymentRedecider(self._environment, history, folded, partition, cut, taken)
            redecider.run(report.redecide)
        else:
            report.redecide.skip(NO_FOLD)
        decided_s = seconds()
        report.redecide.seconds += decided_s - chained_s
        self._identity(folded, history, partition, report)
        identified_s = seconds()
        report.identity.seconds += identified_s - decided_s
        self._money(folded, history, partition, cut, report)
        report.money.seconds += seconds() - identified_s
        return len(folded.events)

    def _mark(self, entry: Entry) -> None:
        """Account for the input of an event that is not folded."""
        try:
            event = self._environment.codec.decode(EVENTS, entry.value, entry.headers)
        except Undecodable:
            return  # fold names it
        self._account(event, False)

    # -- chain -------------------------------------------------------------------------------------

    def _own(self, history: History, partition: int, report: Report) -> list[Entry]:
        """The events in the payment's own partition; every other is foreign."""
        own: list[Entry] = []
        for entry in history.events:
            if entry.partition == partition:
                own.append(entry)
                continue
            name = history.key.decode("utf-8", "replace")
            why = f"the key belongs to partition {partition}"
            report.chain.fail(
                Failure(FOREIGN_EVENT, name, 0, EVENTS, entry.partition, entry.offset, why)
            )
        return own

    def _chain(
        self,
        key: bytes,
        events: list[Entry],
        hashes: list[bytes],
        partition: int,
        report: Report,
    ) -> None:
        """`hashes` of the events' values, as far as they were folded."""
        chain = report.chain
        checker = ChainChecker(partition, MemoryHeads())
        for index, entry in enumerate(events):
            digest = hashes[index] if index < len(hashes) else None
            found = checker.feed(entry.offset, key, entry.value, digest)
            if isinstance(found, Break):
                chain.fail(
                    Failure(
                        found.kind, found.payment, found.sequence, EVENTS, partition, found.offset,
                        found.first_difference,
                    )
                )  # fmt: skip
        chain.payments += 1
        chain.events += checker.events
        chain.checked += not checker.broken

    # -- fold --------------------------------------------------------------------------------------

    def _cut(self, history: History, folded: Folded) -> int:
        """The number of events within the limit."""
        limit = self._limit
        cut = len(folded.events)
        if limit.sequence is not None:
            cut = min(cut, limit.sequence)
        if limit.time_ms is not None:
            late = (i for i, e in enumerate(folded.events) if e.header.decided_at > limit.time_ms)
            cut = min(cut, next(late, cut))
        if limit.offset is not None:
            past = (i for i, e in enumerate(history.events) if e.offset > limit.offset)
            cut = min(cut, next(past, cut))
        return cut

    def _fold(
        self,
        history: History,
        folded: Folded,
        partition: int,
        cut: int,
        known: int | None,
        report: Report,
    ) -> None:
        result = report.fold
        result.payments += 1
        result.events += cut
        if cut:
            self._show(folded.states[cut - 1], folded, history, cut, report)
        if folded.failure is not None and cut == len(folded.events):
            result.fail(folded.failure)
            return
        if self._limit and cut < len(folded.events):
            result.skip(ENDS_EARLIER)
            return
        required = len(folded.events) if known is None else known
        failure, skipped = compare_lifecycle(
            self._environment.codec, self._environment.rules_of, history, folded, partition,
            required,
        )  # fmt: skip
        if failure is not None:
            result.fail(failure)
            return
        result.checked += 1
        if skipped is not None:
            result.skip(skipped)

    def _without_events(self, history: History, partition: int, report: Report) -> None:
        """Inputs without a payment are normal; a lifecycle record without events is not."""
        if history.lifecycle is not None and not self._limit:
            name = history.key.decode("utf-8", "replace")
            report.fold.fail(
                Failure(
                    LIFECYCLE_FOREIGN, name, 0, LIFECYCLE, partition, history.lifecycle.offset,
                    "the journal has no event of this payment",
                )
            )  # fmt: skip
        PaymentRedecider(self._environment, history, Folded(), partition).run(report.redecide)

    def _show(
        self, state: Payment, folded: Folded, history: History, cut: int, report: Report
    ) -> None:
        report.states[state.state] = report.states.get(state.state, 0) + 1
        if report.payment != state.payment_intent_id:
            return
        report.view = PaymentView(
            payment_intent_id=state.payment_intent_id,
            state=state.state,
            money_outcome=payment_state.money_outcome(state),
            reason=state.reason,
            sequence=cut,
            offset=history.events[cut - 1].offset,
            decided_at=state.decided_at,
            attempt=len(state.attempts),
            external_ref=external_ref(state.payment_intent_id, len(state.attempts)),
            amount=state.amount,
            currency=state.currency,
            funds=state.attempt.funds,
            open_conflicts=payment_state.open_conflicts(state),
            waiting_for_person=payment_state.waiting_for_person(state),
            head_hash=folded.hashes[cut - 1].hex(),
            last_event=type(folded.events[cut - 1]).__name__,
        )

    # -- identity and money ------------------------------------------------------------------------

    def _identity(self, folded: Folded, history: History, partition: int, report: Report) -> None:
        result = report.identity
        result.payments += 1
        result.events += len(folded.events)
        result.checked += 1
        for sequence, difference in identity.problems(history.key, folded.events):
            result.fail(_failure(IDENTITY, history, partition, sequence, difference))

    def _money(
        self, folded: Folded, history: History, partition: int, cut: int, report: Report
    ) -> None:
        """Judged from the first event, even from a checkpoint on: sums have no other start."""
        result = report.money
        result.payments += 1
        result.events += cut
        limited = cut < len(folded.events)
        if folded.failure is not None and not limited:
            result.skip(NO_FOLD)
        else:
            result.checked += 1
        whole = not limited and folded.failure is None
        said = folded.lifecycle  # None when it cannot be read: fold names it
        at_rest = whole and said is not None and said.sequence == cut and said.at_rest
        for found in Money().check(folded.events[:cut], whole=whole, at_rest=at_rest):
            result.fail(_failure(found.kind, history, partition, found.sequence, found.sentence))


def _failure(
    kind: str, history: History, partition: int, sequence: int, difference: str
) -> Failure:
    return Failure(
        kind, history.key.decode("utf-8", "replace"), sequence, EVENTS, partition,
        history.events[sequence - 1].offset, difference,
    )  # fmt: skip
