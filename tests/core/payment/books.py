"""Recomputes the money of one payment from its events alone, and checks the funds invariant (domain
§3).

It reads no state and calls none of core's sums, so that it can contradict them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from core.decider import Accepted, Decision
from core.payment import events as e
from tests.core.payment.case import Case


class Attempt:
    """What the events say about one attempt. Amounts in cents."""

    def __init__(self) -> None:
        self.held = 0
        self.taken = 0
        self.given_back = 0
        self.settled = 0
        self.may_settle = False
        self.judged = False
        self.open: dict[str, int] = {}  # fundsRef -> amount of each unanswered request
        self.conflicts: set[str] = set()
        self.refused: set[str] = set()

    def opened(self, *letters: str) -> int:
        return sum(amount for ref, amount in self.open.items() if ref[30] in letters)

    def close_releases(self) -> None:
        """With nothing held, the release that names the hold has ended."""
        if self.held <= 0:
            self.open = {ref: amount for ref, amount in self.open.items() if ref[30] != "R"}

    @property
    def debited(self) -> int:
        """Taken less given back. Excludes money with an open or refused refund request."""
        left = self.taken - self.given_back - self.opened("V", "K")
        return min(left, self.settled) if self.refused & {"REVERSE", "CREDIT"} else left

    @property
    def blocked(self) -> int:
        """Held or requested to be held. Excludes an open release, a refused release, and what a
        capture leaves over until it is answered.
        """
        if "RELEASE" in self.refused:
            return 0
        captures = self.opened("C")
        return captures or max(0, self.held + self.opened("H") - self.opened("R"))


class Books:
    """All attempts of one payment."""

    def __init__(self, history: Iterable[Any]) -> None:
        self.amount = 0
        self.attempts: defaultdict[int, Attempt] = defaultdict(Attempt)
        self.conflict_attempt: dict[str, int] = {}
        for event in history:
            self.add(event)

    def add(self, event: Any) -> None:
        mine = self.attempts[event.header.attempt]
        match event:
            case e.PaymentIntentCreated():
                self.amount, mine.may_settle = event.amount, True
            case e.PaymentAttemptCreated():
                mine.may_settle = True
            case e.PaymentSettled():
                mine.settled, mine.may_settle = event.amount, False
            case e.PaymentFailed() | e.PaymentExpired():
                mine.may_settle = not event.non_payment_certain and not mine.judged
            case e.NonPaymentConfirmed():
                mine.may_settle = False
            case e.ReconciliationRequired():
                mine.conflicts.add(event.conflict_id)
                self.conflict_attempt[event.conflict_id] = event.header.attempt
            case e.ReconciliationResolved():
                self._resolved(mine, event)
            case _:
                self._funds(mine, event)

    def _resolved(self, mine: Attempt, event: e.ReconciliationResolved) -> None:
        self.attempts[self.conflict_attempt[event.conflict_id]].conflicts.discard(event.conflict_id)
        if event.verdict in ("SETTLED_AFTER_ALL", "AMOUNT_ACCEPTED", "RETURNED"):
            accepted = event.amount if event.verdict == "AMOUNT_ACCEPTED" else None
            mine.settled = accepted or mine.settled or self.amount
        elif event.verdict == "NOT_PAID":
            mine.settled = 0
        if event.verdict != "REPORT_WRONG":
            mine.may_settle, mine.judged = False, True

    def _funds(self, mine: Attempt, event: Any) -> None:
        match event:
            case e.FundsRequested():
                mine.open[event.funds_ref] = event.amount
                mine.refused.discard(event.operation)
                return
            case e.FundsRequestFailed() if event.result == "FAILED":
                return
            case e.FundsRequestFailed():
                mine.refused.add(event.operation)
            case e.FundsHeld():
                mine.held += event.amount
            case e.FundsHoldDeclined():
                mine.close_releases()
            case e.FundsCaptured():
                mine.held -= event.amount
                mine.taken += event.amount
            case e.FundsReleased():
                mine.held -= event.amount
            case e.FundsDebitForced():
                mine.taken += event.amount
            case e.FundsReversed() | e.FundsCredited():
                mine.given_back += event.amount
            case e.FundsHoldTransferred():
                self.attempts[event.from_attempt].held -= event.amount
                self.attempts[event.to_attempt].held += event.amount
        reference = getattr(event, "funds_ref", None)
        if reference is not None:
            mine.open.pop(reference, None)

    # -- -- invariants -----------------------------------------------------------------------------

    def check(self) -> None:
        """Debited + held never exceeds what has settled plus what may still settle."""
        debited = sum(each.debited for each in self.attempts.values())
        blocked = sum(each.blocked for each in self.attempts.values())
        settled = sum(each.settled for each in self.attempts.values())
        may = sum(
            self.amount
            for each in self.attempts.values()
            if each.may_settle or (each.conflicts and not each.settled)
        )
        said = f"debited {debited} + held {blocked} > settled {settled} + may settle {may}"
        assert debited + blocked <= settled + may, said
        for each in self.attempts.values():
            assert each.held >= 0, "more left the hold than was held"
            assert each.given_back <= each.taken, "more was given back than was taken"

    def totals(self) -> tuple[int, int, int]:
        """(still held, taken less given back, settled) over all attempts."""
        every = self.attempts.values()
        return (
            sum(each.held for each in every),
            sum(each.taken - each.given_back for each in every),
            sum(each.settled for each in every),
        )


class Watched(Case):
    """A case whose books are checked after every input that appends an event."""

    def give(self, command: Any, origin: str | None = None) -> Decision:
        decision = super().give(command, origin)
        if isinstance(decision, Accepted):
            self.books.check()
        return decision

    @property
    def books(self) -> Books:
        return Books(self.history)


def watched(*commands: Any) -> Watched:
    case = Watched()
    case.given(*commands)
    return case
