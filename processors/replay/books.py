"""The books of one payment, kept from its events alone: what was asked, moved and settled.

Shares nothing with core's bookkeeping, which it is there to judge. Amounts are integer cents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

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
NO_HOLD: Final = frozenset({"NEVER_HELD", "HOLD_GONE"})  # never carried out, or ended by itself


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


class Account(msgspec.Struct):
    """What belongs to one attempt. `forgiven` is the part of the settlement that a person's
    reversal takes off the customer; `order` counts the attempts in which they came to be paid.
    """

    number: int
    ended: bool = False
    certain: bool = False  # non-payment is certain; read once the attempt has ended
    paid: bool = False
    order: int = 0
    settled: int = 0  # the rail's amount; of no account while it is not paid
    returned: int = 0  # the sum over the returns' ids, or the highest total reported
    returns: int = 0  # sum over the rail's message ids
    forgiven: int = 0
    debit_approved: bool = False
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
        return max(0, self.settled - max(self.returned, self.forgiven)) if self.paid else 0

    @property
    def stays_paid(self) -> bool:
        """Paid, and not all of it came back."""
        return self.paid and self.returned < self.settled


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
        self.accepted: int | None = None  # its amount, by the verdict of this very decision
        self.accounts: dict[int, Account] = {1: Account(1)}
        self.requests: dict[str, Request] = {}
        self.conflicts: dict[str, e.ReconciliationRequired] = {}
        self.open_conflicts: set[str] = set()
        self._paid = 0

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
        return sum(each.settled for each in self.accounts.values() if each.paid)

    def may_settle(self, account: Account) -> int:
        """At most this can still be settled for the attempt."""
        if account.paid:
            return 0
        if self._is_disputed(account):
            return self.amount
        return 0 if account.ended and account.certain else self.amount

    def must_cover(self, account: Account) -> int:
        """At least this must stay held or be taken for the attempt."""
        if not account.paid:
            return self.may_settle(account)
        return 0 if self.is_second(account) else account.borne

    def is_second(self, account: Account) -> bool:
        """Settled after another attempt that stays paid, and due: only a person's approval debits
        it.
        """
        if account.taken >= account.borne or account.debit_approved:
            return False
        return any(
            each.stays_paid and each.order < account.order for each in self.accounts.values()
        )

    def is_captured(self) -> bool:
        """The payment's one capture was made."""
        return any(each.captured for each in self.accounts.values())

    def unresolved(self) -> Iterator[Account]:
        """Ended attempts of which nobody knows whether they were paid."""
        for each in self.accounts.values():
            if each.ended and not each.certain and not each.paid:
                yield each

    def waiting(self) -> Iterator[Request]:
        """Requests that are not answered; and those that were refused, not asked again, and are
        still needed: a person can ask again.
        """
        last: dict[tuple[int, str], Request] = {}
        for each in self.requests.values():
            last[each.attempt, each.operation] = each
            if each.status == OPEN:
                yield each
        for each in last.values():
            if each.status == REFUSED and self._is_needed(each):
                yield each

    def _is_needed(self, request: Request) -> bool:
        mine = self.accounts[request.attempt]
        if request.operation in TAKING:
            return mine.taken < mine.borne
        if request.operation in GIVING:
            return mine.taken > mine.borne
        if request.operation == "RELEASE":
            freed = self.requests.get(request.frees or "")
            return mine.left > 0 or (freed is not None and freed.status == OPEN)
        return False

    def rail_said(self, conflict: e.ReconciliationRequired) -> int:
        """The amount that the rail settled, by a conflict's report; else the instruction's."""
        named = conflict.report_kind == "SETTLED" and conflict.currency in (None, CURRENCY)
        return conflict.amount if named and conflict.amount else self.amount

    def _is_disputed(self, account: Account) -> bool:
        """A report about the attempt contradicts what is recorded, and nobody has decided."""
        conflicts = (self.conflicts[name] for name in self.open_conflicts)
        return any(
            each.header.attempt == account.number and each.kind != FUNDS_CONTRADICTION
            for each in conflicts
        )

    # -- posting -----------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Take one event in."""
        mine = self.account(event.header.attempt)
        self.state = event.header.state_after
        match event:
            case e.PaymentIntentCreated():
                self.amount, self.currency = event.amount, event.currency
            case e.PaymentSettled():
                # A verdict has said the rail's amount before: the event has to say the same.
                mine.ended = True
                self._pay(mine, event.amount if event.conflict_id is None else mine.settled)
            case e.PaymentFailed() | e.PaymentExpired():
                mine.ended, mine.certain = True, event.non_payment_certain
            case e.NonPaymentConfirmed():
                mine.certain = True
            case e.PaymentReturned():
                self._came_back(mine, event, event.amount)
            case e.RailStatusReported():
                if event.kind == "RETURNED":  # a return that raised no total is noted
                    self._came_back(mine, event, event.amount or 0)
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

    def end_decision(self) -> None:
        """What a verdict accepted holds for its own decision."""
        self.accepted = None

    def _post_funds(self, event: Event, mine: Account) -> None:
        match event:
            case e.FundsRequested():
                self._requested(event, mine)
            case e.FundsRequestFailed():
                if event.result == REFUSED:
                    self._close(event.funds_ref, REFUSED)
            case e.FundsHoldDeclined():
                self._close(event.funds_ref, GONE)
                if event.code in NO_HOLD:
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
                self._close(event.funds_ref, DONE)
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
        if event.funds_ref in self.requests:
            return
        by_person = event.header.approval_id is not None or any(
            each.by_person and each.status == REFUSED
            for each in self.requests.values()
            if (each.attempt, each.operation) == (mine.number, event.operation)
        )
        if event.header.approval_id is not None and event.operation == "REVERSE":
            mine.forgiven = max(mine.returned, mine.forgiven) + event.amount
        if by_person and event.operation in TAKING:
            mine.debit_approved = True
        self.requests[event.funds_ref] = Request(
            event.funds_ref, event.operation, mine.number, event.amount, by_person,
            event.hold_funds_ref,
        )  # fmt: skip

    def _close(self, reference: str, status: str) -> None:
        request = self.requests.get(reference)
        if request is None:
            return
        request.status = status
        if status == DONE and self.accepted is not None:
            self.disputed = False  # what the verdict accepted is recorded

    def returned_after(self, mine: Account, event: e.PaymentReturned) -> int:
        """What has come back once this report counts: the sum over the returns' ids, or the
        highest total reported (ruling 13).
        """
        if event.rail_message_id and not event.via_enquiry:
            return max(mine.returned, mine.returns + event.amount)
        return max(mine.returned, event.amount)

    def _came_back(
        self, mine: Account, event: e.PaymentReturned | e.RailStatusReported, amount: int
    ) -> None:
        if event.rail_message_id and not event.via_enquiry:
            mine.returns += amount
            amount = mine.returns
        mine.returned = max(mine.returned, amount)

    def _pay(self, mine: Account, settled: int) -> None:
        if not mine.paid:
            self._paid += 1
            mine.paid, mine.order = True, self._paid
        mine.settled = settled

    def _resolved(self, event: e.ReconciliationResolved, mine: Account) -> None:
        self.open_conflicts.discard(event.conflict_id)
        conflict = self.conflicts.get(event.conflict_id)
        if conflict is None:
            return
        if conflict.kind == FUNDS_CONTRADICTION:
            if event.verdict == "AMOUNT_ACCEPTED":
                self.accepted, self.disputed = event.amount, True
            return
        match event.verdict:
            case "SETTLED_AFTER_ALL":
                self._pay(mine, self.settled_by(mine, conflict))
            case "AMOUNT_ACCEPTED":
                self._pay(mine, self.rail_said(conflict))
            case "NOT_PAID":
                mine.paid, mine.settled, mine.certain = False, 0, True
            case "RETURNED":
                self._pay(mine, mine.settled or self.rail_said(conflict))
                mine.returned += event.amount or 0
            case "REPORT_WRONG":
                return  # nothing of the money changes
            case _:
                assert_never(event.verdict)

    def settled_by(self, mine: Account, conflict: e.ReconciliationRequired) -> int:
        """What SETTLED_AFTER_ALL means: the amount that the rail names, or named before."""
        named = conflict.report_kind == "SETTLED" and conflict.amount is not None
        return self.rail_said(conflict) if named else mine.settled or self.amount
