"""The judge applies every law to every step. It sees the public records and the outside's truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from core.payment.commands import DepositsResult, RailReport
from core.payment.instructions import DepositsRequest
from core.payment.state import at_rest, money_outcome, waiting_for_person
from tests.model.book import Book
from tests.model.bookkeeping import apply
from tests.model.laws import history, money, people, rail
from tests.model.step import Step, Truth, Violation, certain, take_in
from tests.model.vocabulary import UNSENT, content, reference

EventLaw = Callable[[Step, Book, Any], Iterator[str]]
StepLaw = Callable[[Step, Book], Iterator[str]]
TruthLaw = Callable[[Step, Book, Any, Truth], Iterator[str]]

# Before the event is added up.
EVENT_LAWS: Final[dict[str, tuple[EventLaw, ...]]] = {
    "PaymentSentToRail": (rail.send,),
    "PaymentAttemptCreated": (rail.retry,),
    "PaymentFailed": (
        rail.claim,
        rail.unsent_is_certain,
        rail.failure_safe,
        rail.ended_by,
    ),
    "PaymentExpired": (rail.claim, rail.ended_by),
    "NonPaymentConfirmed": (rail.claim,),
    "PaymentSettled": (rail.settled_amount,),
    "PaymentReturned": (rail.returned,),
    "ReconciliationRequired": (rail.same_conflict,),
    "FundsRequested": (money.requested, money.hold_has_end),
    "FundsHeld": (money.moved,),
    "FundsCaptured": (money.moved,),
    "FundsReleased": (money.moved,),
    "FundsDebitForced": (money.moved,),
    "FundsReversed": (money.moved,),
    "FundsCredited": (money.moved,),
    "FundsHoldTransferred": (money.transferred,),
    "OperatorActionRequested": (people.frozen,),
}
EVERY_EVENT: Final[tuple[EventLaw, ...]] = (history.header, history.transition)
TRUTH_LAWS: Final[dict[str, tuple[TruthLaw, ...]]] = {
    "PaymentSentToRail": (rail.truth_unpaid,),
    "PaymentAttemptCreated": (rail.truth_unpaid,),
    "PaymentFailed": (rail.truth_certain,),
    "PaymentExpired": (rail.truth_certain,),
    "NonPaymentConfirmed": (rail.truth_certain,),
}
BEFORE: Final[tuple[StepLaw, ...]] = (
    history.outcome,
    history.report_refused,
    history.known_input,
    rail.blocked,
    rail.verdict,
    rail.kept,
    rail.applies,
    rail.cancel_named,
    money.answer_taken,
    money.timer_ends_early,
    people.gated,
    people.roles,
    people.second_person,
    people.request,
)
AFTER: Final[tuple[StepLaw, ...]] = (
    history.beside,
    history.waiting_inputs,
    rail.instruction_refs,
    money.given_back,
    money.exposure,
    money.waits,
    money.settled_up,
)


class Judge:
    """Keeps the book of one payment and reports which laws a step breaks."""

    def __init__(self, truth: Truth, without: frozenset[str] = frozenset()) -> None:
        self.truth, self.without = truth, without
        self.book = Book()
        self.seen: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
        self.message_ids: set[str] = set()

    def step(self, step: Step) -> list[Violation]:
        """All laws of one step, in order; afterwards the book includes the step."""
        return [each for each in self._step(step) if each.law not in self.without]

    def _step(self, step: Step) -> list[Violation]:
        found: list[Violation] = []
        book = self.book
        key = content(step.command)
        step.seen = key in self.seen
        report = step.command
        if type(report) is RailReport and report.rail_message_id is not None:
            step.fresh = report.rail_message_id not in self.message_ids
            self.message_ids.add(report.rail_message_id)
        for each in book.tries:
            if reference(each.number) in step.context.recovered_submissions:
                each.found = True
        for law in BEFORE:
            found += [Violation(law.__name__, text) for text in law(step, book)]
        if step.accepted and type(step.command) is DepositsResult:
            book.answered(step.command)
        for event in step.events:
            name = type(event).__name__
            for event_law in (*EVERY_EVENT, *EVENT_LAWS.get(name, ())):
                found += [Violation(event_law.__name__, t) for t in event_law(step, book, event)]
            for truth_law in TRUTH_LAWS.get(name, ()):
                texts = truth_law(step, book, event, self.truth)
                found += [Violation(truth_law.__name__, text) for text in texts]
            apply(book, event)
        return found + self._after(step, key)

    def _after(self, step: Step, key: tuple[Any, ...]) -> list[Violation]:
        book, found = self.book, []
        for instruction in step.instructions:
            if type(instruction) is DepositsRequest:
                book.instructed(instruction)
        if step.accepted:
            first, last = step.events[0].header.sequence, step.events[-1].header.sequence
            self.seen.setdefault(key, []).append((first, last))
        take_in(book, step)
        for law in AFTER:
            found += [Violation(law.__name__, text) for text in law(step, book)]
        if step.accepted:
            found += self._state(step.after)
        return found

    def _state(self, state: Any) -> Iterator[Violation]:
        """Core's state compared with its history."""
        book = self.book
        said = money_outcome(state)
        if said not in book.money_outcomes():
            wanted = sorted(book.money_outcomes())
            yield Violation("money_outcome", f"it is {said}, by the reports {wanted}")
        if at_rest(state):
            for text in money.nothing_held(book):
                yield Violation("at_rest", text)
            if state.deadline is not None:
                yield Violation("at_rest", f"it waits for {state.deadline_kind}")
            if waiting_for_person(state):
                yield Violation("at_rest", "it waits for a person")
        for each in book.tries:
            wrong = each.claimed and not certain(each) and not each.settled
            if wrong and not book.open_conflicts() and each.state not in UNSENT:
                yield Violation(
                    "certain_against_evidence",
                    f"attempt {each.number}: {sorted(each.grounds)}, {sorted(each.evidence)}",
                )

    def waited(self, now: int) -> list[Violation]:
        """After every due timer was given: what must have happened by time alone."""
        texts = money.hold_repeated(self.book, now)
        found = [Violation("hold_repeated", text) for text in texts]
        return [each for each in found if each.law not in self.without]
