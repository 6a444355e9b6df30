"""Short functions for handwritten sequences: each is one or a few moves."""

from __future__ import annotations

from typing import Any

from core.decider import Accepted, Refusal
from core.payment.state import at_rest
from tests.model.book import Book, Hold
from tests.model.outside.quiet import Quiet
from tests.model.play import Play, Stop
from tests.model.vocabulary import APPROVER, SENIOR, Move

Moves = list[Move]


def create(**args: Any) -> Moves:
    return [Move("create", args)]


def policy(verdict: str = "PASSED") -> Moves:
    return [Move("policy", {"which": -1, "verdict": verdict, "how": "now"})]


def bank(which: int = -1, mode: str = "do", how: str = "now", **more: Any) -> Moves:
    """Deposits Core processes one of its requests, by default the latest."""
    return [Move("bank", {"which": which, "mode": mode, "how": how, **more})]


def bank_says(result: str, which: int = -1, code: str | None = None) -> Moves:
    return [Move("bank_says", {"which": which, "result": result, "hold": True, "code": code})]


def submit(how: str = "done", attempt: int = 0) -> Moves:
    return [Move("submit", {"attempt": attempt, "how": how})]


def settle(attempt: int = 0, how: str = "now", off: int = 0) -> Moves:
    return [Move("rail_settle", {"attempt": attempt, "off": off, "how": how})]


def rail(status: str, code: str | None = None, attempt: int = 0) -> Moves:
    """The rail decides and reports at once."""
    return [Move("rail_move", {"attempt": attempt, "status": status, "code": code, "how": "now"})]


def answer(which: int = -1, *, accept: bool = True) -> Moves:
    """The adapter answers one of its instructions, by default the latest."""
    return [Move("rail_answer", {"which": which, "accept": accept, "how": "now"})]


def enquiry(attempt: int = 0) -> Moves:
    return [Move("rail_enquiry", {"attempt": attempt, "how": "now"})]


def returns(amount: int, attempt: int = 0) -> Moves:
    return [Move("rail_return", {"attempt": attempt, "amount": amount, "how": "now"})]


def says(kind: str, attempt: int = 0, **args: Any) -> Moves:
    return [Move("rail_says", {"attempt": attempt, "kind": kind, **args})]


def later(milliseconds: int, *, late: bool = False) -> Moves:
    return [Move("later", {"ms": milliseconds, "late": late})]


def approved(action: str, **params: Any) -> Moves:
    """Requested, referred, approved by a person; not yet done."""
    return [
        Move("ask", {**params, "action": action, "who": SENIOR}),
        Move("resolve", {"which": -1, "verdict": "REFERRED", "how": "now"}),
        Move("person", {"which": -1, "verdict": "APPROVED", "who": APPROVER}),
    ]


def act(action: str, **params: Any) -> Moves:
    action = "RETRY" if action == "RETRY_UNCERTAIN" else action
    return [Move("act", {**params, "action": action, "who": SENIOR})]


def gated(action: str, **params: Any) -> Moves:
    return approved(action, **params) + act(action, **params)


def verdict(word: str, conflict: int = 1, attempt: int = 1, **more: Any) -> Moves:
    params = {"conflict": conflict, "attempt": attempt, "verdict": word, **more}
    return gated("RESOLVE_RECONCILIATION", **params)


SENT: Moves = [*create(), *policy(), *bank()]
SUBMITTED: Moves = [*SENT, *submit()]
SETTLED: Moves = [*SUBMITTED, *rail("ACCEPTED"), *settle()]
CAPTURED: Moves = [*SETTLED, *bank()]
MARKED: Moves = [*SUBMITTED, *gated("MARK_FAILED", failure_reason="RAIL")]


class Story:
    """A play in which no law may be broken."""

    def __init__(self, *moves: Moves) -> None:
        self.play = Play()
        self.go(*moves)

    def go(self, *moves: Moves) -> Story:
        for part in moves:
            self.play.run(part)
        self._lawful()
        return self

    def _lawful(self) -> None:
        broken = "\n".join(f"{each.law}: {each.detail}" for each in self.play.violations)
        assert not broken, broken

    def rest(self) -> Story:
        """The outside is honest until the payment is at rest."""
        try:
            Quiet(self.play).run(honest=True)
        except Stop:
            self._lawful()
        assert at_rest(self.play.state)
        return self

    @property
    def book(self) -> Book:
        return self.play.judge.book

    @property
    def state(self) -> str | None:
        return self.book.state

    @property
    def conflicts(self) -> list[str]:
        """The kinds of the open conflicts."""
        return [each.kind for each in self.book.open_conflicts()]

    @property
    def last(self) -> Any:
        """The decision of the last input that was not a repeat."""
        steps = self.play.steps
        return steps[-2].decision if len(steps) > 1 and steps[-2].accepted else steps[-1].decision

    @property
    def refused(self) -> str | None:
        """The rule of the last decision, if it was a refusal."""
        decision = self.play.steps[-1].decision
        return decision.rule if type(decision) is Refusal else None

    @property
    def accepted(self) -> bool:
        return type(self.last) is Accepted

    @property
    def held(self) -> int:
        return sum(hold.left for hold in self.book.holds)

    @property
    def holds(self) -> list[Hold]:
        return self.book.holds

    @property
    def open(self) -> list[str]:
        """Operations that Deposits Core has not answered."""
        return [ask.operation for ask in self.book.open_asks()]

    def debited(self, attempt: int = 1) -> int:
        """What Deposits Core confirmed, less what it gave back."""
        return self.book.taken.get(attempt, 0) - self.book.given.get(attempt, 0)

    @property
    def ledger(self) -> tuple[int, int]:
        """At Deposits Core: held, and debited less given back."""
        mine = self.play.world.bank
        return mine.held(), mine.debited - mine.given_back
