"""One payment's proofs: its chain, its fold against the compacted topic, its decisions again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from core.payment import state as payment_state
from core.payment.events import Event, PaymentIntentCreated
from core.payment.state import Payment
from core.values import external_ref, payment_intent_id
from engine.clock import Clock
from evidence.chain import FOREIGN_EVENT, Break, ChainChecker, MemoryHeads
from processors.replay.buckets import Entry, History
from processors.replay.fold import IN_FLIGHT_KINDS, Folded, compare_lifecycle, fold
from processors.replay.redecide import Environment, PaymentRedecider
from processors.replay.report import Failure, PaymentView, Report
from processors.topology import EVENTS, LIFECYCLE
from schemas.errors import Undecodable

IDENTITY: Final = "IDENTITY"
LIFECYCLE_FOREIGN: Final = "LIFECYCLE_FOREIGN"
ENDS_EARLIER: Final = "the replay ends before the payment's lifecycle record"
NO_FOLD: Final = "payments whose history could not be folded"


class Limit(msgspec.Struct, frozen=True):
    """Where a replay ends: after `sequence` of each payment, `offset` of each journal partition, or
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
    """Puts what it finds of each payment into one report."""

    def __init__(
        self,
        environment: Environment,
        report: Report,
        limit: Limit,
        clock: Clock,
        account: Callable[[Event], None],
    ) -> None:
        """`account` is told of every event that can be read."""
        self._environment = environment
        self._report = report
        self._limit = limit
        self._clock = clock
        self._account = account

    def prove(self, history: History, partition: int) -> int | None:
        """All strengths for one payment of `partition`.

        Gives the sequence that its lifecycle record must reach when that one looks late or absent:
        on a live log it may only have been read too early.
        """
        report, seconds = self._report, self._clock.monotonic_s
        started_s = seconds()
        history.events = self._own(history, partition)
        if not history.events:
            self._without_events(history, partition)
            return None
        folded = fold(self._environment.codec, history, partition)
        for event in folded.events:
            self._account(event)
        for entry in history.events[len(folded.events) :]:
            self.mark(entry)
        cut = self._cut(history, folded)
        suspect = self._fold(history, folded, partition, cut)
        self._identity(folded, history, partition)
        folded_s = seconds()
        report.fold.seconds += folded_s - started_s
        limited = cut < len(folded.events)
        self._chain(history.key, history.events[:cut] if limited else history.events, partition)
        chained_s = seconds()
        report.chain.seconds += chained_s - folded_s
        report.redecide.payments += 1
        report.redecide.events += cut
        if folded.failure is None or limited:
            PaymentRedecider(self._environment, history, folded, partition, cut).run(
                report.redecide
            )
        else:
            report.redecide.skip(NO_FOLD)
        report.redecide.seconds += seconds() - chained_s
        return suspect

    def mark(self, entry: Entry) -> None:
        """Account for the input of an event that is not folded."""
        try:
            self._account(self._environment.codec.decode(EVENTS, entry.value, entry.headers))
        except Undecodable:
            return  # fold names it

    def compare_again(self, history: History, partition: int, required: int) -> None:
        """The second look at a lifecycle record: now it has to be there."""
        folded = fold(self._environment.codec, history, partition)
        if folded.failure is None:
            failure, _ = compare_lifecycle(
                self._environment.codec, self._environment.rules_of, history, folded, partition,
                required,
            )  # fmt: skip
            if failure is not None:
                self._report.fold.fail(failure)

    # -- chain -------------------------------------------------------------------------------------

    def _own(self, history: History, partition: int) -> list[Entry]:
        """The events in the payment's own partition; every other is foreign."""
        own: list[Entry] = []
        for entry in history.events:
            if entry.partition == partition:
                own.append(entry)
                continue
            name = history.key.decode("utf-8", "replace")
            why = f"the key belongs to partition {partition}"
            self._report.chain.fail(
                Failure(FOREIGN_EVENT, name, 0, EVENTS, entry.partition, entry.offset, why)
            )
        return own

    def _chain(self, key: bytes, events: list[Entry], partition: int) -> None:
        chain = self._report.chain
        checker = ChainChecker(partition, MemoryHeads())
        for entry in events:
            found = checker.feed(entry.offset, key, entry.value)
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
        """How many events the limit lets in."""
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

    def _fold(self, history: History, folded: Folded, partition: int, cut: int) -> int | None:
        result = self._report.fold
        result.payments += 1
        result.events += cut
        if cut:
            self._show(folded.states[cut - 1], folded, history, cut)
        if folded.failure is not None and cut == len(folded.events):
            result.fail(folded.failure)
            return None
        if self._limit and cut < len(folded.events):
            result.skip(ENDS_EARLIER)
            return None
        failure, skipped = compare_lifecycle(
            self._environment.codec, self._environment.rules_of, history, folded, partition,
            len(folded.events),
        )  # fmt: skip
        if failure is not None and failure.kind in IN_FLIGHT_KINDS:
            return len(folded.events)
        if failure is not None:
            result.fail(failure)
            return None
        result.checked += 1
        if skipped is not None:
            result.skip(skipped)
        return None

    def _without_events(self, history: History, partition: int) -> None:
        """Inputs that made no payment are ordinary; a lifecycle record without events is not."""
        if history.lifecycle is not None and not self._limit:
            name = history.key.decode("utf-8", "replace")
            self._report.fold.fail(
                Failure(
                    LIFECYCLE_FOREIGN, name, 0, LIFECYCLE, partition, history.lifecycle.offset,
                    "the journal has no event of this payment",
                )
            )  # fmt: skip
        PaymentRedecider(self._environment, history, Folded(), partition).run(self._report.redecide)

    def _show(self, state: Payment, folded: Folded, history: History, cut: int) -> None:
        report = self._report
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
            funds=payment_state.current_funds(state),
            open_conflicts=payment_state.open_conflicts(state),
            waiting_for_person=payment_state.waiting_for_person(state),
            head_hash=folded.hashes[cut - 1].hex(),
            last_event=type(folded.events[cut - 1]).__name__,
        )

    # -- identity ----------------------------------------------------------------------------------

    def _identity(self, folded: Folded, history: History, partition: int) -> None:
        """The id is computed from source and key: while every payment has its own computed id, no
        two can have come of one source and key (IDM-05).
        """
        if not folded.events:
            return
        result = self._report.identity
        result.payments += 1
        result.checked += 1
        created = folded.events[0]
        if not isinstance(created, PaymentIntentCreated):
            return
        computed = payment_intent_id(created.source, created.idempotency_key)
        if computed != created.header.payment_intent_id:
            result.fail(
                Failure(
                    IDENTITY, created.header.payment_intent_id, 1, EVENTS, partition,
                    history.events[0].offset,
                    f"its source and idempotency key are those of payment {computed}",
                )
            )  # fmt: skip
