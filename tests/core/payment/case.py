"""given(inputs).when(input).then(events): the test language of the core.

Time is explicit, and every accepted input is folded again. The inputs are in dsl.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from core.decider import Accepted, Context, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Cause
from core.payment import commands as c
from core.payment.deadlines import with_deadline
from core.payment.decide import decide
from core.payment.evolve import evolve
from core.payment.state import Payment, money_outcome, pack, unpack
from core.refusals import NoEffectRule, Rule
from tests.core.payment.dsl import SOURCE, START, head, open_parties, rules

DEADLINES_MAX = 100  # per payment and test, so that no test loops forever


ORIGIN: dict[type, str] = {
    c.CreatePayment: "upstream",
    c.RailReport: "rail",
    c.DepositsResult: "deposits",
    c.PolicyVerdict: "resolve",
    c.ApprovalDecision: "resolve",
    c.NotificationResult: "notified",
    c.TimerDue: "timer",
}


class Case:
    """A payment with a clock. `when` decides each input twice; the second appends nothing."""

    def __init__(self, number: int = 1) -> None:
        self.state: Payment | None = None
        self.now = START
        self.offset = 0
        self.rules = rules(number)
        self.decision: Decision | None = None
        self.sources = frozenset({SOURCE})
        self.found: frozenset[str] = frozenset()
        self.history: list[Any] = []

    def context(self, command: Any, origin: Any = None) -> Context:
        if origin is None:
            operator = getattr(command, "operator", None)
            origin = ORIGIN.get(type(command), "upstream" if operator is None else "operator")
        self.offset += 1
        cause = Cause(
            cluster_id="cluster",
            topic=f"npp.{origin}",
            partition=0,
            offset=self.offset,
            input_hash=bytes(32),
            command_id="cmd",
        )
        return Context(
            now_ms=self.now,
            cause=cause,
            rules=self.rules,
            origin=origin,
            sources=self.sources,
            open_parties=open_parties,
            recovered_submissions=self.found,
        )

    def give(self, command: Any, origin: str | None = None) -> Decision:
        before = None if self.state is None else pack(self.state)
        decision = decide(self.state, command, self.context(command, origin))
        assert before == (None if self.state is None else pack(self.state)), (
            "decide changed its input"
        )
        if isinstance(decision, Accepted):
            assert decision.events, "an accepted input appends something"
            folded = self.state
            for event in decision.events:
                folded = evolve(folded, event)
            assert folded is not None
            assert with_deadline(folded, self.rules) == decision.state
            assert unpack(pack(decision.state)) == decision.state
            self.state = decision.state
            self.history += decision.events
        return decision

    def given(self, *commands: Any) -> Self:
        for command in commands:
            decision = self.give(command)
            assert isinstance(decision, Accepted), f"{command} gave {decision}"
        return self

    def later(self, milliseconds: int) -> Self:
        self.now += milliseconds
        return self

    def when(self, command: Any, origin: str | None = None) -> Self:
        self.decision = self.give(command, origin)
        if isinstance(self.decision, Accepted) and not isinstance(command, c.TimerDue):
            again = self.give(command, origin)
            assert not isinstance(again, Accepted), f"{command} was done twice: {again}"
        return self

    def then(self, *names: str) -> Self:
        """The names of the appended events, in order. `Name:word` also requires the word in the
        event.
        """
        assert isinstance(self.decision, Accepted), self.decision
        made = [type(event).__name__ for event in self.decision.events]
        assert made == [name.partition(":")[0] for name in names]
        for name, event in zip(names, self.decision.events, strict=True):
            word = name.partition(":")[2]
            assert not word or f"'{word}'" in repr(event), f"{word} is not in {event}"
        return self

    def instructs(self, *kinds: str) -> Self:
        """The kind or operation of each instruction, in order."""
        assert isinstance(self.decision, Accepted), self.decision
        made = [
            getattr(x, "operation", None) or getattr(x, "kind", None) or type(x).__name__
            for x in self.decision.instructions
        ]
        assert made == list(kinds)
        return self

    def refuses(self, rule: Rule) -> Self:
        assert isinstance(self.decision, Refusal), self.decision
        assert (self.decision.code, self.decision.rule) == (rule.code, rule.name), self.decision
        assert "{" not in self.decision.sentence
        return self

    def has_no_effect(self, rule: NoEffectRule | None = None) -> Self:
        assert isinstance(self.decision, NoEffect), self.decision
        assert rule is None or self.decision.rule == rule.name, self.decision
        return self

    def is_duplicate(self, first: int | None = None, last: int | None = None) -> Self:
        assert isinstance(self.decision, Duplicate), self.decision
        if first is not None:
            assert (self.decision.from_sequence, self.decision.to_sequence) == (first, last)
        return self

    def is_unmatched(self) -> Self:
        assert isinstance(self.decision, Unmatched), self.decision
        return self

    def is_in(self, state: str, money: str | None = None, funds: str | None = None) -> Self:
        payment = self.payment
        assert payment.state == state
        assert money is None or money_outcome(payment) == money
        assert funds is None or payment.attempt.funds == funds
        return self

    @property
    def events(self) -> list[Any]:
        """The events that the last decision appended."""
        assert isinstance(self.decision, Accepted), self.decision
        return self.decision.events

    @property
    def instructions(self) -> list[Any]:
        """The instructions of the last decision."""
        assert isinstance(self.decision, Accepted), self.decision
        return self.decision.instructions

    @property
    def sentence(self) -> str:
        """The text of the last refusal."""
        assert isinstance(self.decision, Refusal), self.decision
        return self.decision.sentence

    def event(self, kind: type) -> Any:
        """The only event of that kind in the last decision."""
        (found,) = (event for event in self.events if isinstance(event, kind))
        return found

    def timer(self) -> Self:
        """Fire the payment's own deadline."""
        payment = self.payment
        assert payment.deadline is not None, "the payment waits for no time"
        assert payment.deadline_kind is not None
        self.now = max(self.now, payment.deadline)
        return self.when(
            c.TimerDue(header=head(), kind=payment.deadline_kind, deadline=payment.deadline)
        )

    def timers_while(self, goes_on: Callable[[], bool]) -> Iterator[None]:
        """Fire deadlines while `goes_on` is true; yield after each."""
        for _ in range(DEADLINES_MAX):
            if not goes_on():
                return
            self.timer()
            yield
        raise AssertionError(f"it goes on after {DEADLINES_MAX} deadlines")

    def timers_until(self, done: Callable[[], bool]) -> Self:
        """Fire deadlines until `done` is true."""
        for _ in self.timers_while(lambda: not done()):
            pass
        return self

    def timer_until(self, kind: str) -> Self:
        """Fire deadlines up to and including the first of `kind`."""
        for _ in range(DEADLINES_MAX):
            due = self.payment.deadline_kind
            self.timer()
            if due == kind:
                return self
        raise AssertionError(f"no deadline of kind {kind} came")

    @property
    def payment(self) -> Payment:
        assert self.state is not None
        return self.state


def given(*commands: Any) -> Case:
    return Case().given(*commands)
