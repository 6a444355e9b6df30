"""What the model knows about a payment: attempts, holds, requests, approvals, conflicts.

`bookkeeping` adds up the events; the laws check whether they were allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core.payment.commands import DepositsResult
from core.payment.instructions import DepositsRequest
from tests.model.vocabulary import ENDED, GIVING, LIVE, TAKING


@dataclass
class Hold:
    """Money of the customer that Deposits Core blocks. `attempt` is its current owner."""

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
    """A request to Deposits Core under one fundsRef. `status` is OPEN until there is a certain
    answer.
    """

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
    moot: bool = False  # a RELEASE by name of a refused HOLD: it is optional

    @property
    def open(self) -> bool:
        return self.status == "OPEN" and not self.moot

    def over(self, now: int) -> bool:
        """A HOLD that Deposits Core can no longer carry out."""
        return self.not_after is not None and now > self.not_after


@dataclass
class Try:
    """One attempt: what was sent, reported and settled. Amounts in cents."""

    number: int
    state: str
    sent: int = 0  # how often PaymentSentToRail was written
    submit_before: int = 0
    found: bool = False  # a recovery found its instruction
    reported: bool = False  # the rail reported on it before it was sent
    reason: str | None = None
    retry_safe: bool = False
    claimed: bool = False  # core says that non-payment is certain
    grounds: set[str] = field(default_factory=set)  # the reasons, since the last send
    evidence: set[str] = field(default_factory=set)  # that the rail had it, since the last send
    hinted: bool = False  # an answer that implies that the rail had it
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
    risk_taken: bool = False  # a person approved RETRY_UNCERTAIN

    @property
    def bears(self) -> int:
        """What the customer bears for this attempt (ruling 13)."""
        return max(0, self.settled - max(self.returned, self.waived))

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def may_settle(self) -> bool:
        """Not paid, and either not ended or not certainly unpaid."""
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
    """Everything that the model knows about the payment."""

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

    # -- queries -----------------------------------------------------------------------------------

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
        """Requests whose latest number was refused, so that a person has to repeat them."""
        latest: dict[tuple[int, str], Ask] = {}
        for ask in self.asks.values():
            latest[ask.attempt, ask.operation] = ask
        return [ask for ask in latest.values() if ask.status == "REFUSED" and not self._moot(ask)]

    def _moot(self, ask: Ask) -> bool:
        """Nothing is left to request: the hold is gone or ended, or the money was moved."""
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
        """Whether a request was made with an approval of this action."""
        used = self.approvals.get(ask.approval or "")
        return used is not None and used.action == action

    def asks_of(self, hold: Hold) -> list[Ask]:
        """Open requests about a hold."""
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
        """The possible values of `moneyOutcome` (ruling 6)."""
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

    # -- instructions and answers ------------------------------------------------------------------

    def instructed(self, request: DepositsRequest) -> None:
        """Events do not name the hold of a request; the instruction does."""
        ask = self.asks.get(request.funds_ref)
        if ask is not None and request.hold_ref is not None:
            ask.hold_ref = request.hold_ref

    def answered(self, result: DepositsResult) -> None:
        """An accepted answer that closes a request without an event of its own."""
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

    def pay(self, number: int, amount: int) -> None:
        """The attempt counts as paid, by a report or a verdict."""
        mine = self.tries[number - 1]
        if not mine.paid_order:
            self.paid_count += 1
            mine.paid_order = self.paid_count
        mine.settled, mine.claimed = amount, False
