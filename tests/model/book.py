"""The model's own bookkeeping of a payment, from events, reports and instructions alone.

It knows the words of the history and adds them up; whether they were allowed is for the laws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.payment import events as e
from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from tests.model.vocabulary import ENDED, GIVING, LIVE, TAKING, attempt_of


@dataclass
class Hold:
    """Money of the customer that Deposits Core blocks. `attempt` owns it now."""

    funds_ref: str
    reference: str
    attempt: int
    amount: int
    captured: int = 0
    released: int = 0
    gone: bool = False  # Deposits Core says that it no longer exists

    @property
    def left(self) -> int:
        return 0 if self.gone else self.amount - self.captured - self.released


@dataclass
class Ask:
    """A request to Deposits Core under one fundsRef. `status` OPEN until answered for certain."""

    funds_ref: str
    operation: str
    attempt: int
    amount: int
    asked_at: int
    hold_ref: str | None = None
    hold_funds_ref: str | None = None
    not_after: int | None = None
    times: int = 1
    status: str = "OPEN"  # OPEN, DONE, REFUSED, DECLINED, NEVER_HELD
    code: str | None = None
    approval: str | None = None
    moot: bool = False  # a RELEASE by name of a HOLD that was refused: it may be asked or not

    @property
    def open(self) -> bool:
        return self.status == "OPEN" and not self.moot

    def over(self, now: int) -> bool:
        """A HOLD that Deposits Core never carries out any more."""
        return self.not_after is not None and now > self.not_after


@dataclass
class Try:
    """One attempt: what was sent, said and settled. Amounts in cents."""

    number: int
    state: str
    sent: int = 0  # how often PaymentSentToRail was written
    submit_before: int = 0
    found: bool = False  # a recovery found its instruction
    reported: bool = False  # the rail spoke of it before it was sent, whatever it said
    reason: str | None = None
    retry_safe: bool = False
    claimed: bool = False  # core says that non-payment is certain
    grounds: set[str] = field(default_factory=set)  # what makes it so, since the last send
    evidence: set[str] = field(default_factory=set)  # that the rail had it, since the last send
    hinted: bool = False  # an answer that the rail would not give without having had it
    bad_reason: bool = False  # a rail's reason forbids a retry
    policy: bool = False
    frozen_until: int = 0
    freeze_approval: str | None = None
    paid_order: int = 0  # 1 for the first attempt that was paid
    settled: int = 0
    return_ids: dict[str, int] = field(default_factory=dict)
    return_total: int = 0
    return_verdicts: int = 0
    returned: int = 0
    waived: int = 0
    risk_taken: bool = False  # a person approved a retry although it was uncertain

    @property
    def bears(self) -> int:
        """What the customer bears of this attempt (ruling 13)."""
        return max(0, self.settled - max(self.returned, self.waived))

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def may_settle(self) -> bool:
        """Not paid, and either not ended or not unpaid for certain."""
        return not self.settled and (self.state in LIVE or not self.claimed)


@dataclass
class Approval:
    identity: str
    action: str
    requester: str
    phase: str
    attempt: int
    failure_reason: str | None
    conflict_id: str | None
    verdict: str | None
    amount: int | None
    expires_at: int
    status: str = "REQUESTED"  # REQUESTED, REFERRED, APPROVED, REJECTED
    decided_by: str | None = None
    by_person: bool = False
    used: bool = False

    def open(self, now: int) -> bool:
        """Not used, rejected or expired."""
        return not self.used and self.status != "REJECTED" and now < self.expires_at


@dataclass
class Conflict:
    identity: str
    kind: str
    attempt: int
    report_kind: str | None
    amount: int | None
    currency: str | None
    message_id: str | None
    code: str | None = None
    verdict: str | None = None  # None while open


@dataclass
class Book:
    """Everything the model knows of the payment."""

    state: str | None = None
    amount: int = 0
    currency: str = ""
    execution: int = 0
    expires_at: int | None = None
    source: str = ""
    sequence: int = 0
    decided_at: int = 0
    authorised: bool = False
    tries: list[Try] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    asks: dict[str, Ask] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    given: dict[int, int] = field(default_factory=dict)
    captures: int = 0
    parked: bool = False
    paid_count: int = 0

    # -- questions ----------------------------------------------------------------------------

    @property
    def current(self) -> Try:
        return self.tries[-1]

    def attempt(self, number: int) -> Try | None:
        return self.tries[number - 1] if 0 < number <= len(self.tries) else None

    def open_conflicts(self, attempt: int | None = None) -> list[Conflict]:
        return [
            each
            for each in self.conflicts.values()
            if each.verdict is None and attempt in (None, each.attempt)
        ]

    def open_asks(self, *operations: str, attempt: int | None = None) -> list[Ask]:
        return [
            ask
            for ask in self.asks.values()
            if ask.open
            and (not operations or ask.operation in operations)
            and attempt in (None, ask.attempt)
        ]

    def refused_asks(self) -> list[Ask]:
        """Requests whose latest number was refused, so that a person has to ask again."""
        latest: dict[tuple[int, str], Ask] = {}
        for ask in self.asks.values():
            latest[ask.attempt, ask.operation] = ask
        return [ask for ask in latest.values() if ask.status == "REFUSED" and not self._moot(ask)]

    def _moot(self, ask: Ask) -> bool:
        """Nothing is left to ask for: the hold is gone or ended, or the money was moved."""
        if ask.operation == "HOLD":
            return True
        if ask.operation in {"RELEASE", "CAPTURE"}:
            mine = self.hold_of(ask)
            named = self.asks.get(ask.hold_funds_ref or "")
            if ask.operation == "RELEASE":
                unanswered = named is not None and named.open
                return not unanswered and (mine is None or mine.left == 0)
        each = self.attempt(ask.attempt)
        if each is None:
            return True
        net = self.taken.get(each.number, 0) - self.given.get(each.number, 0)
        return net == each.bears

    def hold_of(self, ask: Ask) -> Hold | None:
        """The hold that a request moves or ends."""
        if ask.operation in {"DEBIT_FORCED", "REVERSE", "CREDIT"}:
            return None  # they name it for Deposits Core's books only
        for hold in self.holds:
            if ask.hold_ref is not None and hold.reference == ask.hold_ref:
                return hold
            if ask.hold_funds_ref is not None and hold.funds_ref == ask.hold_funds_ref:
                return hold
        return None

    def approved(self, ask: Ask, action: str) -> bool:
        """Whether a request was made by an approval of this action."""
        used = self.approvals.get(ask.approval or "")
        return used is not None and used.action == action

    def asks_of(self, hold: Hold) -> list[Ask]:
        """Open requests that speak of a hold."""
        return [ask for ask in self.asks.values() if ask.open and self.hold_of(ask) is hold]

    def taking(self, attempt: int) -> int:
        return sum(a.amount for a in self.open_asks(*TAKING, attempt=attempt))

    def giving(self, attempt: int) -> int:
        return sum(a.amount for a in self.open_asks(*GIVING, attempt=attempt))

    def net(self, attempt: int) -> int:
        """Debited for an attempt once every open request is carried out."""
        taken = self.taken.get(attempt, 0) + self.taking(attempt)
        return taken - self.given.get(attempt, 0) - self.giving(attempt)

    def money_outcomes(self) -> set[str]:
        """What `moneyOutcome` may say (ruling 6)."""
        if self.open_conflicts():
            return {"CONTRADICTED"}
        paid = [t for t in self.tries if t.settled]
        uncertain = [t for t in self.tries if t.ended and t.may_settle]
        if any(t.returned < t.settled for t in paid):
            return {"PAID"}
        if paid:
            return {"RETURNED", "UNCERTAIN"} if uncertain else {"RETURNED"}
        if uncertain:
            return {"UNCERTAIN", "OPEN"} if self.current.state in LIVE else {"UNCERTAIN"}
        return {"OPEN"} if self.current.state in LIVE else {"NOT_PAID"}

    # -- what instructions and answers add ----------------------------------------------------

    def instructed(self, request: DepositsRequest) -> None:
        """Events do not name the hold that a request speaks of; the instruction does."""
        ask = self.asks.get(request.funds_ref)
        if ask is not None and request.hold_ref is not None:
            ask.hold_ref = request.hold_ref

    def answered(self, result: DepositsResult) -> None:
        """An accepted answer that closes a request without an event of its own for it."""
        ask = self.asks.get(result.funds_ref)
        if ask is None or ask.status != "OPEN" or result.operation != ask.operation:
            return
        if result.result in {"REFUSED", "DECLINED", "NEVER_HELD"}:
            ask.status, ask.code = result.result, result.code
        if result.result == "NEVER_HELD" and ask.hold_funds_ref in self.asks:
            self.asks[ask.hold_funds_ref].status = "NEVER_HELD"
        if ask.operation == "HOLD" and ask.status != "OPEN":
            for each in self.asks.values():
                each.moot = each.moot or each.hold_funds_ref == ask.funds_ref
        mine = self.hold_of(ask)
        if result.result == "REFUSED" and result.code == "HOLD_GONE" and mine is not None:
            mine.gone = True

    # -- adding up ----------------------------------------------------------------------------

    def apply(self, event: Any) -> None:
        header = event.header
        self.sequence = header.sequence
        self.decided_at = header.decided_at
        if type(event).__name__ in _LIFECYCLE:
            _LIFECYCLE[type(event).__name__](self, event)
            self.state = header.state_after
            if self.tries:
                self.current.state = header.state_after
            return
        handler = _BESIDE.get(type(event).__name__)
        if handler is not None:
            handler(self, event)

    def pay(self, number: int, amount: int) -> None:
        mine = self.tries[number - 1]
        if not mine.paid_order:
            self.paid_count += 1
            mine.paid_order = self.paid_count
        mine.settled, mine.claimed = amount, False


def _created(book: Book, event: e.PaymentIntentCreated) -> None:
    book.amount, book.currency = event.amount, event.currency
    book.execution = event.requested_execution_time or 0
    book.expires_at, book.source = event.expires_at, event.source
    book.tries.append(Try(1, "CREATED"))


def _authorised(book: Book, event: e.PaymentAuthorised) -> None:
    book.authorised = True


def _attempted(book: Book, event: e.PaymentAttemptCreated) -> None:
    number = event.header.attempt
    if number == len(book.tries) + 1:
        book.tries.append(Try(number, "AUTHORISED"))


def _sent(book: Book, event: e.PaymentSentToRail) -> None:
    mine = book.current
    mine.sent += 1
    mine.submit_before = event.submit_before
    mine.claimed = False
    mine.grounds.clear()
    mine.evidence.clear()


def _settled(book: Book, event: e.PaymentSettled) -> None:
    book.pay(event.header.attempt, event.amount)


def _failed(book: Book, event: e.PaymentFailed) -> None:
    mine = book.current
    mine.reason, mine.retry_safe = event.header.reason, event.retry_safe
    mine.claimed = event.non_payment_certain


def _expired(book: Book, event: e.PaymentExpired) -> None:
    mine = book.current
    mine.reason, mine.retry_safe = "EXPIRED", False
    mine.claimed = event.non_payment_certain


def _ignored(book: Book, event: Any) -> None:
    """Its state is all that it changes."""


_LIFECYCLE: dict[str, Any] = {
    "PaymentIntentCreated": _created,
    "PaymentAuthorised": _authorised,
    "PaymentAttemptCreated": _attempted,
    "PaymentSentToRail": _sent,
    "PaymentAcknowledged": _ignored,
    "PaymentSettled": _settled,
    "PaymentFailed": _failed,
    "PaymentExpired": _expired,
}


def _policy(book: Book, event: e.PolicyChecked) -> None:
    book.tries[event.header.attempt - 1].policy = event.verdict == "PASSED"


def _requested(book: Book, event: e.FundsRequested) -> None:
    known = book.asks.get(event.funds_ref)
    if known is not None:
        known.times += 1
        known.asked_at = event.header.decided_at
        if event.not_after is not None:
            known.not_after = max(known.not_after or 0, event.not_after)
        return
    book.asks[event.funds_ref] = Ask(
        event.funds_ref,
        event.operation,
        attempt_of(event.funds_ref) or 0,
        event.amount,
        event.header.decided_at,
        hold_funds_ref=event.hold_funds_ref,
        not_after=event.not_after,
        approval=event.header.approval_id,
    )
    used = book.approvals.get(event.header.approval_id or "")
    mine = book.attempt(attempt_of(event.funds_ref) or 0)
    by_person = used is not None and used.action == "REVERSE"
    if event.operation == "REVERSE" and mine is not None and by_person:
        mine.waived = max(mine.waived, mine.returned) + event.amount


def _answered(book: Book, funds_ref: str, status: str, code: str | None = None) -> Ask | None:
    ask = book.asks.get(funds_ref)
    if ask is not None:
        ask.status, ask.code = status, code
    return ask


def _request_failed(book: Book, event: e.FundsRequestFailed) -> None:
    ask = book.asks.get(event.funds_ref)
    if ask is not None and event.result == "REFUSED" and ask.status != "DONE":
        ask.status, ask.code = "REFUSED", event.code


def _held(book: Book, event: e.FundsHeld) -> None:
    _answered(book, event.funds_ref, "DONE")
    owner = attempt_of(event.funds_ref) or event.header.attempt
    book.holds.append(Hold(event.funds_ref, event.hold_ref, owner, event.amount))


def _declined(book: Book, event: e.FundsHoldDeclined) -> None:
    _answered(book, event.funds_ref, "DECLINED", event.code)


def _captured(book: Book, event: e.FundsCaptured) -> None:
    ask = _answered(book, event.funds_ref, "DONE")
    book.captures += 1
    mine = None if ask is None else book.hold_of(ask)
    if mine is not None:
        mine.captured += event.amount
    _take(book, event.funds_ref, event.amount)


def _released(book: Book, event: e.FundsReleased) -> None:
    ask = book.asks.get(event.funds_ref)
    if ask is not None and ask.operation == "RELEASE":
        ask.status = "DONE"
    mine = None if ask is None else book.hold_of(ask)
    if mine is not None:
        mine.released += event.amount


def _forced(book: Book, event: e.FundsDebitForced) -> None:
    _answered(book, event.funds_ref, "DONE")
    _take(book, event.funds_ref, event.amount)


def _gave(book: Book, event: e.FundsReversed | e.FundsCredited) -> None:
    _answered(book, event.funds_ref, "DONE")
    number = attempt_of(event.funds_ref) or 0
    book.given[number] = book.given.get(number, 0) + event.amount


def _take(book: Book, funds_ref: str, amount: int) -> None:
    number = attempt_of(funds_ref) or 0
    book.taken[number] = book.taken.get(number, 0) + amount


def _transferred(book: Book, event: e.FundsHoldTransferred) -> None:
    for hold in book.holds:
        if hold.reference == event.hold_ref and hold.left > 0:
            hold.attempt = event.to_attempt


def _asked(book: Book, event: e.OperatorActionRequested) -> None:
    identity = event.header.approval_id or ""
    book.approvals[identity] = Approval(
        identity, event.action, event.requester, event.phase, event.header.attempt,
        event.failure_reason, event.conflict_id, event.verdict, event.amount, event.expires_at,
    )  # fmt: skip
    if event.frozen_until is not None:
        mine = book.tries[event.header.attempt - 1]
        mine.frozen_until, mine.freeze_approval = event.frozen_until, identity


def _referred(book: Book, event: e.OperatorActionReferred) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.status = "REFERRED"


def _approved(book: Book, event: e.OperatorActionApproved) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.by_person = mine.status == "REFERRED"
        mine.status, mine.decided_by = "APPROVED", event.decided_by
        mine.expires_at = event.expires_at


def _rejected(book: Book, event: e.OperatorActionRejected) -> None:
    mine = book.approvals.get(event.header.approval_id or "")
    if mine is not None:
        mine.status = "REJECTED"


def _confirmed(book: Book, event: e.NonPaymentConfirmed) -> None:
    mine = book.tries[event.header.attempt - 1]
    mine.claimed = True
    if not event.retry_safe:
        mine.bad_reason = True


def _conflict(book: Book, event: e.ReconciliationRequired) -> None:
    book.conflicts[event.conflict_id] = Conflict(
        event.conflict_id, event.kind, event.header.attempt, event.report_kind,
        event.amount, event.currency, event.rail_message_id, event.code,
    )  # fmt: skip


def _resolved(book: Book, event: e.ReconciliationResolved) -> None:
    conflict = book.conflicts.get(event.conflict_id)
    if conflict is not None:
        conflict.verdict = event.verdict
    mine = book.attempt(event.header.attempt)
    if mine is None:
        return
    match event.verdict:
        case "SETTLED_AFTER_ALL":
            if not mine.settled:
                book.pay(mine.number, book.amount)
        case "AMOUNT_ACCEPTED":
            if conflict is not None and conflict.report_kind == "SETTLED":
                book.pay(mine.number, conflict.amount or book.amount)
        case "NOT_PAID":
            mine.settled, mine.paid_order = 0, 0
            mine.claimed = True
            mine.grounds.add("VERDICT")
        case "RETURNED":
            if not mine.settled:
                book.pay(mine.number, book.amount)
            mine.return_verdicts += event.amount or 0
            mine.returned += event.amount or 0
        case _:
            if conflict is not None and conflict.report_kind is not None:
                mine.evidence.discard(conflict.report_kind)


def _returned(book: Book, event: e.PaymentReturned) -> None:
    mine = book.tries[event.header.attempt - 1]
    if event.rail_message_id is not None and not event.via_enquiry:
        mine.return_ids[event.rail_message_id] = event.amount
    else:
        mine.return_total = max(mine.return_total, event.amount)
    mine.returned = event.total


def _noted(book: Book, event: e.RailStatusReported) -> None:
    """A return that does not raise the sum is told all the same: its id counts from then on."""
    one = event.rail_message_id is not None and not event.via_enquiry
    if event.kind == "RETURNED" and one and event.amount is not None:
        mine = book.tries[event.header.attempt - 1]
        mine.return_ids[event.rail_message_id or ""] = event.amount


def _suspended(book: Book, event: e.ProcessingSuspended) -> None:
    book.parked = True


def _resumed(book: Book, event: e.ProcessingResumed) -> None:
    book.parked = False


_BESIDE: dict[str, Any] = {
    "PolicyChecked": _policy,
    "FundsRequested": _requested,
    "FundsRequestFailed": _request_failed,
    "FundsHeld": _held,
    "FundsHoldDeclined": _declined,
    "FundsCaptured": _captured,
    "FundsReleased": _released,
    "FundsDebitForced": _forced,
    "FundsReversed": _gave,
    "FundsCredited": _gave,
    "FundsHoldTransferred": _transferred,
    "OperatorActionRequested": _asked,
    "OperatorActionReferred": _referred,
    "OperatorActionApproved": _approved,
    "OperatorActionRejected": _rejected,
    "NonPaymentConfirmed": _confirmed,
    "ReconciliationRequired": _conflict,
    "ReconciliationResolved": _resolved,
    "PaymentReturned": _returned,
    "RailStatusReported": _noted,
    "ProcessingSuspended": _suspended,
    "ProcessingResumed": _resumed,
}
