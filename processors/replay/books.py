"""The books of one payment, kept from its events alone: what was asked, moved and settled.

Shares nothing with core's bookkeeping, which it is there to judge. Amounts are integer cents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from core.payment import events as e
from core.payment.events import Event
from core.values import CURRENCY

OPEN: Final = "OPEN"  # asked, and not answered for certain
DONE: Final = "DONE"
REFUSED: Final = "REFUSED"  # certain not to have happened; a person may ask again
GONE: Final = "GONE"  # certain not to have happened, and nothing is left to ask for
TAKING: Final = ("CAPTURE", "DEBIT_FORCED")
GIVING: Final = ("REVERSE", "CREDIT")
FINAL: Final = ("SETTLED", "FAILED", "EXPIRED")
FUNDS_CONTRADICTION: Final = "FUNDS_CONTRADICTION"
NEVER_HELD: Final = "NEVER_HELD"


class Request(msgspec.Struct):
    """One instruction to Deposits Core. `by_person` when an approval allowed it, or a person
    repeats one that an approval allowed. `frees`: the unanswered HOLD that a RELEASE ends.
    """

    ref: str
    operation: str
    attempt: int
    amount: int
    by_person: bool
    frees: str | None
    status: str = OPEN
    silent: bool = False  # the last answer was none


class Account(msgspec.Struct):
    """What belongs to one attempt. `forgiven` is the part of the settlement that a person's
    reversal takes off the customer.
    """

    number: int
    sent: bool = False
    ended: bool = False
    certain: bool = False  # non-payment is certain
    settled: int = 0
    returned: int = 0
    returns: dict[str, int] = {}  # by the rail's message id
    returned_by_verdict: int = 0
    was_returned: bool = False
    forgiven: int = 0
    held: int = 0
    captured: int = 0
    released: int = 0
    debited: int = 0
    reversed: int = 0
    credited: int = 0

    @property
    def left(self) -> int:
        """What is still held."""
        return self.held - self.captured - self.released

    @property
    def taken(self) -> int:
        """What the customer has paid, less what was given back."""
        return self.captured + self.debited - self.reversed - self.credited

    @property
    def borne(self) -> int:
        """What the customer has to pay in the end (ruling 13)."""
        return max(0, self.settled - max(self.returned, self.forgiven))

    @property
    def is_paid(self) -> bool:
        return self.settled > 0 and not self.was_returned


class Books:
    """Post every event in order, then read the sums. What is impossible is left out: the rules in
    `money` look at each event before it is posted.
    """

    def __init__(self) -> None:
        self.amount = 0
        self.currency = CURRENCY
        self.state = ""
        self.parked = False
        self.disputed = False  # people put right outside what Deposits Core contradicted
        self.accounts: dict[int, Account] = {1: Account(1)}
        self.requests: dict[str, Request] = {}
        self.conflicts: dict[str, e.ReconciliationRequired] = {}
        self.open_conflicts: set[str] = set()

    # -- sums --------------------------------------------------------------------------------------

    def account(self, number: int) -> Account:
        return self.accounts.setdefault(number, Account(number))

    def asked(self, *operations: str, attempt: int | None = None) -> int:
        """Cents of the unanswered requests of these operations."""
        return sum(
            each.amount
            for each in self.requests.values()
            if each.status == OPEN
            and each.operation in operations
            and attempt in (None, each.attempt)
        )

    def still_held(self) -> int:
        """What is blocked on the customer's account, unanswered holds included."""
        return sum(each.left for each in self.accounts.values()) + self.asked("HOLD")

    def taken(self) -> int:
        return sum(each.taken for each in self.accounts.values())

    def settled(self) -> int:
        return sum(each.settled for each in self.accounts.values())

    def may_settle(self, account: Account) -> int:
        """At most this can still be settled for the attempt."""
        if account.settled or account.was_returned:
            return 0
        disputed = self._disputed_amounts(account)
        if disputed:
            return max(disputed)
        return 0 if account.ended and account.certain else self.amount

    def must_cover(self, account: Account) -> int:
        """At least this must stay held or be taken for the attempt."""
        if account.settled or account.was_returned:
            return 0 if self.is_second(account) else account.borne
        disputed = self._disputed_amounts(account)
        return min(disputed) if disputed else self.may_settle(account)

    def is_second(self, account: Account) -> bool:
        """Settled beside another settlement that was taken, and nothing of it was asked for: only
        a person's approval debits it.
        """
        if not account.is_paid or self.is_taken(account):
            return False
        return any(self.is_taken(each) for each in self.accounts.values() if each.is_paid)

    def unresolved(self) -> Iterator[Account]:
        """Ended attempts of which nobody knows whether they were paid."""
        for each in self.accounts.values():
            if each.ended and not each.certain and not each.settled and not each.was_returned:
                yield each

    def waiting(self) -> Iterator[Request]:
        """Requests that are not answered, or were refused and not asked again."""
        last: dict[tuple[int, str], Request] = {}
        for each in self.requests.values():
            last[each.attempt, each.operation] = each
            if each.status == OPEN:
                yield each
        for each in last.values():
            if each.status == REFUSED and each.operation != "HOLD":
                yield each

    def rail_said(self, conflict: e.ReconciliationRequired) -> int:
        """The amount that the rail settled, by a conflict's report; else the instruction's."""
        named = conflict.report_kind == "SETTLED" and conflict.currency in (None, CURRENCY)
        return conflict.amount if named and conflict.amount else self.amount

    def settled_by(self, event: e.PaymentSettled) -> int:
        """The rail's amount: that of the conflict which a person resolved, else the event's."""
        conflict = self.conflicts.get(event.conflict_id or "")
        return event.amount if conflict is None else self.rail_said(conflict)

    def is_taken(self, account: Account) -> bool:
        """Money was taken for the attempt, or is asked for."""
        return account.taken > 0 or self.asked(*TAKING, attempt=account.number) > 0

    def _disputed_amounts(self, account: Account) -> list[int]:
        found = []
        for name in self.open_conflicts:
            conflict = self.conflicts[name]
            if conflict.header.attempt == account.number and conflict.kind != FUNDS_CONTRADICTION:
                found += [self.amount, self.rail_said(conflict)]
        return found

    # -- posting -----------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Take one event in."""
        mine = self.account(event.header.attempt)
        self.state = event.header.state_after
        match event:
            case e.PaymentIntentCreated():
                self.amount, self.currency = event.amount, event.currency
            case e.PaymentSentToRail():
                mine.sent, mine.certain = True, False
            case e.PaymentSettled():
                mine.settled, mine.certain = self.settled_by(event), False
            case e.PaymentFailed() | e.PaymentExpired():
                mine.ended, mine.certain = True, event.non_payment_certain
            case e.NonPaymentConfirmed():
                mine.certain = True
            case e.PaymentReturned():
                mine.returned, mine.was_returned = self.returned_after(mine, event), True
                if event.rail_message_id and not event.via_enquiry:
                    mine.returns = {**mine.returns, event.rail_message_id: event.amount}
            case e.ReconciliationRequired():
                self.conflicts[event.conflict_id] = event
                self.open_conflicts.add(event.conflict_id)
            case e.ReconciliationResolved():
                self._resolved(event, mine)
            case e.ProcessingSuspended():
                self.parked = True
            case e.ProcessingResumed():
                self.parked = False
            case _:
                self._post_funds(event, mine)

    def _post_funds(self, event: Event, mine: Account) -> None:
        match event:
            case e.FundsRequested():
                self._requested(event, mine)
            case e.FundsRequestFailed():
                if event.result == REFUSED:
                    self._close(event.funds_ref, REFUSED)
                elif (asked := self.requests.get(event.funds_ref)) is not None:
                    asked.silent = True
            case e.FundsHoldDeclined():
                self._close(event.funds_ref, GONE)
                if event.code == NEVER_HELD:
                    for each in self.requests.values():
                        if each.frees == event.funds_ref and each.status == OPEN:
                            each.status = GONE
            case e.FundsHeld():
                self._close(event.funds_ref, DONE)
                mine.held += event.amount
            case e.FundsCaptured():
                self._close(event.funds_ref, DONE)
                mine.captured += event.amount
            case e.FundsReleased():
                request = self.requests.get(event.funds_ref)
                gone = request is not None and request.operation == "CAPTURE"
                self._close(event.funds_ref, GONE if gone else DONE)
                mine.released += event.amount
            case e.FundsDebitForced():
                self._close(event.funds_ref, DONE)
                mine.debited += event.amount
            case e.FundsReversed():
                self._close(event.funds_ref, DONE)
                mine.reversed += event.amount
            case e.FundsCredited():
                self._close(event.funds_ref, DONE)
                mine.credited += event.amount
            case e.FundsHoldTransferred():
                self.account(event.from_attempt).held -= event.amount
                self.account(event.to_attempt).held += event.amount
            case _:
                return

    def _requested(self, event: e.FundsRequested, mine: Account) -> None:
        known = self.requests.get(event.funds_ref)
        if known is not None:
            known.status = OPEN if known.status == REFUSED else known.status
            known.silent = False
            return
        by_person = event.header.approval_id is not None or any(
            each.by_person and each.status == REFUSED
            for each in self.requests.values()
            if (each.attempt, each.operation) == (mine.number, event.operation)
        )
        if by_person and event.operation == "REVERSE":
            left = mine.taken - self.asked(*GIVING, attempt=mine.number) - event.amount
            mine.forgiven = mine.settled - max(left, 0)
        self.requests[event.funds_ref] = Request(
            event.funds_ref, event.operation, mine.number, event.amount, by_person,
            event.hold_funds_ref,
        )  # fmt: skip

    def _close(self, reference: str, status: str) -> None:
        request = self.requests.get(reference)
        if request is None:
            return
        request.status = status
        if status == REFUSED and request.operation == "REVERSE" and request.by_person:
            self.account(request.attempt).forgiven = 0

    def returned_after(self, mine: Account, event: e.PaymentReturned) -> int:
        """What has come back once this report counts: the sum over the returns' ids, or the
        highest total heard (ruling 13).
        """
        by_id = dict(mine.returns)
        total = 0
        if event.rail_message_id and not event.via_enquiry:
            by_id[event.rail_message_id] = event.amount
        else:
            total = event.amount
        counted = sum(by_id.values()) + mine.returned_by_verdict
        return max(mine.returned, counted, total)

    def _resolved(self, event: e.ReconciliationResolved, mine: Account) -> None:
        self.open_conflicts.discard(event.conflict_id)
        conflict = self.conflicts.get(event.conflict_id)
        if conflict is None:
            return
        if conflict.kind == FUNDS_CONTRADICTION:
            self.disputed = True
            return
        match event.verdict:
            case "SETTLED_AFTER_ALL":
                mine.settled = mine.settled or self.rail_said(conflict)
            case "AMOUNT_ACCEPTED":
                mine.settled = self.rail_said(conflict)
            case "NOT_PAID":
                mine.settled = mine.returned = mine.returned_by_verdict = mine.forgiven = 0
                mine.returns, mine.was_returned, mine.certain = {}, False, True
            case "RETURNED":
                mine.settled = mine.settled or self.rail_said(conflict)
                back = mine.settled - mine.returned if event.amount is None else event.amount
                mine.returned_by_verdict += back
                mine.returned += back
                mine.was_returned = True
            case _:
                return  # REPORT_WRONG: nothing of the money changes
