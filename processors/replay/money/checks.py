"""Money: do the recorded holds, debits and credits add up to what was settled? The rules are those
of domain §3, judged from one payment's events alone.

It uses none of core's bookkeeping, so it finds a wrong decision that replays byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from core.payment import events as e
from core.payment.events import Event
from core.values import CURRENCY, Cents, format_amount
from core.words import OperationName
from processors.replay.money.books import (
    FINAL,
    FUNDS_CONTRADICTION,
    GIVING,
    OPEN,
    REFUSED,
    TAKING,
    Account,
    Books,
    NotOfMoney,
    Posted,
    Request,
)
from processors.replay.money.findings import (
    BLOCKED_BEYOND_SETTLED,
    CAPTURED_TWICE,
    GIVEN_BACK_BEYOND_TAKEN,
    HELD_AT_REST,
    HOLD_ASKED_TWICE,
    HOLD_MOVED_WHILE_ASKED,
    HOLD_OVERDRAWN,
    MOVED_OTHER_AMOUNT,
    MOVED_TWICE,
    NOT_ASKED,
    NOT_AT_REST,
    NOT_EVEN_AT_REST,
    RELEASED_UNCERTAIN,
    RETURNED_WRONGLY,
    SETTLED_OTHER_AMOUNT,
    TAKEN_AGAIN_UNAPPROVED,
    TAKEN_BEYOND_SETTLED,
    TO_DO,
    Finding,
)
from processors.replay.redecide import is_one

_MOVES: Final[dict[type, OperationName]] = {
    e.FundsHeld: "HOLD",
    e.FundsCaptured: "CAPTURE",
    e.FundsReleased: "RELEASE",
    e.FundsDebitForced: "DEBIT_FORCED",
    e.FundsReversed: "REVERSE",
    e.FundsCredited: "CREDIT",
}
_JUDGED_AFTER: Final = frozenset(
    {e.FundsRequested, e.FundsCaptured, e.FundsReleased, e.FundsReversed, e.FundsCredited}
)
_JUDGED_BEFORE: Final = frozenset(
    {
        *_MOVES,
        *(e.FundsRequested, e.FundsHoldTransferred, e.PaymentSettled, e.PaymentReturned),
        e.ReconciliationResolved,
    }
)
Movement = (
    e.FundsHeld
    | e.FundsCaptured
    | e.FundsReleased
    | e.FundsDebitForced
    | e.FundsReversed
    | e.FundsCredited
)


class Money:
    """One payment's money, judged once."""

    def __init__(self) -> None:
        self._books = Books()
        self._findings: list[Finding] = []
        self._sequence = 0
        self._blocking: Request | None = None  # made in this decision, judged at its end

    def check(
        self, events: Sequence[Event], *, whole: bool = True, at_rest: bool = False
    ) -> list[Finding]:
        """The first finding of each kind, in order. `whole`: the last event ends its decision.
        `at_rest`: the lifecycle record says that nothing is outstanding after it.
        """
        for index, event in enumerate(events):
            self._sequence = event.header.sequence
            kind = type(event)
            if kind in _JUDGED_BEFORE:
                self._before(event)
            self._books.post(event)
            if kind in _JUDGED_AFTER:
                self._after(event)
            cause, following = event.header.cause, events[index + 1 : index + 2]
            if not is_one(cause, following[0].header.cause) if following else whole:
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
            case _ if isinstance(event, Movement):
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
            case _ if isinstance(event, NotOfMoney | Posted):
                return
            case _:
                assert_never(event)

    def _moved(self, event: Movement) -> None:
        """A movement must answer one request, once, with its amount."""
        requested = self._books.requests.get(event.funds_ref)
        if requested is None:
            self._found(NOT_ASKED, f"{self._movement(event)}, which was never asked for")
            return
        if isinstance(event, e.FundsReleased) and requested.operation == "CAPTURE":
            return  # Deposits Core had no hold left to capture: the hold is gone
        if requested.operation != _MOVES[type(event)]:
            wrong = f"{self._movement(event)}, which asked for {requested.operation}"
            self._found(NOT_ASKED, wrong)
        if requested.status == "DONE":
            self._found(MOVED_TWICE, f"{self._movement(event)}, which had moved before")
        if event.amount not in (requested.amount, self._books.accepted):
            wrong = f"{self._movement(event)}, which asked for {self._say(requested.amount)}"
            self._found(MOVED_OTHER_AMOUNT, wrong)
        if isinstance(event, e.FundsCaptured) and self._books.is_captured():
            wrong = f"{self._movement(event)}: the payment was captured before"
            self._found(CAPTURED_TWICE, wrong)

    def _movement(self, event: Movement) -> str:
        return f"{type(event).__name__} of {self._say(event.amount)} under {event.funds_ref}"

    def _repeated(self, event: e.FundsRequested) -> None:
        """A repeat must be the same instruction."""
        requested = self._books.requests.get(event.funds_ref)
        if requested is None and event.repeat:
            finding = f"{event.funds_ref} is repeated and was never asked for"
            self._found(NOT_ASKED, finding)
        elif requested is not None and requested.amount != event.amount:
            finding = f"{event.funds_ref} asked for {self._say(requested.amount)}"
            self._found(MOVED_OTHER_AMOUNT, f"{finding}, now for {self._say(event.amount)}")

    def _transferred(self, event: e.FundsHoldTransferred) -> None:
        """A transfer needs an existing hold without an open request."""
        giver = self._books.account(event.from_attempt)
        finding = (
            f"the hold of {self._say(event.amount)} goes from attempt {event.from_attempt} to "
            f"attempt {event.to_attempt}"
        )
        if event.amount > giver.left:
            self._found(HOLD_OVERDRAWN, f"{finding}, which holds {self._say(giver.left)}")
        if self._books.requested("CAPTURE", "RELEASE", attempt=giver.number):
            self._found(HOLD_MOVED_WHILE_ASKED, f"{finding} while a request about it is open")

    def _settled(self, event: e.PaymentSettled) -> None:
        """A settlement must have the instruction's amount, or the rail's by a person's verdict in
        the same decision.
        """
        books = self._books
        mine = books.account(event.header.attempt)
        expected = books.amount if event.conflict_id is None else mine.settled
        if (event.amount, event.currency) != (expected, CURRENCY):
            recorded = format_amount(event.amount, event.currency)
            finding = f"recorded as settled is {recorded}"
            self._found(SETTLED_OTHER_AMOUNT, f"{finding}, the rail settled {self._say(expected)}")

    def _accepted(self, event: e.ReconciliationResolved) -> None:
        conflict = self._books.conflicts.get(event.conflict_id)
        if conflict is None or event.verdict != "AMOUNT_ACCEPTED":
            return
        if conflict.kind == FUNDS_CONTRADICTION:
            return  # Deposits Core names this amount
        rail = self._books.rail_said(conflict)
        if event.amount != rail:
            accepted = "no amount" if event.amount is None else self._say(event.amount)
            finding = f"{event.conflict_id}: a person accepted {accepted}"
            self._found(SETTLED_OTHER_AMOUNT, f"{finding}, the rail settled {self._say(rail)}")

    def _returned(self, event: e.PaymentReturned) -> None:
        mine = self._books.account(event.header.attempt)
        back = self._books.returned_after(mine, event)
        if event.total and event.total != back:
            finding = f"the returns add up to {self._say(back)}"
            self._found(RETURNED_WRONGLY, f"{finding}, recorded are {self._say(event.total)}")
        settled = mine.settled if mine.paid else 0
        if back > settled:
            finding = f"{self._say(back)} came back of {self._say(settled)} that were settled"
            self._found(RETURNED_WRONGLY, finding)

    # -- after an event is posted ------------------------------------------------------------------

    def _after(self, event: Event) -> None:
        books = self._books
        match event:
            case e.FundsRequested():
                if not event.repeat:
                    self._judge_request(books.requests[event.funds_ref])
            case e.FundsCaptured() | e.FundsReleased():
                mine = books.account(event.header.attempt)
                if mine.left < 0:
                    finding = f"attempt {mine.number}: captured {self._say(mine.captured)} and "
                    finding += f"released {self._say(mine.released)}"
                    self._found(HOLD_OVERDRAWN, f"{finding}, held {self._say(mine.held)}")
            case e.FundsReversed() | e.FundsCredited():
                if books.taken() < 0:
                    said = f"{self._say(-books.taken())} more was given back than was taken"
                    self._found(GIVEN_BACK_BEYOND_TAKEN, said)
            case e.FundsHeld() | e.FundsDebitForced() | e.FundsHoldTransferred():
                return  # judged before, as are the next ones
            case e.PaymentSettled() | e.PaymentReturned() | e.ReconciliationResolved():
                return
            case _ if isinstance(event, NotOfMoney | Posted):
                return
            case _:
                assert_never(event)

    def _judge_request(self, request: Request) -> None:
        """A new request must be allowed by what the books say."""
        mine = self._books.account(request.attempt)
        if request.operation in ("HOLD", "DEBIT_FORCED"):
            self._blocking = request
        if request.operation in TAKING:
            self._takes(mine, request)
        if request.operation in GIVING:
            self._gives(mine, request)
        if request.frees is not None:
            self._frees(request)
        elif request.operation in ("CAPTURE", "RELEASE"):
            self._draws(mine, request)
        if request.operation == "RELEASE" and request.frees is None and not request.by_person:
            self._releases(mine, request)

    def _asking(self, request: Request) -> str:
        return f"{request.operation} of {self._say(request.amount)} ({request.ref}) is asked for"

    def _blocks(self) -> None:
        """Debited plus held must never exceed what has settled and may still settle.

        Money being given back is not counted; a refused request waits for a person.
        """
        books, request, self._blocking = self._books, self._blocking, None
        if request is None or any(each.status == REFUSED for each in books.waiting()):
            return
        blocked = books.taken() - books.requested(*GIVING)
        blocked += books.still_held() + books.requested("DEBIT_FORCED")
        may = sum(books.may_settle(each) for each in books.accounts.values())
        if blocked > books.settled() + may:
            finding = f"{self._asking(request)}: then {self._say(blocked)} is debited and held"
            finding += f", {self._say(books.settled())} was settled"
            self._found(BLOCKED_BEYOND_SETTLED, f"{finding} and {self._say(may)} may still be")

    def _takes(self, mine: Account, request: Request) -> None:
        """Only what the rail settled may be taken; a second settlement needs an approval."""
        books = self._books
        taken = mine.taken + books.requested(*TAKING, attempt=mine.number)
        if taken > mine.borne:
            wrong = f"{self._asking(request)}: then {self._say(taken)} is taken"
            wrong += f" for attempt {mine.number}"
            wrong += f", of which the customer has to bear {self._say(mine.borne)}"
            self._found(TAKEN_BEYOND_SETTLED, wrong)
        if books.is_second(mine):
            wrong = f"{self._asking(request)} for a second settlement: another attempt was settled"
            wrong += " before"
            self._found(TAKEN_AGAIN_UNAPPROVED, f"{wrong}, and nobody approved a second debit")

    def _gives(self, mine: Account, request: Request) -> None:
        """Nothing may be given back twice, nor money that the customer must bear."""
        back = self._books.requested(*GIVING, attempt=mine.number)
        if mine.taken - back < mine.borne:
            finding = f"{self._asking(request)}: of {self._say(mine.taken)} taken for attempt "
            finding += f"{mine.number} {self._say(back)} is then being given back"
            wrong = f"{finding}, and the customer has to bear {self._say(mine.borne)}"
            self._found(GIVEN_BACK_BEYOND_TAKEN, wrong)

    def _frees(self, request: Request) -> None:
        """Only one release at a time may end an unanswered hold."""
        for each in self._books.requests.values():
            if each is not request and each.frees == request.frees and each.status == OPEN:
                wrong = f"{self._asking(request)}, and {each.ref} about the same hold is open"
                self._found(HOLD_ASKED_TWICE, wrong)

    def _draws(self, mine: Account, request: Request) -> None:
        """The same held money may be requested only once."""
        requested = self._books.requested("CAPTURE", "RELEASE", attempt=mine.number)
        if requested > mine.left:
            wrong = f"{self._asking(request)}: then {self._say(requested)} is asked of a hold of "
            wrong += self._say(mine.left)
            self._found(HOLD_ASKED_TWICE, wrong)

    def _releases(self, mine: Account, request: Request) -> None:
        """A release must leave enough for everything that is settled or may settle, unless a person
        approved it.

        A hold in addition to the payment's one capture can never be captured: once its own attempt
        can no longer settle, nothing needs it.
        """
        books = self._books
        if books.is_captured() and not books.may_settle(mine):
            return
        covered = books.taken() + books.still_held() - books.requested("RELEASE")
        needed = sum(books.must_cover(each) for each in books.accounts.values())
        if covered < needed:
            wrong = f"{self._asking(request)}: {self._say(needed)} was settled or may be"
            wrong += f", and then {self._say(max(covered, 0))} stays held or taken"
            self._found(RELEASED_UNCERTAIN, wrong)

    # -- at rest -----------------------------------------------------------------------------------

    def _at_the_end_of_a_decision(self) -> None:
        """If the events leave nothing outstanding, nothing may be held and all sums must match."""
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
        """A payment at rest holds nothing, requests nothing and awaits nothing."""
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
            finding = "the lifecycle record says that nothing is outstanding"
            self._found(NOT_AT_REST, f"{finding}, and {', '.join(outstanding)}")
