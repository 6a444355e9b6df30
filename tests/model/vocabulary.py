"""What a sequence is made of: moves that can be written down, and the messages they become.

A move has a meaning in every situation, so any part of a sequence is a sequence again; shrinking
needs that. All random choices are in the moves; playing them draws nothing.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from core.header import Cause, InputHeader, OperatorHeader
from core.payment import commands as c
from core.rules import Rules, parse
from core.values import ApprovalId, Parties, Party, Sealed, external_ref, payment_intent_id

RULES_FOLDER: Final = Path(__file__).parents[2] / "core" / "rules"
SOURCE: Final = "mobile-app"
KEY: Final = "model-0001"
ID: Final = payment_intent_id(SOURCE, KEY)
AMOUNT: Final = 12_550
START: Final = 1_767_225_600_000
SECOND: Final = 1_000
MINUTE: Final = 60_000
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
ATTEMPTS: Final = 20
FOR_EVER: Final = 2**60
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SEALED: Final = Sealed(scheme="avro.1", key_id=None, bytes=b"parties")
PARTIES: Final = Parties(
    debtor=Party(name="Ada Payer", bsb="062000", account="12345678"),
    creditor=Party(name="Ben Payee", bsb="082001", account="87654321"),
    remittance="invoice 17",
)

OPERATOR, SENIOR, OTHER_SENIOR = "ops_001", "sen_001", "sen_002"
APPROVER, OTHER_APPROVER, VIEWER = "apv_001", "apv_002", "vie_001"
SENIOR_IN_DISGUISE = "\u00a0\uff33\uff25\uff2e_001 "  # NFKC, case and space: the same person
ROLES: Final[dict[str, tuple[str, ...]]] = {
    OPERATOR: ("operator",),
    SENIOR: ("senior_operator",),
    OTHER_SENIOR: ("senior_operator",),
    APPROVER: ("approver",),
    OTHER_APPROVER: ("approver",),
    VIEWER: ("viewer",),
    SENIOR_IN_DISGUISE: ("approver",),
}
# Who may execute each gated action (domain §4).
ROLES_OF_ACTION: Final[dict[str, frozenset[str]]] = {
    "RETRY": frozenset({"operator", "senior_operator"}),
    "RETRY_UNCERTAIN": frozenset({"operator", "senior_operator"}),
    "CANCEL": frozenset({"operator", "senior_operator"}),
    "MARK_FAILED": frozenset({"senior_operator"}),
    "EXPIRE": frozenset({"senior_operator"}),
    "RESOLVE_RECONCILIATION": frozenset({"senior_operator"}),
    "RELEASE_EARLY": frozenset({"senior_operator"}),
    "REVERSE": frozenset({"senior_operator"}),
    "DEBIT_AGAIN": frozenset({"senior_operator"}),
}
VERDICTS: Final = ("SETTLED_AFTER_ALL", "NOT_PAID", "RETURNED", "AMOUNT_ACCEPTED", "REPORT_WRONG")
LIFECYCLE: Final = frozenset(
    {
        "PaymentIntentCreated",
        "PaymentAuthorised",
        "PaymentAttemptCreated",
        "PaymentSentToRail",
        "PaymentAcknowledged",
        "PaymentSettled",
        "PaymentFailed",
        "PaymentExpired",
    }
)
UNSENT: Final = frozenset({"CREATED", "AUTHORISED"})
LIVE: Final = frozenset({"CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED"})
ENDED: Final = frozenset({"SETTLED", "FAILED", "EXPIRED"})
TAKING: Final = frozenset({"CAPTURE", "DEBIT_FORCED"})
GIVING: Final = frozenset({"REVERSE", "CREDIT"})
DONE_OF: Final = {
    "HOLD": "HELD",
    "CAPTURE": "CAPTURED",
    "RELEASE": "RELEASED",
    "DEBIT_FORCED": "DEBITED",
    "REVERSE": "REVERSED",
    "CREDIT": "CREDITED",
}
HOLD_REPEAT_MS: Final = 30 * SECOND  # domain §3: a hold is repeated at least every 30 s
STATE_BYTES_MAX: Final = 64 * 1024


class Move(NamedTuple):
    """One step of a sequence: a name and plain values."""

    name: str
    args: dict[str, Any]


def dump(moves: list[Move]) -> str:
    return json.dumps([[m.name, m.args] for m in moves], separators=(",", ":"))


def load(text: str) -> list[Move]:
    return [Move(name, args) for name, args in json.loads(text)]


@cache
def rules(number: int = 1) -> Rules:
    return parse((RULES_FOLDER / f"{number}.yaml").read_bytes())


def open_parties(value: Sealed) -> Parties:
    if value != SEALED:
        raise ValueError("unreadable")
    return PARTIES


def head() -> InputHeader:
    return InputHeader(payment_intent_id=ID, command_id="cmd", sent_at=0, traceparent=TRACE)


def by(person: str, *, not_after: int = FOR_EVER, approval: str | None = None) -> OperatorHeader:
    return OperatorHeader(
        operator_id=person,
        roles=ROLES.get(person, ()),
        token_id="token",
        not_after=not_after,
        approval_id=None if approval is None else ApprovalId(approval),
    )


def reference(attempt: int) -> str:
    return external_ref(ID, attempt)


def attempt_of(ref: str) -> int | None:
    """The attempt number in an external or funds reference of this payment, else None."""
    body = ref[:30].upper()
    if len(body) < 30 or body[:27] != reference(1)[:27]:
        return None
    digits = body[27:30]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def cause(origin: str, offset: int) -> Cause:
    digest = hashlib.sha256(str(offset).encode()).digest()
    return Cause(
        cluster_id="cluster",
        topic=f"npp.{origin}",
        partition=0,
        offset=offset,
        input_hash=digest,
        command_id="cmd",
    )


def content(command: Any) -> tuple[Any, ...]:
    """What makes two inputs equal: everything but tracing and the producer's times. A submission's
    time says which one a report answers (domain §2).
    """
    fields = {name: getattr(command, name) for name in command.__struct_fields__}
    for name in ("header", "answered_at", "delivered_at"):
        fields.pop(name, None)
    if fields.get("via_enquiry"):
        del fields["submitted_at"]
    return (type(command).__name__, *sorted((k, repr(v)) for k, v in fields.items()))


ORIGIN: Final[dict[type, str]] = {
    c.CreatePayment: "upstream",
    c.RailReport: "rail",
    c.DepositsResult: "deposits",
    c.PolicyVerdict: "resolve",
    c.ApprovalDecision: "resolve",
    c.NotificationResult: "notified",
    c.TimerDue: "timer",
}


def origin_of(command: Any) -> str:
    found = ORIGIN.get(type(command))
    if found is not None:
        return found
    return "upstream" if getattr(command, "operator", None) is None else "operator"
