"""Inputs of one payment, each made by a short function: `given(...)` of case.py decides them."""

from __future__ import annotations

from functools import cache
from typing import Any

from core.header import InputHeader, OperatorHeader
from core.payment import commands as c
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


# -- inputs ----------------------------------------------------------------------------------------


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
    operation: Any,
    result: Any,
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


def policy(verdict: Any = "PASSED", *, attempt: int = 1) -> c.PolicyVerdict:
    return c.PolicyVerdict(
        header=head(),
        policy_ref=f"{external_ref(ID, attempt)}P01",
        verdict=verdict,
        phase="CREATE" if attempt == 1 else "RETRY",
        rules_evaluated=("limits",),
        policy_version="1",
        failure_reason="FRAUD" if verdict == "DECLINED" else None,
    )


def rail(kind: Any, code: str | None = None, *, attempt: int = 1, **changes: Any) -> c.RailReport:
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


def request_approval(action: Any, person: str = SENIOR, **changes: Any) -> c.RequestApproval:
    return c.RequestApproval(
        header=head(), operator=by(person), action=action, reason="please", **changes
    )


def resolve_decides(
    verdict: Any = "APPROVED", approval: str = "apr_001", who: str = "policy"
) -> c.ApprovalDecision:
    return c.ApprovalDecision(
        header=head(),
        approval_id=ApprovalId(approval),
        verdict=verdict,
        decided_by=who,
        rules_evaluated=("rule 1",),
        policy_version="7",
    )


def person_decides(
    verdict: Any = "APPROVED", approval: str = "apr_001", who: str = APPROVER
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


def mark_failed(reason: Any = "RAIL", person: str = SENIOR) -> c.MarkPaymentFailed:
    return c.MarkPaymentFailed(
        header=head(), operator=by(person), reason=reason, details="error 503"
    )


def expire(person: str | None = None) -> c.ExpirePayment:
    return c.ExpirePayment(
        header=head(), operator=None if person is None else by(person), reason="too late"
    )


def resolve(
    verdict: Any, conflict: str = "cnf_001", attempt: int = 1, amount: int | None = None
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
    """The verdict, with its approval requested and granted first; `number` is the approval's."""
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


def repeat_funds(operation: Any, attempt: int = 1, person: str = SENIOR) -> c.RepeatFundsRequest:
    return c.RepeatFundsRequest(
        header=head(),
        operator=by(person),
        attempt=attempt,
        operation=operation,
        reason="account unblocked",
    )


def approved(action: str, number: int = 1, **changes: Any) -> list[Any]:
    """Requested by the senior operator, approved by Resolve; RETRY_UNCERTAIN by a person."""
    name = f"apr_{number:03d}"
    if action == "RETRY_UNCERTAIN":
        return [
            request_approval(action, **changes),
            resolve_decides("REFERRED", name),
            person_decides(approval=name),
        ]
    return [request_approval(action, **changes), resolve_decides(approval=name)]


SENT: list[Any] = [create(), policy(), held()]
ACKNOWLEDGED = [*SENT, rail("ACCEPTED")]
SETTLED = [*ACKNOWLEDGED, rail("SETTLED", amount=AMOUNT, currency="AUD")]
CAPTURED = [*SETTLED, deposits("CAPTURE", "CAPTURED")]
FAILED_SAFE = [*SENT, rail("REJECTED", "AB08")]
RETRYABLE = [*FAILED_SAFE, deposits("RELEASE", "RELEASED")]  # a retry waits for the release
MARKED = [*SENT, *approved("MARK_FAILED", failure_reason="RAIL"), mark_failed()]
CANCELLED = [*SENT, *approved("CANCEL"), cancel()]
