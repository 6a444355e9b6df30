"""The outside world as the processors see it: rail, Deposits Core, Resolve, customer notifications.

Each port is a Protocol with its contract in words. Times are epoch milliseconds, amounts integer
cents. A port never raises for what the outside does: silence and refusal are values.
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
from core.values import Parties

# --- rail ---------------------------------------------------------------------------------------

RECEIVED: Final = "RECEIVED"  # the gateway has it; nothing is said about the money
REJECTED: Final = "REJECTED"  # the gateway will never pay this reference; `code` says why
TOO_LATE: Final = "TOO_LATE"  # refused since submitBefore has passed, and not known before
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
RecallOutcome = Literal[
    "RECALL_ACCEPTED", "RECALL_REFUSED", "RECALL_PENDING", "UNKNOWN", "NO_ANSWER"
]


class SubmitAnswer(msgspec.Struct, frozen=True):
    """One try of a submission.

    `technical_result` is what the wire said (HTTP_202, TIMEOUT, CONNECT_FAILED …): rail latency is
    `answered_at - submitted_at`.
    """

    outcome: SubmitOutcome
    submitted_at: int
    answered_at: int
    technical_result: str
    rail_ref: str | None = None
    code: str | None = None
    message_id: str | None = None
    details: str | None = None


class StatusAnswer(msgspec.Struct, frozen=True):
    """What the rail says of a reference: UNKNOWN, RECEIVED, ACCEPTED, SETTLED, REJECTED, EXPIRED,
    RETURNED, RECALLED, or NO_ANSWER when nothing readable came.
    """

    status: str
    submitted_at: int
    answered_at: int
    technical_result: str
    rail_ref: str | None = None
    code: str | None = None
    amount: int | None = None  # settled, when it is
    returned_amount: int | None = None
    currency: str | None = None
    message_id: str | None = None
    transaction_id: str | None = None
    details: str | None = None


class RecallAnswer(msgspec.Struct, frozen=True):
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
    `status` and `recall` never make a payment. Each call takes a bounded time and raises nothing
    for what the rail does.
    """

    name: str  # of the reason table the core maps this rail's codes by

    def submit(self, instruction: RailInstruction, parties: Parties) -> SubmitAnswer: ...

    def status(self, external_ref: str) -> StatusAnswer: ...

    def recall(self, external_ref: str, *, number: int) -> RecallAnswer: ...


# --- Deposits Core --------------------------------------------------------------------------------

DONE: Final = "DONE"
DECLINED: Final = "DECLINED"  # a HOLD that the account does not allow
REFUSED: Final = "REFUSED"  # Deposits Core's certain no: it did not, and will not, carry this out
NEVER_HELD: Final = "NEVER_HELD"  # the HOLD that a RELEASE names was not, and will not be, done
PENDING: Final = "PENDING"  # Deposits Core does not know yet: asked again
SILENT: Final = "SILENT"  # no answer of Deposits Core: it may or may not have been done
UNREADABLE: Final = "UNREADABLE"  # an answer that says nothing certain; `details` say why

FundsOutcome = Literal[
    "DONE", "DECLINED", "REFUSED", "NEVER_HELD", "PENDING", "SILENT", "UNREADABLE"
]
FUNDS_OUTCOMES: Final[tuple[FundsOutcome, ...]] = get_args(FundsOutcome)

HOLD_GONE: Final = "HOLD_GONE"  # code of a refused CAPTURE or RELEASE: the hold does not exist
NEVER_HELD_MARGIN_MS: Final = 5_000  # from the HOLD's notAfter until NEVER_HELD is final


class FundsAnswer(msgspec.Struct, frozen=True):
    """One try. `outcome` is one of FUNDS_OUTCOMES; DECLINED and REFUSED carry a `code`.

    `amount` (cents) is what Deposits Core says it moved, None when it names none. Ids are whole.
    """

    outcome: FundsOutcome
    asked_at: int
    answered_at: int
    technical_result: str
    hold_ref: str | None = None
    ledger_ref: str | None = None
    amount: int | None = None
    verified_at: int | None = None
    code: str | None = None
    details: str | None = None


class DepositsCore(Protocol):
    """The ledger of customers' accounts.

    `perform` is idempotent by `funds_ref`: the same reference again gives the first answer and
    moves nothing. `parties` is there for HOLD only (the debtor's account). A HOLD is never carried
    out after its `not_after`. A RELEASE that has no `hold_ref` names the HOLD by `hold_funds_ref`:
    from then on that HOLD is not carried out any more; DONE names its hold, and NEVER_HELD comes
    no earlier than `not_after` + NEVER_HELD_MARGIN_MS. PENDING, SILENT and UNREADABLE say nothing
    about the money. Bounded in time, raises nothing for what Deposits Core does.
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


class Said(msgspec.Struct, frozen=True):
    """One answer of Resolve, `after_ms` after it was asked."""

    decision: PolicyVerdict | ApprovalDecision
    after_ms: int = 0


class Resolve(Protocol):
    """Answers the questions of npp.resolve.requests.v1.

    `ask` gives what it says of one question, in order of time; nothing at all is silence. None: it
    could not be asked, and has to be asked again. `parties` is there for policy checks. Raises
    nothing for what Resolve does.
    """

    version: str

    def ask(
        self,
        question: PolicyCheckRequest | ApprovalRequest,
        parties: Parties | None,
        *,
        now_ms: int,
    ) -> tuple[Said, ...] | None: ...


# --- customer notifications -----------------------------------------------------------------------

DELIVERED: Final = "DELIVERED"
UNDELIVERABLE: Final = "UNDELIVERABLE"


class NotifyAnswer(msgspec.Struct, frozen=True):
    """One try. `outcome` DELIVERED, UNDELIVERABLE or SILENT."""

    outcome: str
    asked_at: int
    answered_at: int
    technical_result: str
    delivered_at: int | None = None
    channel: str | None = None


class Notifier(Protocol):
    """Tells a customer. Idempotent by `notification_id` together with the payment's id: the same
    notification again is told once. Bounded in time, raises nothing for what the service does.
    """

    def notify(self, notification: CustomerNotification) -> NotifyAnswer: ...
