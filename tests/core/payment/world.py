"""One payment of the matrices: decides inputs, keeps the results, answers instructions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import msgspec

from core.decider import Accepted, Context, Decision
from core.header import Cause, InputHeader, OperatorHeader
from core.payment import commands as c
from core.payment import instructions as i
from core.payment.deadlines import with_deadline
from core.payment.decide import decide
from core.payment.evolve import evolve
from core.rules import Rules, parse
from core.values import (
    ApprovalId,
    Cents,
    ConflictId,
    FundsRef,
    Parties,
    Party,
    Sealed,
    external_ref,
    payment_intent_id,
)
from tests.rooms import ROOT

RULES_1 = ROOT / "core" / "rules" / "1.yaml"


SOURCE = "mobile-app"


KEY = "key-0001"


PAYMENT = payment_intent_id(SOURCE, KEY)


AMOUNT = 12_345


START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


HOUR_MS = 3_600_000


SUBMIT_WINDOW_MS = 90_000  # later than any submitBefore of rule set 1


STEP_MS = 20  # between two inputs


SEALED = Sealed(scheme="avro.1", key_id=None, bytes=b"parties of the tests")


PARTIES = Parties(
    debtor=Party(name="Ada Payer", bsb="062000", account="12345678"),
    creditor=Party(name="Ben Payee", bsb="082001", account="87654321"),
    remittance="invoice 17",
)


ROLES = ("operator", "senior_operator", "admin")


ORIGINS: dict[type, str] = {
    c.CreatePayment: "upstream",
    c.RailReport: "rail",
    c.DepositsResult: "deposits",
    c.PolicyVerdict: "resolve",
    c.ApprovalDecision: "resolve",
    c.NotificationResult: "notified",
    c.TimerDue: "timer",
}


TOPICS = {
    "upstream": "npp.payment.commands.v1",
    "operator": "npp.payment.operator-commands.v1",
    "rail": "npp.rail.reports.v1",
    "deposits": "npp.deposits.results.v1",
    "resolve": "npp.resolve.decisions.v1",
    "notified": "npp.customer.notified.v1",
    "timer": "npp.payment.timers.v1",
}


REF = external_ref(PAYMENT, 1)


def open_parties(sealed: Sealed) -> Parties:
    if sealed != SEALED:
        raise ValueError("not the parties of the tests")
    return PARTIES


@cache
def rules() -> Rules:
    return parse(RULES_1.read_bytes())


class World:
    """One payment, its clock, its history and its instructions."""

    def __init__(self) -> None:
        self.payment: Any = None
        self.now_ms = START_MS
        self.offset = 0
        self.messages = 0
        self.events: list[Any] = []
        self.instructions: list[Any] = []
        self.rules = rules()
        self.operator_id = "ops_001"
        self.roles = ROLES

    def give(self, command: Any) -> Decision:
        """Decide one input. If it is accepted, its state must be the fold of its events."""
        self.now_ms += STEP_MS
        operator = getattr(command, "operator", None)
        origin = "operator" if operator is not None else ORIGINS.get(type(command), "upstream")
        raw = msgspec.msgpack.encode(command)
        cause = Cause(
            cluster_id="cluster-1",
            topic=TOPICS[origin],
            partition=0,
            offset=self.offset,
            input_hash=hashlib.sha256(raw).digest(),
            command_id=command.header.command_id,
        )
        self.offset += 1
        context = Context(
            now_ms=self.now_ms,
            cause=cause,
            rules=self.rules,
            origin=cast(Any, origin),
            sources=frozenset({SOURCE}) if origin == "upstream" else frozenset(),
            open_parties=open_parties,
        )
        decision = decide(self.payment, command, context)
        if isinstance(decision, Accepted):
            folded = self.payment
            for event in decision.events:
                folded = evolve(folded, event)
            folded = with_deadline(folded, self.rules)
            assert folded == decision.state, (
                "the decided state is not the fold of the decided events"
            )
            self.payment = decision.state
            self.events += decision.events
            self.instructions += decision.instructions
        return decision

    def must(self, command: Any) -> list[Any]:
        decision = self.give(command)
        assert isinstance(decision, Accepted), f"{command!r} gave {decision!r}"
        return decision.events

    def header(self) -> InputHeader:
        return InputHeader(
            payment_intent_id=PAYMENT, command_id=f"cmd-{self.offset}", sent_at=self.now_ms
        )

    def operator(self) -> OperatorHeader:
        return OperatorHeader(
            operator_id=self.operator_id,
            roles=self.roles,
            token_id="token-1",
            not_after=self.now_ms + 60_000,
        )

    # -- inputs -----------------------------------------------------------------------------------

    def create(self, **changes: Any) -> c.CreatePayment:
        fields: dict[str, Any] = {
            "header": self.header(), "source": SOURCE, "idempotency_key": KEY,
            "amount": AMOUNT, "currency": "AUD", "parties": SEALED,
            "end_to_end_id": "E2E-1", "service": "sct",
        }  # fmt: skip
        return c.CreatePayment(**(fields | changes))

    def report(self, kind: str, **changes: Any) -> c.RailReport:
        """A report of the current attempt, with a new message id."""
        self.messages += 1
        fields: dict[str, Any] = {
            "header": self.header(), "external_ref": REF, "kind": kind, "adapter": "simulator",
            "rail_message_id": f"MSG-{self.messages}", "answered_at": self.now_ms,
        }  # fmt: skip
        if kind in ("SETTLED", "RETURNED"):
            fields |= {"amount": AMOUNT, "currency": "AUD"}
        return c.RailReport(**(fields | changes))

    def deposits(self, operation: Any, result: Any) -> c.DepositsResult:
        """The answer to the last request of `operation`; if there is none, to att_001's first."""
        requested = [
            r
            for r in self.instructions
            if isinstance(r, i.DepositsRequest) and r.operation == operation
        ]
        letter = {"HOLD": "H", "CAPTURE": "C", "RELEASE": "R"}[operation]
        return c.DepositsResult(
            header=self.header(),
            funds_ref=requested[-1].funds_ref if requested else FundsRef(f"{REF}{letter}01"),
            operation=operation, result=result,
            amount=Cents(requested[-1].amount if requested else AMOUNT),
            hold_ref="HOLD-1", ledger_ref="LEDGER-1", verified_at=self.now_ms,
            code=None if result != "DECLINED" else "AM04",
        )  # fmt: skip

    def verdict(self, verdict: Any) -> c.PolicyVerdict:
        requested = [r for r in self.instructions if isinstance(r, i.PolicyCheckRequest)]
        return c.PolicyVerdict(
            header=self.header(), policy_ref=requested[-1].policy_ref, verdict=verdict,
            phase=requested[-1].phase, rules_evaluated=("limits",), policy_version="1",
            failure_reason="FRAUD" if verdict == "DECLINED" else None,
        )  # fmt: skip

    def command(self, name: str) -> Any:
        """The command that the golden file calls `name`."""
        header, operator = self.header(), self.operator()
        kind, _, variant = name.partition("/")
        match kind:
            case "RetryPayment":
                attempt = variant if variant.startswith("att_") else "att_002"
                return c.RetryPayment(
                    header=header, operator=operator, attempt_id=attempt, reason="try again"
                )
            case "CancelPayment":
                return c.CancelPayment(
                    header=header, operator=operator, reason="the customer asked"
                )
            case "MarkPaymentFailed":
                reason = variant if variant in ("CANCELLED", "EXPIRED") else "RAIL"
                details = "" if variant == "no details" else "the rail answered 503"
                return c.MarkPaymentFailed(
                    header=header, operator=operator, reason=cast(Any, reason), details=details
                )
            case "ExpirePayment":
                return c.ExpirePayment(
                    header=header,
                    operator=operator if variant == "operator" else None,
                    reason="the window is over",
                )
            case "CreatePayment":
                return self.create(**CREATE_VARIANTS[variant](self))
            case "ResolveReconciliation":
                return c.ResolveReconciliation(
                    header=header,
                    operator=operator,
                    conflict_id=ConflictId("cnf_001"),
                    attempt=1,
                    verdict=cast(Any, variant or "NOT_PAID"),
                    details="seen",
                )
            case "ReleaseFunds":
                return c.ReleaseFunds(
                    header=header, operator=operator, attempt=1, reason="the customer needs it"
                )
            case "ReverseCapture":
                return c.ReverseCapture(
                    header=header, operator=operator, attempt=1, reason="a duplicate posting"
                )
            case "RequestApproval":
                return c.RequestApproval(
                    header=header, operator=operator, action=cast(Any, variant), reason="please"
                )
            case "DecideApproval":
                person = OperatorHeader(
                    operator_id="apv_002",
                    roles=("approver",),
                    token_id="token-2",
                    not_after=self.now_ms + 60_000,
                )
                return c.DecideApproval(
                    header=header,
                    operator=person,
                    approval_id=ApprovalId("apr_001"),
                    verdict="APPROVED",
                    reason="seen",
                )
            case "ResumeProcessing":
                return c.ResumeProcessing(
                    header=header, operator=operator, requested_by="adm_002", reason="mended"
                )
        raise KeyError(name)

    # -- approvals --------------------------------------------------------------------------------

    def approve(self, name: str) -> Decision:
        """Request the approval that the command `name` needs and give it."""
        kind, _, variant = name.partition("/")
        action: Any = variant if variant == "RETRY_UNCERTAIN" else ACTIONS[kind]
        request = c.RequestApproval(
            header=self.header(), operator=self.operator(), action=action, reason="please",
            failure_reason=cast(Any, (variant if variant in ("CANCELLED", "EXPIRED") else "RAIL"))
            if kind == "MarkPaymentFailed" else None,
            conflict_id=ConflictId("cnf_001") if kind == "ResolveReconciliation" else None,
            verdict=cast(Any, (variant or "NOT_PAID") if kind == "ResolveReconciliation" else None),
        )  # fmt: skip
        decision = self.give(request)
        if isinstance(decision, Accepted):
            requested = [r for r in self.instructions if isinstance(r, i.ApprovalRequest)][-1]
            verdict = "REFERRED" if action == "RETRY_UNCERTAIN" else "APPROVED"
            answer = c.ApprovalDecision(
                header=self.header(),
                approval_id=requested.approval_id,
                verdict=cast(Any, verdict),
                decided_by="apv_002",
                rules_evaluated=("two people",),
                policy_version="1",
            )
            self.must(answer)
            if verdict == "REFERRED":  # only a person approves this one (ruling 3)
                self.must(self.decide_approval(requested.approval_id))
        return decision

    def decide_approval(self, approval_id: str) -> c.DecideApproval:
        """The second person's approval."""
        approver = OperatorHeader(
            operator_id="apv_002",
            roles=("approver",),
            token_id="token-2",
            not_after=self.now_ms + 60_000,
        )
        return c.DecideApproval(
            header=self.header(),
            operator=approver,
            approval_id=ApprovalId(approval_id),
            verdict="APPROVED",
            reason="seen",
        )

    def operate(self, name: str) -> None:
        self.approve(name)
        self.must(self.command(name))

    # -- time -------------------------------------------------------------------------------------

    def run_timers(self, span_ms: int) -> list[Any]:
        """Fire every deadline due within `span_ms`, in order; return the events."""
        end, made, last = self.now_ms + span_ms, [], None
        for _ in range(50):
            deadline = self.payment.deadline
            if deadline is None or deadline > end:
                break
            kind = self.payment.deadline_kind
            assert (kind, deadline) != last, (
                f"the timer {kind} at {deadline} acted and is still due"
            )
            last = (kind, deadline)
            self.now_ms = max(self.now_ms, deadline)
            decision = self.give(
                c.TimerDue(
                    header=InputHeader(
                        payment_intent_id=PAYMENT, command_id=None, sent_at=deadline
                    ),
                    kind=kind,
                    deadline=deadline,
                )
            )
            if isinstance(decision, Accepted):
                made += decision.events
        return made


ACTIONS = {
    "RetryPayment": "RETRY", "CancelPayment": "CANCEL", "MarkPaymentFailed": "MARK_FAILED",
    "ExpirePayment": "EXPIRE", "ResolveReconciliation": "RESOLVE_RECONCILIATION",
    "ReleaseFunds": "RELEASE_EARLY", "ReverseCapture": "REVERSE",
}  # fmt: skip


CREATE_VARIANTS: dict[str, Callable[[World], dict[str, Any]]] = {
    "": lambda w: {},
    "other amount": lambda w: {"amount": AMOUNT + 1},
    "amount zero": lambda w: {"amount": 0},
    "amount negative": lambda w: {"amount": -1},
    "USD": lambda w: {"currency": "USD"},
    "wrong id": lambda w: {
        "header": InputHeader(
            payment_intent_id=payment_intent_id(SOURCE, "another"),
            command_id="cmd",
            sent_at=w.now_ms,
        )
    },
    "foreign source": lambda w: {
        "source": "payroll-batch",
        "header": InputHeader(
            payment_intent_id=payment_intent_id("payroll-batch", KEY),
            command_id="cmd",
            sent_at=w.now_ms,
        ),
    },
}
