"""Money: does what the events say was held, taken and given back add up to what was settled?

The rules are domain §3's, judged from one payment's events alone. Nothing of core's own bookkeeping
is used, so a wrong decision that replays byte for byte is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from core.payment import events as e
from core.payment.events import Event
from core.values import CURRENCY, Cents, format_amount
from processors.replay.books import (
    FINAL,
    FUNDS_CONTRADICTION,
    GIVING,
    OPEN,
    REFUSED,
    TAKING,
    Account,
    Books,
    Request,
)

NOT_ASKED: Final = "NOT_ASKED"
MOVED_TWICE: Final = "MOVED_TWICE"
MOVED_OTHER_AMOUNT: Final = "MOVED_OTHER_AMOUNT"
HOLD_OVERDRAWN: Final = "HOLD_OVERDRAWN"
HOLD_ASKED_TWICE: Final = "HOLD_ASKED_TWICE"
HOLD_MOVED_WHILE_ASKED: Final = "HOLD_MOVED_WHILE_ASKED"
CAPTURED_TWICE: Final = "CAPTURED_TWICE"
TAKEN_BEYOND_SETTLED: Final = "TAKEN_BEYOND_SETTLED"
TAKEN_AGAIN_UNAPPROVED: Final = "TAKEN_AGAIN_UNAPPROVED"
BLOCKED_BEYOND_SETTLED: Final = "BLOCKED_BEYOND_SETTLED"
GIVEN_BACK_BEYOND_TAKEN: Final = "GIVEN_BACK_BEYOND_TAKEN"
RELEASED_UNCERTAIN: Final = "RELEASED_UNCERTAIN"
SETTLED_OTHER_AMOUNT: Final = "SETTLED_OTHER_AMOUNT"
RETURNED_WRONGLY: Final = "RETURNED_WRONGLY"
HELD_AT_REST: Final = "HELD_AT_REST"
NOT_EVEN_AT_REST: Final = "NOT_EVEN_AT_REST"
NOT_AT_REST: Final = "NOT_AT_REST"

_LEDGER: Final = "Compare with Deposits Core's ledger and put it right there; report the defect."
_STOP: Final = "Stop processing, put it right at Deposits Core, report the defect."
_ASK_RAIL: Final = "Stop processing, ask the rail what it settled or returned, report the defect."
# What a person does about each finding.
TO_DO: Final[dict[str, str]] = {
    NOT_ASKED: _LEDGER,
    MOVED_TWICE: _LEDGER,
    MOVED_OTHER_AMOUNT: _LEDGER,
    HOLD_OVERDRAWN: _LEDGER,
    HOLD_ASKED_TWICE: _STOP,
    HOLD_MOVED_WHILE_ASKED: _STOP,
    CAPTURED_TWICE: _STOP,
    TAKEN_BEYOND_SETTLED: _STOP,
    TAKEN_AGAIN_UNAPPROVED: _STOP,
    BLOCKED_BEYOND_SETTLED: _STOP,
    GIVEN_BACK_BEYOND_TAKEN: _STOP,
    RELEASED_UNCERTAIN: _ASK_RAIL,
    SETTLED_OTHER_AMOUNT: _ASK_RAIL,
    RETURNED_WRONGLY: _ASK_RAIL,
    HELD_AT_REST: "Release the hold at Deposits Core by hand, report the defect.",
    NOT_EVEN_AT_REST: _STOP,
    NOT_AT_REST: "Nobody is told that this payment waits: follow it up, report the defect.",
}
_MOVES: Final[dict[type, str]] = {
    e.FundsHeld: "HOLD",
    e.FundsCaptured: "CAPTURE",
    e.FundsReleased: "RELEASE",
    e.FundsDebitForced: "DEBIT_FORCED",
    e.FundsReversed: "REVERSE",
    e.FundsCredited: "CREDIT",
}
Movement = (
    e.FundsHeld
    | e.FundsCaptured
    | e.FundsReleased
    | e.FundsDebitForced
    | e.FundsReversed
    | e.FundsCredited
)


class Finding(msgspec.Struct, frozen=True):
    """What is wrong at one event, and what a person does about it."""

    kind: str
    sequence: int
    sentence: str


class Money:
    """One payment's money, judged once."""

    def __init__(self) -> None:
        self._books = Books()
        self._findings: list[Finding] = []
        self._sequence = 0
        self._blocking: str | None = None  # asked for in this decision, judged at its end

    def check(
        self, events: Sequence[Event], *, whole: bool = True, at_rest: bool = False
    ) -> list[Finding]:
        """The first finding of each kind, in order. `whole`: the last event ends its decision.
        `at_rest`: the lifecycle record says that after it nothing is outstanding.
        """
        for index, event in enumerate(events):
            self._sequence = event.header.sequence
            self._before(event)
            self._books.post(event)
            self._after(event)
            following = events[index + 1] if index + 1 < len(events) else None
            if _decision(following) != _decision(event) if following is not None else whole:
                self._blocks()
                self._at_the_end_of_a_decision()
                self._books.end_decision()
        if at_rest and whole:
            self._said_at_rest()
        return self._findings

    def _found(self, kind: str, sentence: str) -> None:
        if all(each.kind != kind for each in self._findings):
            self._findings.append(Finding(kind, self._sequence, f"{sentence}. {TO_DO[kind]}"))

    def _say(self, cents: int) -> str:
        return format_amount(Cents(cents), self._books.currency)

    # -- before an event is posted -----------------------------------------------------------------

    def _before(self, event: Event) -> None:
        match event:
            case (
                e.FundsHeld()
                | e.FundsCaptured()
                | e.FundsReleased()
                | e.FundsDebitForced()
                | e.FundsReversed()
                | e.FundsCredited()
            ):
                self._moved(event)
            case e.FundsRequested():
                self._repeated(event)
            case e.FundsHoldTransferred():
                self._transferred(event)
            case e.PaymentSettled():
                self._settled(event)
            case e.PaymentReturned():
                self._returned(event)
            case e.ReconciliationResolved():
                self._accepted(event)
            case _:
                return

    def _moved(self, event: Movement) -> None:
        """A movement answers one request, once, with its amount."""
        asked = self._books.requests.get(event.funds_ref)
        said = f"{type(event).__name__} of {self._say(event.amount)} under {event.funds_ref}"
        if asked is None:
            self._found(NOT_ASKED, f"{said}, which was never asked for")
            return
        if isinstance(event, e.FundsReleased) and asked.operation == "CAPTURE":
            return  # Deposits Core had no hold left to capture: the hold is gone
        if asked.operation != _MOVES[type(event)]:
            self._found(NOT_ASKED, f"{said}, which asked for {asked.operation}")
        if asked.status == "DONE":
            self._found(MOVED_TWICE, f"{said}, which had moved before")
        if event.amount not in (asked.amount, self._books.accepted):
            self._found(MOVED_OTHER_AMOUNT, f"{said}, which asked for {self._say(asked.amount)}")
        if isinstance(event, e.FundsCaptured) and self._books.is_captured():
            self._found(CAPTURED_TWICE, f"{said}: the payment was captured before")

    def _repeated(self, event: e.FundsRequested) -> None:
        """A repeat is the same instruction."""
        asked = self._books.requests.get(event.funds_ref)
        if asked is None and event.repeat:
            said = f"{event.funds_ref} is repeated and was never asked for"
            self._found(NOT_ASKED, said)
        elif asked is not None and asked.amount != event.amount:
            said = f"{event.funds_ref} asked for {self._say(asked.amount)}"
            self._found(MOVED_OTHER_AMOUNT, f"{said}, now for {self._say(event.amount)}")

    def _transferred(self, event: e.FundsHoldTransferred) -> None:
        """A hold is moved where it is, and not while something is asked of it."""
        giver = self._books.account(event.from_attempt)
        said = (
            f"the hold of {self._say(event.amount)} goes from attempt {event.from_attempt} to "
            f"attempt {event.to_attempt}"
        )
        if event.amount > giver.left:
            self._found(HOLD_OVERDRAWN, f"{said}, which holds {self._say(giver.left)}")
        if self._books.asked("CAPTURE", "RELEASE", attempt=giver.number):
            self._found(HOLD_MOVED_WHILE_ASKED, f"{said} while a request about it is open")

    def _settled(self, event: e.PaymentSettled) -> None:
        """The instruction's amount, or the rail's by a person's verdict in the same decision."""
        books = self._books
        mine = books.account(event.header.attempt)
        expected = books.amount if event.conflict_id is None else mine.settled
        if (event.amount, event.currency) != (expected, CURRENCY):
            recorded = format_amount(event.amount, event.currency)
            said = f"recorded as settled is {recorded}"
            self._found(SETTLED_OTHER_AMOUNT, f"{said}, the rail settled {self._say(expected)}")

    def _accepted(self, event: e.ReconciliationResolved) -> None:
        conflict = self._books.conflicts.get(event.conflict_id)
        if conflict is None or event.verdict != "AMOUNT_ACCEPTED":
            return
        if conflict.kind == FUNDS_CONTRADICTION:
            return  # Deposits Core names this amount
        rail = self._books.rail_said(conflict)
        if event.amount != rail:
            accepted = "no amount" if event.amount is None else self._say(event.amount)
            said = f"{event.conflict_id}: a person accepted {accepted}"
            self._found(SETTLED_OTHER_AMOUNT, f"{said}, the rail settled {self._say(rail)}")

    def _returned(self, event: e.PaymentReturned) -> None:
        mine = self._books.account(event.header.attempt)
        back = self._books.returned_after(mine, event)
        if event.total and event.total != back:
            said = f"the returns add up to {self._say(back)}"
            self._found(RETURNED_WRONGLY, f"{said}, recorded are {self._say(event.total)}")
        settled = mine.settled if mine.paid else 0
        if back > settled:
            said = f"{self._say(back)} came back of {self._say(settled)} that were settled"
            self._found(RETURNED_WRONGLY, said)

    # -- after an event is posted ------------------------------------------------------------------

    def _after(self, event: Event) -> None:
        books = self._books
        match event:
            case e.FundsRequested():
                if not event.repeat:
                    self._asked(books.requests[event.funds_ref])
            case e.FundsCaptured() | e.FundsReleased():
                mine = books.account(event.header.attempt)
                if mine.left < 0:
                    said = f"attempt {mine.number}: captured {self._say(mine.captured)} and "
                    said += f"released {self._say(mine.released)}"
                    self._found(HOLD_OVERDRAWN, f"{said}, held {self._say(mine.held)}")
            case e.FundsReversed() | e.FundsCredited():
                if books.taken() < 0:
                    said = f"{self._say(-books.taken())} more was given back than was taken"
                    self._found(GIVEN_BACK_BEYOND_TAKEN, said)
            case _:
                return

    def _asked(self, request: Request) -> None:
        """What must not even be asked for."""
        mine = self._books.account(request.attempt)
        said = f"{request.operation} of {self._say(request.amount)} ({request.ref}) is asked for"
        if request.operation in ("HOLD", "DEBIT_FORCED"):
            self._blocking = said
        if request.operation in TAKING:
            self._takes(mine, said)
        if request.operation in GIVING:
            self._gives(mine, said)
        if request.frees is not None:
            self._frees(request, said)
        elif request.operation in ("CAPTURE", "RELEASE"):
            self._draws(mine, said)
        if request.operation == "RELEASE" and request.frees is None and not request.by_person:
            self._lets_go(mine, said)

    def _blocks(self) -> None:
        """Debited and held never exceed what has settled and what may still settle.

        What is being given back is not counted; what Deposits Core refused waits for a person.
        """
        books, said, self._blocking = self._books, self._blocking, None
        if said is None or any(each.status == REFUSED for each in books.waiting()):
            return
        blocked = books.taken() - books.asked(*GIVING)
        blocked += books.still_held() + books.asked("DEBIT_FORCED")
        may = sum(books.may_settle(each) for each in books.accounts.values())
        if blocked > books.settled() + may:
            said = f"{said}: then {self._say(blocked)} is debited and held"
            said += f", {self._say(books.settled())} was settled"
            self._found(BLOCKED_BEYOND_SETTLED, f"{said} and {self._say(may)} may still be")

    def _takes(self, mine: Account, said: str) -> None:
        """What is taken is what the rail settled; a second settlement needs an approval."""
        books = self._books
        taken = mine.taken + books.asked(*TAKING, attempt=mine.number)
        if taken > mine.borne:
            wrong = f"{said}: then {self._say(taken)} is taken for attempt {mine.number}"
            wrong += f", of which the customer has to bear {self._say(mine.borne)}"
            self._found(TAKEN_BEYOND_SETTLED, wrong)
        if books.is_second(mine):
            wrong = f"{said} for a second settlement: another attempt was settled before"
            self._found(TAKEN_AGAIN_UNAPPROVED, f"{wrong}, and nobody approved a second debit")

    def _gives(self, mine: Account, said: str) -> None:
        """Nothing is given back twice, nor what the customer has to bear."""
        back = self._books.asked(*GIVING, attempt=mine.number)
        if mine.taken - back < mine.borne:
            said = f"{said}: of {self._say(mine.taken)} taken for attempt {mine.number} "
            said += f"{self._say(back)} is then being given back"
            wrong = f"{said}, and the customer has to bear {self._say(mine.borne)}"
            self._found(GIVEN_BACK_BEYOND_TAKEN, wrong)

    def _frees(self, request: Request, said: str) -> None:
        """One release at a time ends an unanswered hold."""
        for each in self._books.requests.values():
            if each is not request and each.frees == request.frees and each.status == OPEN:
                self._found(HOLD_ASKED_TWICE, f"{said}, and {each.ref} about the same hold is open")

    def _draws(self, mine: Account, said: str) -> None:
        """The same held money is asked for once."""
        asked = self._books.asked("CAPTURE", "RELEASE", attempt=mine.number)
        if asked > mine.left:
            wrong = f"{said}: then {self._say(asked)} is asked of a hold of {self._say(mine.left)}"
            self._found(HOLD_ASKED_TWICE, wrong)

    def _lets_go(self, mine: Account, said: str) -> None:
        """A release leaves enough for all that is settled or may be, unless a person approved.

        A hold beside the payment's one capture can never be captured: once its own attempt cannot
        settle any more, it serves nobody.
        """
        books = self._books
        if books.is_captured() and not books.may_settle(mine):
            return
        covered = books.taken() + books.still_held() - books.asked("RELEASE")
        needed = sum(books.must_cover(each) for each in books.accounts.values())
        if covered < needed:
            wrong = f"{said}: {self._say(needed)} was settled or may be"
            wrong += f", and then {self._say(max(covered, 0))} stays held or taken"
            self._found(RELEASED_UNCERTAIN, wrong)

    # -- at rest -----------------------------------------------------------------------------------

    def _at_the_end_of_a_decision(self) -> None:
        """When by the events nothing is outstanding, nothing is held and all is even."""
        books = self._books
        if books.state not in FINAL or books.parked or books.disputed or books.open_conflicts:
            return
        accounts = books.accounts.values()
        waiting = list(books.waiting())
        if any(each.operation != "HOLD" for each in waiting) or any(books.unresolved()):
            return
        second = [each for each in accounts if books.is_second(each)]
        for account in accounts:
            if account.taken != account.borne and account not in second:
                wrong = f"attempt {account.number}: the customer paid {self._say(account.taken)}"
                wrong += f" and has to bear {self._say(account.borne)}"
                self._found(NOT_EVEN_AT_REST, f"{wrong}, and nothing is asked for")
        if second:
            return  # a person decides about a second debit, and what is held may serve it
        for each in waiting:
            wrong = f"the payment has ended and {each.ref}, a hold of {self._say(each.amount)}"
            self._found(HELD_AT_REST, f"{wrong}, is not answered, and no release is asked for")
        for account in accounts:
            if account.left > 0:
                wrong = f"the payment has ended and {self._say(account.left)} is still held"
                wrong += f" for attempt {account.number}"
                self._found(HELD_AT_REST, f"{wrong}, and no release is asked for")

    def _said_at_rest(self) -> None:
        """A payment at rest holds nothing, asks nothing, waits for nobody."""
        books = self._books
        outstanding = []
        if books.state not in FINAL:
            outstanding.append(f"it is {books.state}")
        if books.parked:
            outstanding.append("it is parked")
        outstanding += [f"conflict {name} is open" for name in sorted(books.open_conflicts)]
        for account in books.unresolved():
            outstanding.append(f"nobody knows whether attempt {account.number} was paid")
        for account in books.accounts.values():
            if account.left > 0:
                outstanding.append(f"{self._say(account.left)} is held")
            if books.is_second(account):
                outstanding.append(f"attempt {account.number} is a second settlement, not debited")
        for request in books.waiting():
            what = "was refused" if request.status == REFUSED else "is not answered"
            outstanding.append(f"{request.ref} {what}")
        if outstanding and not books.disputed:
            said = "the lifecycle record says that nothing is outstanding"
            self._found(NOT_AT_REST, f"{said}, and {', '.join(outstanding)}")


def _decision(event: Event) -> tuple[str, str, int, int]:
    cause = event.header.cause
    return cause.cluster_id, cause.topic, cause.partition, cause.offset
