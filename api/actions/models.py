"""Request bodies of actions. Names are those on the wire.

Only the shape is checked here. The engine decides which values are allowed, and names its rule.
"""

# ruff: noqa: N815 — fields are named as on the wire

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.edge.bodies import NO_NUL, Body, Identifier, Text
from core.payment.operator.actions import MARK_FAILED_REASONS
from core.payment.operator.verdicts import VERDICTS
from core.values import Action, FundsOperation, attempt_id, attempt_number

INT64_MAX: Final = 2**63 - 1
EXACT_MAX: Final = 2**53 - 1  # larger numbers are not exact in every JSON reader
PARTY_CHARACTERS_MAX: Final = 256  # of a name or a PayID; the rule set's own limits are below
OFFSETS_COUNT_MAX: Final = 100  # of one redrive requested over HTTP


def _attempt_id(given: object) -> object:
    """att_001 of `att_001`, `1` and 1; any other value is named by its type."""
    text = str(given) if type(given) is int else given
    if not isinstance(text, str):
        return given
    number = attempt_number(text)
    if number is None:
        raise PydanticCustomError("attempt_id", "no attempt")
    return attempt_id(number)


_NUMBER: Final = "[1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]"  # not zero
_NAME: Final = "att_([1-9][0-9]{2}|0[1-9][0-9]|00[1-9])"

AttemptId = Annotated[
    str,
    BeforeValidator(_attempt_id),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^({_NUMBER}|{_NAME})$"},
                {"type": "integer", "minimum": 1, "maximum": 999},
            ],
            "description": "An attempt: `att_001`, or its number, as text or number.",
        }
    ),
]
Cents = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX, description="Integer cents.")]
Time = (
    Annotated[str, StringConstraints(max_length=40), Field(description="ISO 8601 with a zone.")]
    | Annotated[int, Field(ge=0, le=INT64_MAX, description="Epoch milliseconds.")]
)
# The enums are for the OpenAPI document alone: the engine refuses other values, with its rule.
MarkReason = Annotated[Identifier, Field(json_schema_extra={"enum": sorted(MARK_FAILED_REASONS)})]
Verdict = Annotated[Identifier, Field(json_schema_extra={"enum": sorted(VERDICTS)})]
PartyText = Annotated[str, StringConstraints(max_length=PARTY_CHARACTERS_MAX, pattern=NO_NUL)]
Offset = Annotated[int, Field(ge=0, le=EXACT_MAX)]


class Act(Body):
    """Fields of every gated action. `operatorId`, when given, must be the caller's own id; without
    `approvalId` the oldest approval that fits is used. A header Idempotency-Key is ignored: a
    repeated action is recognised by its parameters, and gets the first result.
    """

    operatorId: Identifier | None = None
    approvalId: Identifier | None = None


class Retry(Act):
    """`attemptId` is the new attempt's: after att_001 it is att_002."""

    attemptId: AttemptId = Field(examples=["att_002"])
    reason: Text = Field(examples=["Resolve approved retry after rail timeout"])


class Cancel(Act):
    """`customerId` is the customer's confirmation, for a cancellation requested by a customer."""

    reason: Text = Field(examples=["Customer requested cancellation"])
    customerId: Identifier | None = None


class MarkFailed(Act):
    """`reason` is one of the failure reasons but CANCELLED and EXPIRED."""

    reason: MarkReason = Field(examples=["RAIL"])
    details: Text = Field(examples=["NPP rail returned error code 503"])


class Expire(Act):
    reason: Text


class OfAttempt(Act):
    """For one attempt: release of the hold, reversal of the capture, or the debit for a second
    settlement.
    """

    attemptId: AttemptId
    reason: Text


class RepeatFunds(Body):
    """Repeat a request that Deposits Core refused: the operation of one attempt."""

    attemptId: AttemptId
    operation: FundsOperation = Field(strict=False, examples=["CAPTURE"])
    reason: Text
    operatorId: Identifier | None = None


class Resolve(Act):
    """`verdict` on one attempt of the payment. `amount` (cents) belongs to RETURNED: how much came
    back, as it was approved.
    """

    attemptId: AttemptId
    verdict: Verdict
    details: Text
    amount: Cents | None = None


class ResumePayment(Body):
    """The caller is the second person. The control topic names the first one;
    `requestedBy`, when given, must be that person.
    """

    reason: Text
    operatorId: Identifier | None = None
    requestedBy: Identifier | None = None


class RequestApproval(Body):
    """`attemptId` defaults to the current attempt. `failureReason` belongs to MARK_FAILED;
    `conflictId`, `verdict` and `amount` (cents) to RESOLVE_RECONCILIATION.
    """

    action: Action = Field(strict=False)
    reason: Text
    attemptId: AttemptId | None = None
    failureReason: MarkReason | None = None
    conflictId: Identifier | None = None
    verdict: Verdict | None = None
    amount: Cents | None = None
    operatorId: Identifier | None = None


class Decide(Body):
    """A second person's decision on an approval."""

    reason: Text
    operatorId: Identifier | None = None


class Party(Body):
    """BSB and account; a creditor may have a PayID (TELI, EMAL, AUBN, ORGN) instead."""

    name: PartyText
    bsb: PartyText | None = None
    account: PartyText | None = None
    payIdType: PartyText | None = None
    payId: PartyText | None = None


class CreatePayment(Body):
    """The header Idempotency-Key names the payment within the caller's source."""

    amount: Cents = Field(examples=[1250])
    currency: Identifier = Field(examples=["AUD"])
    debtor: Party
    creditor: Party
    endToEndId: Identifier = Field(examples=["INV-2026-0042"])
    service: Identifier = Field(examples=["x2p1"])
    remittance: Text | None = None
    uetr: Identifier | None = None
    customerId: Identifier | None = None
    requestedExecutionTime: Time | None = None
    expiresAt: Time | None = None


class Reason(Body):
    reason: Text


class QuarantinedRecords(Body):
    """Quarantined records of one partition. `paymentIntentId` (or an externalRef) assigns
    unmatched reports to that payment.
    """

    partition: Annotated[int, Field(ge=0, le=2**31 - 1)]
    offsets: Annotated[list[Offset], Field(min_length=1, max_length=OFFSETS_COUNT_MAX)]
    paymentIntentId: Identifier | None = None
