"""The judge: applies every law to every step. It sees what everybody sees, and the truth beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from core.payment.commands import DepositsResult, RailReport
from core.payment.instructions import DepositsRequest
from core.payment.state import at_rest, money_outcome, waiting_for_person
from tests.model import laws_history, laws_money, laws_people, laws_rail
from tests.model.book import Book
from tests.model.bookkeeping import apply
from tests.model.step import Step, Truth, Violation, certain, take_in
from tests.model.vocabulary import UNSENT, content, reference

EventLaw = Callable[[Step, Book, Any], Iterator[str]]
StepLaw = Callable[[Step, Book], Iterator[str]]
TruthLaw = Callable[[Step, Book, Any, Truth], Iterator[str]]

# Before the event is added up.
EVENT_LAWS: Final[dict[str, tuple[EventLaw, ...]]] = {
    "PaymentSentToRail": (laws_rail.send,),
    "PaymentAttemptCreated": (laws_rail.retry,),
    "PaymentFailed": (
        laws_rail.claim,
        laws_rail.unsent_is_certain,
        laws_rail.failure_safe,
        laws_rail.ended_by,
    ),
    "PaymentExpired": (laws_rail.claim, laws_rail.ended_by),
    "NonPaymentConfirmed": (laws_rail.claim,),
    "PaymentSettled": (laws_rail.settled_amount,),
    "PaymentReturned": (laws_rail.returned,),
    "ReconciliationRequired": (laws_rail.same_conflict,),
    "FundsRequested": (laws_money.asked, laws_money.hold_has_end),
    "FundsHeld": (laws_money.moved,),
    "FundsCaptured": (laws_money.moved,),
    "FundsReleased": (laws_money.moved,),
    "FundsDebitForced": (laws_money.moved,),
    "FundsReversed": (laws_money.moved,),
    "FundsCredited": (laws_money.moved,),
    "FundsHoldTransferred": (laws_money.transferred,),
    "OperatorActionRequested": (laws_people.frozen,),
}
EVERY_EVENT: Final[tuple[EventLaw, ...]] = (laws_history.header, laws_history.transition)
TRUTH_LAWS: Final[dict[str, tuple[TruthLaw, ...]]] = {
    "PaymentSentToRail": (laws_rail.truth_unpaid,),
    "PaymentAttemptCreated": (laws_rail.truth_unpaid,),
    "PaymentFailed": (laws_rail.truth_certain,),
    "PaymentExpired": (laws_rail.truth_certain,),
    "NonPaymentConfirmed": (laws_rail.truth_certain,),
}
BEFORE: Final[tuple[StepLaw, ...]] = (
    laws_history.outcome,
    laws_history.report_refused,
    laws_history.known_input,
    laws_rail.blocked,
    laws_rail.verdict,
    laws_rail.kept,
    laws_rail.applies,
    laws_rail.cancel_named,
    laws_money.answer_taken,
    laws_money.timer_ends_early,
    laws_people.gated,
    laws_people.roles,
    laws_people.second_person,
    laws_people.request,
)
AFTER: Final[tuple[StepLaw, ...]] = (
    laws_history.beside,
    laws_history.waiting_inputs,
    laws_rail.instruction_refs,
    laws_money.given_back,
    laws_money.exposure,
    laws_money.waits,
    laws_money.settled_up,
)


class Judge:
    """Keeps the book of one payment and says which laws a step breaks."""

    def __init__(self, truth: Truth, without: frozenset[str] = frozenset()) -> None:
        self.truth, self.without = truth, without
        self.book = Book()
        self.seen: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
        self.message_ids: set[str] = set()

    def step(self, step: Step) -> list[Violation]:
        """All laws of one step, in order; the book afterwards knows the step."""
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
        """What core says of the state beside its history."""
        book = self.book
        said = money_outcome(state)
        if said not in book.money_outcomes():
            wanted = sorted(book.money_outcomes())
            yield Violation("money_outcome", f"it is {said}, by the reports {wanted}")
        if at_rest(state):
            for text in laws_money.nothing_held(book):
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
        """After every due timer was given: what time alone must have made happen."""
        texts = laws_money.hold_repeated(self.book, now)
        found = [Violation("hold_repeated", text) for text in texts]
        return [each for each in found if each.law not in self.without]
