"""The outside world as the processors see it: rail, Deposits Core, Resolve, customer notifications.

Each port is a Protocol with its contract in words. Times are epoch milliseconds, amounts integer
cents. A port never raises for errors of an outside system: silence and refusal are values.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, get_args

import msgspec

from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import (
    ApprovalRequest,
    CustomerNotification,
    DepositsRequest,
    PolicyCheckRequest,
    RailInstruction,
)
from core.values import Cents, ExternalRef, Parties

# --- rail ---------------------------------------------------------------------------------------

RECEIVED: Final = "RECEIVED"  # the gateway has it; nothing is known about the money
REJECTED: Final = "REJECTED"  # the gateway will never pay this reference; `code` says why
TOO_LATE: Final = "TOO_LATE"  # refused: first seen after submitBefore
UNCLEAR: Final = "UNCLEAR"  # no readable answer: the gateway may or may not have it

UNKNOWN: Final = "UNKNOWN"  # the rail itself says that it never saw this reference
ACCEPTED: Final = "ACCEPTED"
SETTLED: Final = "SETTLED"
EXPIRED: Final = "EXPIRED"
RETURNED: Final = "RETURNED"
RECALLED: Final = "RECALLED"
NO_ANSWER: Final = "NO_ANSWER"  # nothing readable came back in time

RECALL_ACCEPTED: Final = "RECALL_ACCEPTED"
RECALL_REFUSED: Final = "RECALL_REFUSED"
RECALL_PENDING: Final = "RECALL_PENDING"  # the answer comes as a callback


SubmitOutcome = Literal["RECEIVED", "REJECTED", "TOO_LATE", "UNCLEAR"]
RailStatus = Literal[
    "UNKNOWN",
    "RECEIVED",
    "ACCEPTED",
    "SETTLED",
    "REJECTED",
    "EXPIRED",
    "RETURNED",
    "RECALLED",
    "NO_ANSWER",
]
RecallOutcome = Literal[
    "RECALL_ACCEPTED", "RECALL_REFUSED", "RECALL_PENDING", "UNKNOWN", "NO_ANSWER"
]


class SubmitAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a submission.

    `technical_result` is the result of the HTTP call (HTTP_202, TIMEOUT, CONNECT_FAILED …). The
    rail latency is `answered_at - submitted_at`.
    """

    outcome: SubmitOutcome
    submitted_at: int
    answered_at: int
    technical_result: str
    rail_ref: str | None = None
    code: str | None = None
    message_id: str | None = None
    details: str | None = None


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the rail says of a reference: UNKNOWN, RECEIVED, ACCEPTED, SETTLED, REJECTED, EXPIRED,
    RETURNED, RECALLED, or NO_ANSWER when nothing readable came.
    """

    status: RailStatus
    submitted_at: int
    answered_at: int
    technical_result: str
    rail_ref: str | None = None
    code: str | None = None
    amount: Cents | None = None  # what was settled
    returned_amount: Cents | None = None
    currency: str | None = None
    message_id: str | None = None
    transaction_id: str | None = None
    details: str | None = None


class RecallAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the rail says of a recall."""

    outcome: RecallOutcome
    submitted_at: int
    answered_at: int
    technical_result: str
    code: str | None = None
    message_id: str | None = None
    details: str | None = None


class Rail(Protocol):
    """A gateway to the NPP.

    `submit` is idempotent by `external_ref`: however often it is called with one reference, the
    rail carries out one payment at most, and none that it first sees after `submit_before`.
    `status` and `recall` never make a payment. Each call is limited in time and never raises for
    errors of the rail.
    """

    name: str  # of the table by which core maps this rail's codes

    def submit(self, instruction: RailInstruction, parties: Parties) -> SubmitAnswer: ...

    def status(self, external_ref: ExternalRef) -> StatusAnswer: ...

    def recall(self, external_ref: ExternalRef, *, number: int) -> RecallAnswer: ...


# --- Deposits Core --------------------------------------------------------------------------------

DONE: Final = "DONE"
DECLINED: Final = "DECLINED"  # a HOLD that the account does not allow
REFUSED: Final = "REFUSED"  # certainly not carried out, and it never will be
NEVER_HELD: Final = "NEVER_HELD"  # the HOLD that a RELEASE names was never, and never will be, made
PENDING: Final = "PENDING"  # Deposits Core does not know yet: the request is repeated
SILENT: Final = "SILENT"  # no answer of Deposits Core: it may or may not have been done
UNREADABLE: Final = "UNREADABLE"  # an answer that says nothing certain; `details` says why

FundsOutcome = Literal[
    "DONE", "DECLINED", "REFUSED", "NEVER_HELD", "PENDING", "SILENT", "UNREADABLE"
]
FUNDS_OUTCOMES: Final[tuple[FundsOutcome, ...]] = get_args(FundsOutcome)

HOLD_GONE: Final = "HOLD_GONE"  # code of a refused CAPTURE or RELEASE: the hold does not exist
NEVER_HELD_MARGIN_MS: Final = 5_000  # from the HOLD's notAfter until NEVER_HELD is final


class FundsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` is one of FUNDS_OUTCOMES; DECLINED and REFUSED carry a `code`.

    `amount` (cents) is what Deposits Core says it moved, None when it names none. Ids are never
    shortened.
    """

    outcome: FundsOutcome
    requested_at: int
    answered_at: int
    technical_result: str
    hold_ref: str | None = None
    ledger_ref: str | None = None
    amount: Cents | None = None
    verified_at: int | None = None
    code: str | None = None
    details: str | None = None


class DepositsCore(Protocol):
    """The ledger of customers' accounts.

    `perform` is idempotent by `funds_ref`: the same reference again gives the first answer and
    moves nothing. `parties` is given for HOLD only (the debtor's account). A HOLD is never carried
    out after its `not_after`. A RELEASE without a `hold_ref` names the HOLD by `hold_funds_ref`:
    from then on that HOLD is never carried out; DONE names its hold, and NEVER_HELD comes no
    earlier than `not_after` + NEVER_HELD_MARGIN_MS. PENDING, SILENT and UNREADABLE say nothing
    about the money. Limited in time; never raises for errors of Deposits Core.
    """

    def perform(self, request: DepositsRequest, parties: Parties | None) -> FundsAnswer: ...


# --- Resolve --------------------------------------------------------------------------------------


class ResolvePolicy(Protocol):
    """Decides policy checks and approvals by rules. Keeps no state; the same question gives the
    same answer; every answer names the rules it evaluated and the policy's version.
    """

    version: str

    def check(
        self, request: PolicyCheckRequest, parties: Parties, *, now_ms: int
    ) -> PolicyVerdict: ...

    def approve(self, request: ApprovalRequest, *, now_ms: int) -> ApprovalDecision: ...


class ResolveAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of Resolve, `after_ms` after the request."""

    decision: PolicyVerdict | ApprovalDecision
    after_ms: int = 0


class Resolve(Protocol):
    """Answers the requests of npp.resolve.requests.v1.

    `ask` returns the answers to one request, in order of time; an empty result is silence. None: it
    could not be reached; retry. `parties` is given for policy checks. Never raises for errors of
    Resolve.
    """

    version: str

    def ask(
        self,
        question: PolicyCheckRequest | ApprovalRequest,
        parties: Parties | None,
        *,
        now_ms: int,
    ) -> tuple[ResolveAnswer, ...] | None: ...


# --- customer notifications -----------------------------------------------------------------------

DELIVERED: Final = "DELIVERED"
UNDELIVERABLE: Final = "UNDELIVERABLE"

NotifyOutcome = Literal["DELIVERED", "UNDELIVERABLE", "SILENT"]


class NotifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` DELIVERED, UNDELIVERABLE or SILENT."""

    outcome: NotifyOutcome
    requested_at: int
    answered_at: int
    technical_result: str
    delivered_at: int | None = None
    channel: str | None = None


class Notifier(Protocol):
    """Notifies a customer. Idempotent by `notification_id` together with the payment's id: a
    repeated notification is delivered once. Limited in time; never raises for errors of the
    service.
    """

    def notify(self, notification: CustomerNotification) -> NotifyAnswer: ...
