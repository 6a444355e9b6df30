"""A payment filled to each of its limits."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from core.decider import Accepted, Decision
from core.header import OperatorHeader
from core.payment import commands as c
from core.payment import funds
from core.payment import state as s
from core.payment.decide import decide
from core.payment.report_table import KINDS
from core.payment.state import PACKED_BYTES_MAX, Attempt, Payment, pack
from core.values import ApprovalId, Parties, Party, conflict_id, external_ref, payment_intent_id
from schemas.codec.parties import open_parties, seal
from tests.core.payment import dsl as d
from tests.core.payment.case import Case

LIMITS = d.rules().limits
ATTEMPTS = LIMITS.attempts_max
APPROVALS_KEPT = LIMITS.approvals_open_max + s.APPROVALS_REMEMBERED_MAX - 1
CONFLICTS_KEPT = s.CONFLICTS_LISTED_MAX + s.CONFLICTS_REMEMBERED_MAX
UNLISTED = s.CONFLICTS_OPEN_MAX
MESSAGES = 2 * ATTEMPTS  # one when it starts again, one when it ends
# One for each used approval, one for each conflict of a recovery, and an expiry.
RESULTS = LIMITS.approvals_max + s.RECOVERED_MAX + ATTEMPTS + 1
OPERATIONS = 6
# The first request of each operation and attempt, and the repeats over the whole payment.
ASKS = OPERATIONS * ATTEMPTS + funds.REQUESTS_MAX + s.RETURNS_MAX
REPORTS = len(KINDS) + 1  # each kind, and a rejection that was only noted
REMEMBERED = RESULTS + UNLISTED + CONFLICTS_KEPT + MESSAGES + 2 * APPROVALS_KEPT
ENDS = 1 + REMEMBERED + (1 + REPORTS) * ATTEMPTS + ASKS + s.ENDS_KEPT

# Every part of the state that holds a collection, with its maximum size.
PAYMENT: dict[str, int] = {
    "attempts": ATTEMPTS,
    "approvals": APPROVALS_KEPT,
    "conflicts": CONFLICTS_KEPT,
    "conflicts_unlisted_keys": UNLISTED,
    "notifications": MESSAGES,
    "results": RESULTS,
    "ends": ENDS,
}

ATTEMPT: dict[str, int] = {"returns": s.RETURNS_MAX, "funds_requests": ASKS, "reports": REPORTS}
# Every counter. Without a limit of its own it is at most a 9-byte number.
NUMBER = 2**63 - 1

PAYMENT_COUNTERS: dict[str, int] = {
    "approvals_made": LIMITS.approvals_max,
    "conflicts_made": s.CONFLICTS_OPEN_MAX + LIMITS.approvals_max + s.RECOVERED_MAX + ATTEMPTS,
    "conflicts_unlisted": s.CONFLICTS_OPEN_MAX + s.RECOVERED_MAX + ATTEMPTS,
    "notes": LIMITS.notes_max + s.RETURNS_MAX + 2 * ATTEMPTS,
    "sequence": NUMBER,
    "decision_from": NUMBER,
    "decision_topic": NUMBER,
    "decision_offset": NUMBER,
}

ATTEMPT_COUNTERS: dict[str, int] = {
    "number": ATTEMPTS,
    "policy_from": NUMBER,
    "enquiries": NUMBER,
    "enquiry_round": NUMBER,
}

# Texts, by their maximum length: an input's limit, or 64 for our own words.
WORD = 64

PAYMENT_TEXTS: dict[str, int] = {
    "payment_intent_id": WORD, "source": 64, "idempotency_key": 128, "currency": 3,
    "parties_scheme": WORD, "parties_key_id": 128, "parties_bytes": 4_096, "end_to_end_id": 35,
    "service": WORD, "uetr": 36, "customer_id": 128, "state": WORD, "reason": WORD,
    "last_lifecycle_event": WORD, "deadline_kind": WORD, "traceparent": 128,
}  # fmt: skip

ATTEMPT_TEXTS: dict[str, int] = {
    "state": WORD, "policy": WORD, "frozen_by": WORD, "funds": WORD, "hold_ref": 140,
    "overdue": WORD, "ended_by": WORD, "reason": WORD, "recall": WORD, "outcome": WORD,
}  # fmt: skip

# Lists name things by our own words. An external id or text is only compared, so its 16-byte hash
# stands for it, or 32 hexadecimal digits.
INNER_TEXT, INNER_BYTES = 36, 16
RESULT_KEY = 5 + 128  # of a cancel: the customer's id


def wide(characters: int, tail: str = "") -> str:
    """That many characters, of four bytes each except for the suffix."""
    return "\U0001f600" * (characters - len(tail)) + tail


SOURCE, KEY = wide(64), wide(128)
ID = payment_intent_id(SOURCE, KEY)

WIDEST = Parties(
    debtor=Party(name=wide(140), bsb="062000", account="123456789"),
    creditor=Party(name=wide(140), bsb=None, account=None, pay_id_type="ORGN", pay_id=wide(256)),
    remittance=wide(280),
)


class Flood:
    """A payment under endless inputs; after each, every part of its state is within its limit."""

    def __init__(self, **changes: Any) -> None:
        self.state: Payment | None = None
        self.now = d.START
        self.found: frozenset[str] = frozenset()
        self.case = Case()
        self.persons = 0
        self.widest = 0
        fields: dict[str, Any] = {
            "header": msgspec.structs.replace(self.head(), traceparent=wide(128)),
            "source": SOURCE, "idempotency_key": KEY,
            "parties": seal(WIDEST), "end_to_end_id": wide(35), "customer_id": wide(128),
            "uetr": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "requested_execution_time": d.START,
        }  # fmt: skip
        self.must(d.create(**(fields | changes)))

    @property
    def payment(self) -> Payment:
        assert self.state is not None
        return self.state

    @property
    def attempt(self) -> Attempt:
        return self.payment.attempts[-1]

    def head(self) -> Any:
        return msgspec.structs.replace(d.head(), payment_intent_id=ID)

    def give(self, command: Any) -> Decision:
        context = msgspec.structs.replace(
            self.case.context(command),
            now_ms=self.now,
            sources=frozenset({SOURCE}),
            open_parties=open_parties,
            recovered_submissions=self.found,
        )
        decision = decide(self.state, command, context)
        if isinstance(decision, Accepted):
            self.state = decision.state
            self.widest = max(self.widest, within_limits(decision.state))
        return decision

    def must(self, command: Any) -> Accepted:
        decision = self.give(command)
        assert isinstance(decision, Accepted), f"{command} gave {decision}"
        return decision

    def person(self) -> str:
        self.persons += 1
        return wide(128, f"{self.persons:06d}")

    def operator(self, name: str | None = None) -> OperatorHeader:
        return OperatorHeader(
            operator_id=name or self.person(),
            roles=("senior_operator",),
            token_id="t",
            not_after=2**60,
        )

    def report(self, kind: Any, code: str | None = None, **changes: Any) -> c.RailReport:
        number = changes.pop("attempt", len(self.payment.attempts))
        reference = external_ref(ID, number)
        return c.RailReport(
            header=self.head(),
            external_ref=reference,
            kind=kind,
            adapter="simulator",
            code=code,
            **changes,
        )

    def ask(self, operation: str) -> s.FundsRequestStatus:
        return [ask for ask in self.attempt.funds_requests if ask.operation == operation][-1]

    def answer(self, operation: str, result: str, **changes: Any) -> c.DepositsResult:
        """Answer the current attempt's last request of the operation."""
        ask, number = self.ask(operation), len(self.payment.attempts)
        known = d.deposits(
            operation, result, attempt=number, number=ask.number, amount=ask.amount
        )  # the reference belongs to another payment
        reference = external_ref(ID, number) + known.funds_ref[30:]
        fields = {"header": self.head(), "funds_ref": reference}
        if result == "HELD":
            fields["hold_ref"] = wide(140)
        return msgspec.structs.replace(known, **(fields | changes))

    def passed(self) -> c.PolicyVerdict:
        reference = f"{external_ref(ID, len(self.payment.attempts))}P01"
        return msgspec.structs.replace(d.policy(), header=self.head(), policy_ref=reference)

    def request(self, action: Any, person: str, **changes: Any) -> c.RequestApproval:
        return c.RequestApproval(
            header=self.head(),
            operator=self.operator(person),
            action=action,
            reason="please",
            **changes,
        )

    def decided(self, verdict: Any, approval: str | None = None) -> c.ApprovalDecision:
        name = approval or self.payment.approvals[-1].id
        return c.ApprovalDecision(
            header=self.head(),
            approval_id=ApprovalId(name),
            verdict=verdict,
            decided_by=self.person(),
            rules_evaluated=("rule",),
            policy_version="1",
        )

    def approve(self, action: str, **changes: Any) -> str:
        """Request and approve; return the requester."""
        person = self.person()
        self.must(self.request(action, person, **changes))
        self.must(self.decided("APPROVED"))
        return person

    def again(self, operation: Any) -> c.RepeatFundsRequest:
        number = len(self.payment.attempts)
        return c.RepeatFundsRequest(
            header=self.head(),
            operator=self.operator(),
            attempt=number,
            operation=operation,
            reason="again",
        )

    def refuse_to_the_limit(self, operation: str) -> None:
        """Deposits Core refuses and an operator repeats, until one request is left."""
        while made_again(self.payment) < funds.REQUESTS_MAX - 1:
            self.must(self.answer(operation, "REFUSED"))
            self.must(self.again(operation))

    def contradict(self, name: str) -> Decision:
        """A report that differs in every field that a report has."""
        return self.give(
            self.report(
                "SETTLED",
                wide(35, name),
                amount=2**62,
                currency=wide(64),
                rail_message_id=wide(140, name),
            )
        )

    def resolve_one(self) -> None:
        """Resolve the oldest open conflict, listed or only counted."""
        state = self.payment
        listed = [each for each in state.conflicts if each.verdict is None]
        if listed:
            conflict, attempt = listed[0].id, listed[0].attempt
        else:
            done = {key[1:].split(":")[0] for key in state.results if key[0] == "Q"}
            names = (conflict_id(n) for n in range(1, state.conflicts_made + 1))
            conflict, attempt = next(n for n in names if n not in done), len(state.attempts)
        action, verdict = "RESOLVE_RECONCILIATION", "REPORT_WRONG"
        person = self.approve(action, conflict_id=conflict, verdict=verdict, attempt=attempt)
        operator = self.operator(person)
        self.must(
            c.ResolveReconciliation(
                header=self.head(),
                operator=operator,
                conflict_id=conflict,
                attempt=attempt,
                verdict=cast(Any, verdict),
                details="seen",
            )
        )

    def sent(self) -> Flood:
        self.must(self.passed())
        self.must(self.answer("HOLD", "HELD"))
        assert self.payment.state == "SENT"
        return self

    def retried(self) -> None:
        """The rail rejects it safely, and the next attempt begins."""
        self.must(self.report("REJECTED", "AB08"))
        self.must(self.answer("RELEASE", "RELEASED"))
        self.retry()

    def retry(self) -> None:
        person = self.approve("RETRY")
        name = f"att_{len(self.payment.attempts) + 1:03d}"
        self.must(
            c.RetryPayment(
                header=self.head(), operator=self.operator(person), attempt_id=name, reason="again"
            )
        )


def made_again(state: Payment) -> int:
    return sum(1 for attempt in state.attempts for ask in attempt.funds_requests if ask.number > 1)


def within_limits(state: Payment) -> int:
    """The packed size. Raises AssertionError if a part of the state is over its limit."""
    for holder, sizes, counters, texts in (
        (state, PAYMENT, PAYMENT_COUNTERS, PAYMENT_TEXTS),
        *((attempt, ATTEMPT, ATTEMPT_COUNTERS, ATTEMPT_TEXTS) for attempt in state.attempts),
    ):
        for name, most in sizes.items():
            assert len(getattr(holder, name)) <= most, name
        for name, most in counters.items():
            assert getattr(holder, name) <= most, name
        for name, most in texts.items():
            assert len(getattr(holder, name) or "") <= most, name
    entries: list[Any] = [*state.approvals, *state.conflicts, *state.notifications]
    for attempt in state.attempts:
        entries += [*attempt.funds_requests, *attempt.reports, *attempt.returns]
    for entry in [*entries, *state.conflicts_unlisted_keys]:
        for value in (entry,) if type(entry) is bytes else msgspec.structs.astuple(entry):
            assert type(value) is not str or len(value) <= INNER_TEXT
            assert type(value) is not bytes or len(value) <= INNER_BYTES
    assert all(len(key) <= RESULT_KEY for key in state.results)
    assert sum(len(attempt.funds_requests) for attempt in state.attempts) <= ASKS
    assert sum(len(attempt.returns) for attempt in state.attempts) <= s.RETURNS_MAX
    size = len(pack(state))
    assert size < PACKED_BYTES_MAX
    return size
