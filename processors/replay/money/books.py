"""The books of one payment, kept from its events alone: what was requested, moved and settled.

They share nothing with core's bookkeeping, which they check. Amounts are integer cents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, assert_never, get_args

import msgspec

from core.payment import events as e
from core.payment.events import Event
from core.values import CURRENCY, NO_CENTS, Cents, ConflictId, FundsRef
from core.words import OperationName, StateName

OPEN: Final = "OPEN"  # asked, and not answered for certain
DONE: Final = "DONE"
REFUSED: Final = "REFUSED"  # certain not to have happened; a person may ask again
GONE: Final = "GONE"  # certain not to have happened, and there is nothing to request again
TAKING: Final[tuple[OperationName, ...]] = ("CAPTURE", "DEBIT_FORCED")
GIVING: Final[tuple[OperationName, ...]] = ("REVERSE", "CREDIT")
FINAL: Final = ("SETTLED", "FAILED", "EXPIRED")
FUNDS_CONTRADICTION: Final = "FUNDS_CONTRADICTION"
NO_HOLD: Final = frozenset({"NEVER_HELD", "HOLD_GONE"})  # never carried out, or expired
RequestState = Literal["OPEN", "DONE", "REFUSED", "GONE"]
NotOfMoney = (
    e.PaymentAuthorised
    | e.PaymentAttemptCreated
    | e.PaymentSentToRail
    | e.PaymentAcknowledged
    | e.PolicyChecked
    | e.OperatorActionRequested
    | e.OperatorActionReferred
    | e.OperatorActionApproved
    | e.OperatorActionRejected
    | e.PaymentOverdue
    | e.RailEnquiryRequested
    | e.RecallRequested
    | e.RecallAnswered
    | e.CustomerNotificationRequested
    | e.CustomerNotified
    | e.FundsReleaseDeferred
)
_OF_NO_MONEY: Final = frozenset(get_args(NotOfMoney))
# Posted to the books without a check: later events are checked against them.
Posted = (
    e.PaymentIntentCreated
    | e.PaymentFailed
    | e.PaymentExpired
    | e.NonPaymentConfirmed
    | e.RailStatusReported
    | e.ReconciliationRequired
    | e.ProcessingSuspended
    | e.ProcessingResumed
    | e.FundsRequestFailed
    | e.FundsHoldDeclined
)


def total(amounts: Iterable[Cents]) -> Cents:
    return Cents(sum(amounts))


class Request(msgspec.Struct):
    """One request to Deposits Core. `by_person`: an approval allowed it, or allowed the refused one
    that it repeats. `frees`: the unanswered HOLD that a RELEASE ends.
    """

    ref: FundsRef
    operation: OperationName
    attempt: int
    amount: Cents
    by_person: bool
    frees: FundsRef | None
    status: RequestState = OPEN


class Account(msgspec.Struct):
    """The sums of one attempt. `forgiven`: the part of the settlement that the customer need not
    pay after a reversal by a person; `order`: this attempt was the n-th to be paid.
    """

    number: int
    ended: bool = False
    certain: bool = False  # non-payment is certain; read once the attempt has ended
    paid: bool = False
    order: int = 0
    settled: Cents = NO_CENTS  # the rail's amount; to be ignored while `paid` is false
    returned: Cents = NO_CENTS  # the sum over the returns' ids, or the highest total reported
    returns: Cents = NO_CENTS  # sum over the rail's message ids
    forgiven: Cents = NO_CENTS
    debit_approved: bool = False
    held: Cents = NO_CENTS
    captured: Cents = NO_CENTS
    released: Cents = NO_CENTS
    debited: Cents = NO_CENTS
    reversed: Cents = NO_CENTS
    credited: Cents = NO_CENTS

    @property
    def left(self) -> Cents:
        """What is still held."""
        return Cents(self.held - self.captured - self.released)

    @property
    def taken(self) -> Cents:
        """What the customer has paid, less what was given back."""
        return Cents(self.captured + self.debited - self.reversed - self.credited)

    @property
    def borne(self) -> Cents:
        """What the customer has to pay in the end (ruling 13)."""
        return Cents(max(0, self.settled - max(self.returned, self.forgiven)) if self.paid else 0)

    @property
    def stays_paid(self) -> bool:
        """Paid, and not all of it was returned."""
        return self.paid and self.returned < self.settled


class Books:
    """Post every event in order, then read the sums. An impossible movement is not an error here:
    `checks` judges each event before it is posted.
    """

    def __init__(self) -> None:
        self.amount = NO_CENTS
        self.currency = CURRENCY
        self.state: StateName = "CREATED"
        self.parked = False
        self.disputed = False  # no movement yet records an amount that a person accepted
        self.accepted: Cents | None = None  # that amount, during the decision of the verdict
        self.accounts: dict[int, Account] = {1: Account(1)}
        self.requests: dict[FundsRef, Request] = {}
        self.conflicts: dict[ConflictId, e.ReconciliationRequired] = {}
        self.open_conflicts: set[ConflictId] = set()
        self._paid = 0

    # -- sums --------------------------------------------------------------------------------------

    def account(self, number: int) -> Account:
        found = self.accounts.get(number)
        if found is None:
            found = self.accounts[number] = Account(number)
        return found

    def requested(self, *operations: OperationName, attempt: int | None = None) -> Cents:
        """Cents of the unanswered requests of these operations."""
        return total(
            each.amount
            for each in self.requests.values()
            if each.status == OPEN
            and each.operation in operations
            and attempt in (None, each.attempt)
        )

    def still_held(self) -> Cents:
        """What is blocked on the customer's account, unanswered holds included."""
        held = total(each.left for each in self.accounts.values())
        return Cents(held + self.requested("HOLD"))

    def taken(self) -> Cents:
        return total(each.taken for each in self.accounts.values())

    def settled(self) -> Cents:
        return total(each.settled for each in self.accounts.values() if each.paid)

    def may_settle(self, account: Account) -> Cents:
        """At most this can still be settled for the attempt."""
        if account.paid:
            return NO_CENTS
        if self._is_disputed(account):
            return self.amount
        return NO_CENTS if account.ended and account.certain else self.amount

    def must_cover(self, account: Account) -> Cents:
        """At least this must stay held or be taken for the attempt."""
        if not account.paid:
            return self.may_settle(account)
        return NO_CENTS if self.is_second(account) else account.borne

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
        """Whether the payment's one capture was made."""
        return any(each.captured for each in self.accounts.values())

    def unresolved(self) -> Iterator[Account]:
        """Ended attempts that may or may not have been paid."""
        for each in self.accounts.values():
            if each.ended and not each.certain and not each.paid:
                yield each

    def waiting(self) -> Iterator[Request]:
        """Unanswered requests, and refused ones that were not repeated and are still needed: a
        person can repeat them.
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
            freed = None if request.frees is None else self.requests.get(request.frees)
            return mine.left > 0 or (freed is not None and freed.status == OPEN)
        return False

    def rail_said(self, conflict: e.ReconciliationRequired) -> Cents:
        """The settled amount that a conflict's report states; the instruction's if it has none."""
        named = conflict.report_kind == "SETTLED" and conflict.currency in (None, CURRENCY)
        return conflict.amount if named and conflict.amount else self.amount

    def _is_disputed(self, account: Account) -> bool:
        """A report about the attempt contradicts the record, and there is no verdict yet."""
        conflicts = (self.conflicts[name] for name in self.open_conflicts)
        return any(
            each.header.attempt == account.number and each.kind != FUNDS_CONTRADICTION
            for each in conflicts
        )

    # -- posting -----------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Post one event."""
        mine = self.account(event.header.attempt)
        self.state = event.header.state_after
        if type(event) in _OF_NO_MONEY:
            return  # most events; faster than the match
        match event:
            case _ if isinstance(event, NotOfMoney):
                return
            case e.PaymentIntentCreated():
                self.amount, self.currency = event.amount, event.currency
            case e.PaymentSettled():
                # A verdict has already posted the rail's amount; `checks` compares the two.
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
                    self._came_back(mine, event, event.amount or NO_CENTS)
            case e.ReconciliationRequired():
                self.conflicts[event.conflict_id] = event
                self.open_conflicts.add(event.conflict_id)
            case e.ReconciliationResolved():
                self._resolved(event, mine)
            case e.ProcessingSuspended():
                self.parked = True
            case e.ProcessingResumed():
                self.parked = False
            case _ if isinstance(event, e.FundsEvent):
                self._post_funds(event, mine)
            case _:
                assert_never(event)

    def end_decision(self) -> None:
        """The decision ends: an accepted amount is valid only within its verdict's decision."""
        self.accepted = None

    def _post_funds(self, event: e.FundsEvent, mine: Account) -> None:
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
                mine.held = Cents(mine.held + event.amount)
            case e.FundsCaptured():
                self._close(event.funds_ref, DONE)
                mine.captured = Cents(mine.captured + event.amount)
            case e.FundsReleased():
                self._close(event.funds_ref, DONE)
                mine.released = Cents(mine.released + event.amount)
            case e.FundsDebitForced():
                self._close(event.funds_ref, DONE)
                mine.debited = Cents(mine.debited + event.amount)
            case e.FundsReversed():
                self._close(event.funds_ref, DONE)
                mine.reversed = Cents(mine.reversed + event.amount)
            case e.FundsCredited():
                self._close(event.funds_ref, DONE)
                mine.credited = Cents(mine.credited + event.amount)
            case e.FundsHoldTransferred():
                giver, taker = self.account(event.from_attempt), self.account(event.to_attempt)
                giver.held = Cents(giver.held - event.amount)
                taker.held = Cents(taker.held + event.amount)
            case e.FundsReleaseDeferred():
                return
            case _:
                assert_never(event)

    def _requested(self, event: e.FundsRequested, mine: Account) -> None:
        if event.funds_ref in self.requests:
            return
        by_person = event.header.approval_id is not None or any(
            each.by_person and each.status == REFUSED
            for each in self.requests.values()
            if (each.attempt, each.operation) == (mine.number, event.operation)
        )
        if event.header.approval_id is not None and event.operation == "REVERSE":
            mine.forgiven = Cents(max(mine.returned, mine.forgiven) + event.amount)
        if by_person and event.operation in TAKING:
            mine.debit_approved = True
        self.requests[event.funds_ref] = Request(
            event.funds_ref, event.operation, mine.number, event.amount, by_person,
            event.hold_funds_ref,
        )  # fmt: skip

    def _close(self, reference: FundsRef, status: RequestState) -> None:
        request = self.requests.get(reference)
        if request is None:
            return
        request.status = status
        if status == DONE and self.accepted is not None:
            self.disputed = False  # what the verdict accepted is recorded

    def returned_after(self, mine: Account, event: e.PaymentReturned) -> Cents:
        """The amount returned, this report included: the sum over the returns' ids, or the highest
        total reported (ruling 13).
        """
        if event.rail_message_id and not event.via_enquiry:
            return max(mine.returned, Cents(mine.returns + event.amount))
        return max(mine.returned, event.amount)

    def _came_back(
        self, mine: Account, event: e.PaymentReturned | e.RailStatusReported, amount: Cents
    ) -> None:
        if event.rail_message_id and not event.via_enquiry:
            mine.returns = Cents(mine.returns + amount)
            amount = mine.returns
        mine.returned = max(mine.returned, amount)

    def _pay(self, mine: Account, settled: Cents) -> None:
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
                mine.paid, mine.settled, mine.certain = False, NO_CENTS, True
            case "RETURNED":
                self._pay(mine, mine.settled or self.rail_said(conflict))
                mine.returned = Cents(mine.returned + (event.amount or 0))
            case "REPORT_WRONG":
                return  # nothing of the money changes
            case _:
                assert_never(event.verdict)

    def settled_by(self, mine: Account, conflict: e.ReconciliationRequired) -> Cents:
        """What SETTLED_AFTER_ALL means: the amount that the rail names, or named before."""
        named = conflict.report_kind == "SETTLED" and conflict.amount is not None
        return self.rail_said(conflict) if named else mine.settled or self.amount
