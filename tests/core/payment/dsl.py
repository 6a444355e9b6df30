"""given(inputs).when(input).then(events): the smallest language for the core's tests.

Inputs are made by short functions of one payment; time is explicit; every accepted input is folded
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Self

from core.decider import Accepted, Context, Decision, Duplicate, NoEffect, Refusal, Unmatched
from core.header import Cause, InputHeader, OperatorHeader
from core.payment import commands as c
from core.payment.deadlines import with_deadline
from core.payment.decide import decide
from core.payment.evolve import evolve
from core.payment.state import Payment, money_outcome, pack, unpack
from core.refusals import NoEffectRule, Rule
from core.rules import Rules, parse
from core.values import (
    ApprovalId,
    Cents,
    ConflictId,
    Parties,
    Party,
    Sealed,
    external_ref,
    funds_ref,
    payment_intent_id,
)
from tests.rooms import ROOT

RULES_FOLDER = ROOT / "core" / "rules"
SOURCE, KEY = "mobile-app", "key-0001"
ID = payment_intent_id(SOURCE, KEY)
REF, REF2 = external_ref(ID, 1), external_ref(ID, 2)
AMOUNT = 12_345
START = 1_767_225_600_000
MINUTE = 60_000
DEADLINES_MAX = 100  # of one payment in one test, so that none can go on for ever
PARTIES = Parties(
    debtor=Party(name="Ada Payer", bsb="062000", account="12345678"),
    creditor=Party(name="Ben Payee", bsb="082001", account="87654321"),
    remittance="invoice 17",
)
BOOK: dict[bytes, Parties] = {b"parties": PARTIES}
SEALED = Sealed(scheme="avro.1", key_id=None, bytes=b"parties")
OPS, SENIOR, APPROVER, ADMIN = "ops_001", "sen_001", "apv_001", "adm_001"
ROLES = {
    OPS: ("operator",),
    SENIOR: ("senior_operator",),
    APPROVER: ("approver",),
    ADMIN: ("admin",),
}
ORIGIN: dict[type, str] = {
    c.CreatePayment: "upstream",
    c.RailReport: "rail",
    c.DepositsResult: "deposits",
    c.PolicyVerdict: "resolve",
    c.ApprovalDecision: "resolve",
    c.NotificationResult: "notified",
    c.TimerDue: "timer",
}


@cache
def rules(number: int = 1) -> Rules:
    return parse((RULES_FOLDER / f"{number}.yaml").read_bytes())


def sealed(parties: Parties) -> Sealed:
    """Sealed parties that `open_parties` can open again."""
    raw = repr(parties).encode()
    BOOK[raw] = parties
    return Sealed(scheme="avro.1", key_id=None, bytes=raw)


def open_parties(value: Sealed) -> Parties:
    if value.bytes not in BOOK:
        raise ValueError("unreadable")
    return BOOK[value.bytes]


# -- inputs ---------------------------------------------------------------------------------------


def head() -> InputHeader:
    return InputHeader(payment_intent_id=ID, command_id="cmd")


def by(person: str, approval: str | None = None, *, not_after: int = 2**60) -> OperatorHeader:
    return OperatorHeader(
        operator_id=person,
        roles=ROLES.get(person, ()),
        token_id="token",
        not_after=not_after,
        approval_id=None if approval is None else ApprovalId(approval),
    )


def create(**changes: Any) -> c.CreatePayment:
    fields: dict[str, Any] = {
        "header": head(), "source": SOURCE, "idempotency_key": KEY, "amount": AMOUNT,
        "currency": "AUD", "parties": SEALED, "end_to_end_id": "E2E-1", "service": "x2p1",
    }  # fmt: skip
    return c.CreatePayment(**(fields | changes))


def deposits(
    operation: str,
    result: str,
    *,
    attempt: int = 1,
    number: int = 1,
    amount: int = AMOUNT,
    code: str | None = None,
) -> c.DepositsResult:
    return c.DepositsResult(
        header=head(),
        funds_ref=funds_ref(ID, attempt, operation, number),
        operation=operation,
        result=result,
        amount=Cents(amount),
        hold_ref=f"hold-{attempt}" if result == "HELD" else None,
        code=code,
    )


def held(attempt: int = 1) -> c.DepositsResult:
    return deposits("HOLD", "HELD", attempt=attempt)


def policy(verdict: str = "PASSED", *, attempt: int = 1) -> c.PolicyVerdict:
    return c.PolicyVerdict(
        header=head(),
        policy_ref=f"{external_ref(ID, attempt)}P01",
        verdict=verdict,
        phase="CREATE" if attempt == 1 else "RETRY",
        rules_evaluated=("limits",),
        policy_version="1",
        failure_reason="FRAUD" if verdict == "DECLINED" else None,
    )


def rail(kind: str, code: str | None = None, *, attempt: int = 1, **changes: Any) -> c.RailReport:
    return c.RailReport(
        header=head(),
        external_ref=external_ref(ID, attempt),
        kind=kind,
        adapter="simulator",
        code=code,
        **changes,
    )


def enquiry(kind: str, code: str | None = None, **changes: Any) -> c.RailReport:
    return rail(kind, code, via_enquiry=True, **changes)


def never_submitted() -> c.RailReport:
    return enquiry("STATUS", "UNKNOWN", adapter_stopped=True)


def ask(action: str, person: str = SENIOR, **changes: Any) -> c.RequestApproval:
    return c.RequestApproval(
        header=head(), operator=by(person), action=action, reason="please", **changes
    )


def resolve_says(
    verdict: str = "APPROVED", approval: str = "apr_001", who: str = "policy"
) -> c.ApprovalDecision:
    return c.ApprovalDecision(
        header=head(),
        approval_id=ApprovalId(approval),
        verdict=verdict,
        decided_by=who,
        rules_evaluated=("rule 1",),
        policy_version="7",
    )


def person_says(
    verdict: str = "APPROVED", approval: str = "apr_001", who: str = APPROVER
) -> c.DecideApproval:
    header = OperatorHeader(operator_id=who, roles=("approver",), token_id="token", not_after=2**60)
    return c.DecideApproval(
        header=head(),
        operator=header,
        approval_id=ApprovalId(approval),
        verdict=verdict,
        reason="seen",
    )


def retry(number: int = 2, person: str = SENIOR, approval: str | None = None) -> c.RetryPayment:
    return c.RetryPayment(
        header=head(), operator=by(person, approval), attempt_id=f"att_{number:03d}", reason="again"
    )


def cancel(person: str = SENIOR, **changes: Any) -> c.CancelPayment:
    return c.CancelPayment(header=head(), operator=by(person), reason="customer asked", **changes)


def mark_failed(reason: str = "RAIL", person: str = SENIOR) -> c.MarkPaymentFailed:
    return c.MarkPaymentFailed(
        header=head(), operator=by(person), reason=reason, details="error 503"
    )


def expire(person: str | None = None) -> c.ExpirePayment:
    return c.ExpirePayment(
        header=head(), operator=None if person is None else by(person), reason="too late"
    )


def resolve(
    verdict: str, conflict: str = "cnf_001", attempt: int = 1, amount: int | None = None
) -> c.ResolveReconciliation:
    return c.ResolveReconciliation(
        header=head(),
        operator=by(SENIOR),
        conflict_id=ConflictId(conflict),
        attempt=attempt,
        verdict=verdict,
        details="bank confirmed",
        amount=None if amount is None else Cents(amount),
    )


def judged(
    verdict: str,
    number: int = 1,
    *,
    conflict: str = "cnf_001",
    attempt: int = 1,
    amount: int | None = None,
) -> list[Any]:
    """The verdict, asked for and approved before; `number` is the approval's."""
    words = {"conflict_id": conflict, "verdict": verdict, "attempt": attempt, "amount": amount}
    return [
        *approved("RESOLVE_RECONCILIATION", number, **words),
        resolve(verdict, conflict, attempt, amount),
    ]


def release_early(attempt: int = 1) -> c.ReleaseFunds:
    return c.ReleaseFunds(header=head(), operator=by(SENIOR), attempt=attempt, reason="hardship")


def reverse(attempt: int = 1) -> c.ReverseCapture:
    return c.ReverseCapture(
        header=head(), operator=by(SENIOR), attempt=attempt, reason="posted twice"
    )


def debit_again(attempt: int = 1) -> c.DebitFunds:
    return c.DebitFunds(
        header=head(), operator=by(SENIOR), attempt=attempt, reason="both settlements stand"
    )


def repeat_funds(operation: str, attempt: int = 1, person: str = SENIOR) -> c.RepeatFundsRequest:
    return c.RepeatFundsRequest(
        header=head(),
        operator=by(person),
        attempt=attempt,
        operation=operation,
        reason="account unblocked",
    )


def approved(action: str, number: int = 1, **changes: Any) -> list[Any]:
    """Asked for by the senior operator and approved by Resolve; RETRY_UNCERTAIN by a person."""
    name = f"apr_{number:03d}"
    if action == "RETRY_UNCERTAIN":
        return [ask(action, **changes), resolve_says("REFERRED", name), person_says(approval=name)]
    return [ask(action, **changes), resolve_says(approval=name)]


SENT: list[Any] = [create(), policy(), held()]
ACKNOWLEDGED = [*SENT, rail("ACCEPTED")]
SETTLED = [*ACKNOWLEDGED, rail("SETTLED", amount=AMOUNT, currency="AUD")]
CAPTURED = [*SETTLED, deposits("CAPTURE", "CAPTURED")]
FAILED_SAFE = [*SENT, rail("REJECTED", "AB08")]
RETRYABLE = [*FAILED_SAFE, deposits("RELEASE", "RELEASED")]  # a retry waits for the release
MARKED = [*SENT, *approved("MARK_FAILED", failure_reason="RAIL"), mark_failed()]
CANCELLED = [*SENT, *approved("CANCEL"), cancel()]


# -- given, when, then ----------------------------------------------------------------------------


class Case:
    """A payment with a clock. `when` decides one input twice: the second time it must
    append nothing.
    """

    def __init__(self, number: int = 1) -> None:
        self.state: Payment | None = None
        self.now = START
        self.offset = 0
        self.rules = rules(number)
        self.decision: Decision | None = None
        self.sources = frozenset({SOURCE})
        self.found: frozenset[str] = frozenset()
        self.history: list[Any] = []

    def context(self, command: Any, origin: str | None = None) -> Context:
        if origin is None:
            operator = getattr(command, "operator", None)
            origin = ORIGIN.get(type(command), "upstream" if operator is None else "operator")
        self.offset += 1
        cause = Cause(
            cluster_id="cluster",
            topic=f"npp.{origin}",
            partition=0,
            offset=self.offset,
            input_hash=bytes(32),
            command_id="cmd",
        )
        return Context(
            now_ms=self.now,
            cause=cause,
            rules=self.rules,
            origin=origin,
            sources=self.sources,
            open_parties=open_parties,
            recovered_submissions=self.found,
        )

    def give(self, command: Any, origin: str | None = None) -> Decision:
        before = None if self.state is None else pack(self.state)
        decision = decide(self.state, command, self.context(command, origin))
        assert before == (None if self.state is None else pack(self.state)), (
            "decide changed its input"
        )
        if isinstance(decision, Accepted):
            assert decision.events, "an accepted input appends something"
            folded = self.state
            for event in decision.events:
                folded = evolve(folded, event)
            assert folded is not None
            assert with_deadline(folded, self.rules) == decision.state
            assert unpack(pack(decision.state)) == decision.state
            self.state = decision.state
            self.history += decision.events
        return decision

    def given(self, *commands: Any) -> Self:
        for command in commands:
            decision = self.give(command)
            assert isinstance(decision, Accepted), f"{command} gave {decision}"
        return self

    def later(self, milliseconds: int) -> Self:
        self.now += milliseconds
        return self

    def when(self, command: Any, origin: str | None = None) -> Self:
        self.decision = self.give(command, origin)
        if isinstance(self.decision, Accepted) and not isinstance(command, c.TimerDue):
            again = self.give(command, origin)
            assert not isinstance(again, Accepted), f"{command} was done twice: {again}"
        return self

    def then(self, *names: str) -> Self:
        """The names of the appended events, in order; `Name:word` also looks for the word
        in the event.
        """
        assert isinstance(self.decision, Accepted), self.decision
        made = [type(event).__name__ for event in self.decision.events]
        assert made == [name.partition(":")[0] for name in names]
        for name, event in zip(names, self.decision.events, strict=True):
            word = name.partition(":")[2]
            assert not word or f"'{word}'" in repr(event), f"{word} is not in {event}"
        return self

    def asks(self, *kinds: str) -> Self:
        """What the outside was asked: kind or operation of each instruction, in order."""
        assert isinstance(self.decision, Accepted), self.decision
        made = [
            getattr(x, "operation", None) or getattr(x, "kind", None) or type(x).__name__
            for x in self.decision.instructions
        ]
        assert made == list(kinds)
        return self

    def refuses(self, rule: Rule) -> Self:
        assert isinstance(self.decision, Refusal), self.decision
        assert (self.decision.code, self.decision.rule) == (rule.code, rule.name), self.decision
        assert "{" not in self.decision.sentence
        return self

    def has_no_effect(self, rule: NoEffectRule | None = None) -> Self:
        assert isinstance(self.decision, NoEffect), self.decision
        assert rule is None or self.decision.rule == rule.name, self.decision
        return self

    def is_duplicate(self, first: int | None = None, last: int | None = None) -> Self:
        assert isinstance(self.decision, Duplicate), self.decision
        if first is not None:
            assert (self.decision.from_sequence, self.decision.to_sequence) == (first, last)
        return self

    def is_unmatched(self) -> Self:
        assert isinstance(self.decision, Unmatched), self.decision
        return self

    def stands(self, state: str, money: str | None = None, funds: str | None = None) -> Self:
        payment = self.payment
        assert payment.state == state
        assert money is None or money_outcome(payment) == money
        assert funds is None or payment.attempt.funds == funds
        return self

    @property
    def events(self) -> list[Any]:
        """What the last decision appended."""
        assert isinstance(self.decision, Accepted), self.decision
        return self.decision.events

    @property
    def instructions(self) -> list[Any]:
        """What the last decision asked of the outside."""
        assert isinstance(self.decision, Accepted), self.decision
        return self.decision.instructions

    @property
    def sentence(self) -> str:
        """What the last refusal says to people."""
        assert isinstance(self.decision, Refusal), self.decision
        return self.decision.sentence

    def event(self, kind: type) -> Any:
        """The last decision's only event of that kind."""
        (found,) = (event for event in self.events if isinstance(event, kind))
        return found

    def timer(self) -> Self:
        """The payment's own deadline comes."""
        payment = self.payment
        assert payment.deadline is not None, "the payment waits for no time"
        assert payment.deadline_kind is not None
        self.now = max(self.now, payment.deadline)
        return self.when(
            c.TimerDue(header=head(), kind=payment.deadline_kind, deadline=payment.deadline)
        )

    def timers_while(self, goes_on: Callable[[], bool]) -> Iterator[None]:
        """Deadlines come as long as `goes_on` says so; after each the test may look."""
        for _ in range(DEADLINES_MAX):
            if not goes_on():
                return
            self.timer()
            yield
        raise AssertionError(f"it goes on after {DEADLINES_MAX} deadlines")

    def timers_until(self, done: Callable[[], bool]) -> Self:
        """Deadlines come until `done` says so."""
        for _ in self.timers_while(lambda: not done()):
            pass
        return self

    def timer_until(self, kind: str) -> Self:
        """Deadlines of other kinds (repeats, enquiries) come first; the last one is of `kind`."""
        for _ in range(DEADLINES_MAX):
            due = self.payment.deadline_kind
            self.timer()
            if due == kind:
                return self
        raise AssertionError(f"no deadline of kind {kind} came")

    @property
    def payment(self) -> Payment:
        assert self.state is not None
        return self.state


def given(*commands: Any) -> Case:
    return Case().given(*commands)
