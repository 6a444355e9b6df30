"""Plays the moves of one sequence: `decide` gets each input and the judge each step."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from core.decider import Accepted, Context, NoEffect
from core.payment.commands import RailReport, TimerDue
from core.payment.decide import decide
from core.payment.state import pack
from tests.model.laws.judge import Judge
from tests.model.laws.probe import verdicts
from tests.model.outside.world import World
from tests.model.step import Step, Violation
from tests.model.vocabulary import (
    SOURCE,
    START,
    STATE_BYTES_MAX,
    Move,
    cause,
    head,
    open_parties,
    origin_of,
    reference,
    rules,
)

TIMERS_AT_ONCE_MAX = 400  # more due timers in one pass would never end
SOURCES = frozenset({SOURCE})


class Stop(Exception):
    """A law was broken; the sequence ends here."""


@dataclass
class Play:
    """One payment, its outside and its judge."""

    world: World = field(default_factory=World)
    state: Any = None
    packed: bytes = b""
    now: int = START
    offset: int = 0
    inputs: int = 0
    found: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()  # excluded laws, to find other violations
    violations: list[Violation] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.judge = Judge(self.world.truth, self.without)
        self.world.now = self.now

    def run(self, moves: list[Move]) -> list[Violation]:
        """Play the moves until the first broken law."""
        try:
            for move in moves:
                self.play(move)
        except Stop:
            pass
        return self.violations

    def play(self, move: Move) -> None:
        """Play one move. Raises Stop if a law is broken."""
        match move.name:
            case "later":
                args = move.args
                self.wait(args["ms"], late=args.get("late", False), behind=args.get("behind", 0))
            case "lose":
                self.lose(move.args["inputs"], move.args["order"])
            case "probe":
                self.probe(move.args["which"])
            case "repeat":
                for _ in range(move.args["times"]):
                    for name, args in move.args["moves"]:
                        self.play(Move(name, _numbered(args, self.inputs)))
            case _:
                for command, origin in self.world.play(move):
                    self.give(command, origin)

    def break_law(self, law: str, detail: str) -> None:
        """Raises Stop, unless the law is excluded."""
        if law in self.without:
            return
        self.violations.append(Violation(law, detail))
        raise Stop

    # -- one input ----------------------------------------------------------------------------

    def context(self, origin: Any) -> Context:
        self.offset += 1
        return Context(
            now_ms=self.now,
            cause=cause(origin, self.offset),
            rules=rules(),
            origin=origin,
            sources=SOURCES,
            open_parties=open_parties,
            recovered_submissions=self.found,
        )

    def give(self, command: Any, origin: str | None = None) -> Any:
        """Decide one input, judge it, and give it again: the repeat must change nothing."""
        origin = origin or origin_of(command)
        decision = self._decide(command, origin)
        if type(decision) is Accepted and not self._due_again(command):
            again = self._decide(command, origin)
            if type(again) is Accepted:
                names = [type(event).__name__ for event in again.events]
                self.break_law("twice", f"{type(command).__name__} was done twice: {names}")
        return decision

    def _due_again(self, command: Any) -> bool:
        """Several deadlines of the payment fall due at one moment: the same timer once for each."""
        waits = (self.state.deadline_kind, self.state.deadline)
        return type(command) is TimerDue and waits == (command.kind, command.deadline)

    def _decide(self, command: Any, origin: str) -> Any:
        self.inputs += 1
        context, before = self.context(origin), self.state
        try:
            decision = decide(before, command, context)
        except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.break_law("raises", f"{type(error).__name__}: {error} ({where.name})")
            return NoEffect(rule="RAISED", sentence=str(error))
        if before is not None and pack(before) != self.packed:
            self.break_law("mutates", f"{type(command).__name__} changed the state it was given")
        after = decision.state if isinstance(decision, Accepted) else before
        step = Step(command, origin, context, decision, before, after)
        self.steps.append(step)
        found = self.judge.step(step)
        if isinstance(decision, Accepted):
            self.state, self.packed = after, pack(after)
            if len(self.packed) > STATE_BYTES_MAX:
                self.break_law("state_bounded", f"the packed state has {len(self.packed)} bytes")
            self.world.learned(decision.events)
            for instruction in decision.instructions:
                self.world.receive(instruction)
        if found:
            self.violations += found
            raise Stop
        return decision

    def probe(self, which: int) -> None:
        """Which verdicts an open conflict accepts, without changing the payment."""
        conflicts = self.judge.book.open_conflicts()
        if not conflicts:
            return
        conflict = conflicts[which % len(conflicts)]
        context = self.context("operator")
        for text in verdicts(self.state, context, self.judge.book, conflict):
            self.break_law("verdict_matrix", text)

    # -- time ---------------------------------------------------------------------------------

    def wait(self, milliseconds: int, *, late: bool, behind: int = 0) -> None:
        """The clock advances; timers come when due, or all at the end if `late`.

        `behind`: milliseconds by which the clock that reads the timer is behind the one that made
        it.
        """
        target = self.now + milliseconds
        if late:
            self._set(target)
        for _ in range(TIMERS_AT_ONCE_MAX):
            state = self.state
            if state is None or state.deadline is None or state.deadline > target:
                break
            self._set(max(self.now, state.deadline - behind))
            before = self.state
            self.give(
                TimerDue(header=head(), kind=state.deadline_kind, deadline=state.deadline), "timer"
            )
            if self.state is before:
                self.break_law("timer", f"{state.deadline_kind} is due and changes nothing")
        else:
            self.break_law("timer", "timers without end")
        self._set(target)
        found = self.judge.waited(self.now)
        if found:
            self.violations += found
            raise Stop

    def _set(self, now: int) -> None:
        self.now = max(self.now, now)
        self.world.now = self.now

    # -- a lost log tail ----------------------------------------------------------------------

    def lose(self, inputs: int, order: int) -> None:
        """The last inputs' events are lost; a recovery names the instructions; the inputs come
        again.

        `order` 0: as they came; otherwise the reports come first.
        """
        kept = self.steps[: max(0, len(self.steps) - inputs)]
        lost = self.steps[len(kept) :]
        if not lost or not kept or kept[-1].after is None:
            return
        submitted = {
            reference(event.header.attempt)
            for step in lost
            for event in step.made("PaymentSentToRail")
        }
        self.found = self.found | submitted
        self.world.bank.lied = True  # the requests of the lost events are unknown now
        self.judge = Judge(self.world.truth, self.without)
        self.steps = []
        for step in kept:
            self.judge.step(step)
            self.steps.append(step)
        self.state = kept[-1].after
        self.packed = pack(self.state)
        self._set(self.now + 1_000)
        again = [step for step in lost if step.name != "TimerDue"]
        if order:
            again.sort(key=lambda step: step.origin == "operator")
        for step in again:
            if type(step.command) is RailReport:
                self.world.judge_lie(step.command)
            self._decide(step.command, step.origin)
        for ref in sorted(submitted):
            self._unmade(ref)

    def _unmade(self, ref: str) -> None:
        """`npp control recover` itself reports instructions that no input repeats."""
        numbers = [each.number for each in self.judge.book.tries]
        if any(reference(number) == ref for number in numbers):
            return
        report = self.world.rail.report(int(ref[27:]), "ALREADY_SUBMITTED", "SUBMITTED")
        self._decide(report, "rail")


def _numbered(args: dict[str, Any], number: int) -> dict[str, Any]:
    """The value "#" gives a new word each time, "+" a new amount."""
    new = {"#": f"N{number}", "+": number + 1}
    return {k: new.get(v, v) if isinstance(v, str) else v for k, v in args.items()}
