"""What a payment is: everything that a decision reads about the past. Only `evolve` makes it, only
from events.

Array-like structs keep the packed form small; they are copied on write and never changed in place.
Times are epoch milliseconds, amounts integer cents, sequences those of the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import msgspec

from core.declared import packer, unpacker
from core.payment import funds
from core.transitions import FINAL
from core.values import (
    NO_CENTS,
    ApprovalId,
    Cents,
    ConflictId,
    ExternalRef,
    PaymentIntentId,
    Sealed,
    State,
    external_ref,
)
from core.words import (
    ActionName,
    ApprovalPhase,
    ApprovalStatus,
    AttemptOutcome,
    ConflictKind,
    DeadlineKind,
    EndSource,
    FailureReasonName,
    FundsStatus,
    MessageKind,
    MessageResult,
    MoneyOutcomeName,
    OperationName,
    Overdue,
    PolicyStatus,
    RecallStatus,
    RequestStatus,
    SeenKind,
    StateName,
    Verdict,
)

# Every list, map and counter has a limit, so that the packed state stays under PACKED_BYTES_MAX
# after any sequence of inputs (engine: rules).
PACKED_BYTES_MAX: Final = 65_536
CONFLICTS_LISTED_MAX: Final = 16  # open ones beyond are counted, not listed
CONFLICTS_OPEN_MAX: Final = 64  # beyond, a contradiction has no effect but on a metric
CONFLICTS_REMEMBERED_MAX: Final = 16  # resolved ones, so that their reports stay duplicates
APPROVALS_REMEMBERED_MAX: Final = 8  # ended ones, so that their answers stay duplicates
RETURNS_MAX: Final = 64  # returns of one payment that are remembered by their ids
RECOVERED_MAX: Final = 64  # conflicts about attempts that a recovered history lacks
ENDS_KEPT: Final = 64  # beyond, older decision ends that no record refers to are dropped

ENDED: Final = frozenset({State.FAILED.value, State.EXPIRED.value})
UNSENT: Final = frozenset({State.CREATED.value, State.AUTHORISED.value})


class CorruptHistory(Exception):
    """The events of a payment contradict each other: a defect or a foreign writer, never a business
    result. The payment is parked, or the verifier stops.
    """


class Packed(msgspec.Struct, array_like=True, gc=False):
    """Base of the packed state's structs: arrays, without cycles, copied on write."""

    if TYPE_CHECKING:

        def __copy__(self) -> Self: ...


class FundsRequestStatus(Packed, kw_only=True):
    """One request to Deposits Core. `status` REQUESTED or FAILED (no readable answer): unanswered;
    DONE, DECLINED (a hold), REFUSED, NEVER_HELD (a release).
    """

    operation: OperationName
    number: int
    amount: Cents
    status: RequestStatus
    asked_at: int
    repeat: int = 0
    answered_from: int = 0  # sequence of the last answer
    not_after: int = 0  # HOLD: Deposits Core never carries it out after this
    hold_number: int = 0  # RELEASE of a hold that was not answered: the number of that HOLD


class SeenReport(Packed, kw_only=True):
    """The first report of a kind; for STATUS, RECEIVED and NOTED the last."""

    kind: SeenKind
    message_id: bytes | None  # core.payment.keys.digest
    content: str | None  # core.payment.keys.content_of; None: any consistent one is the same
    from_sequence: int


class Attempt(Packed, kw_only=True):
    """One try to carry out the intent. `state` follows the payment's while it is the last
    attempt.
    """

    number: int
    started_at: int
    state: StateName
    # the gate before the rail
    policy: PolicyStatus = "REQUESTED"  # then PASSED or DECLINED
    policy_from: int = 0
    frozen_until: int | None = None
    frozen_by: ApprovalId | None = None  # set once: an attempt is frozen once
    # funds
    funds: FundsStatus = "NONE"
    hold_ref: str | None = None
    held: Cents = NO_CENTS
    captured: Cents = NO_CENTS
    released: Cents = NO_CENTS
    debited: Cents = NO_CENTS
    reversed: Cents = NO_CENTS
    credited: Cents = NO_CENTS
    waived: Cents = NO_CENTS  # reversed on a person's request: not taken again
    returns_sum: Cents = NO_CENTS  # over the ids in `returns`
    returns_total: Cents = NO_CENTS  # the highest: an enquiry's, a verdict's, without id
    returns: dict[bytes, Cents] = {}  # core.payment.keys.digest of each return's id -> amount
    second_settlement: bool = False  # its debit needs a separate approval
    debit_approved: bool = False
    funds_requests: list[FundsRequestStatus] = []
    # the rail
    sent_at: int = 0
    submit_before: int = 0
    acknowledged_at: int = 0
    tried_at: int = 0  # of the last submission whose answer is recorded as a note
    reports: list[SeenReport] = []
    enquiries: int = 0
    enquiry_round: int = 0  # since the last lifecycle change
    enquiry_at: int = 0
    overdue: Overdue | None = None  # ATTENTION, ESCALATED
    resend_rejected: bool = False
    rail_had_it: bool = False  # by its report, a found submission or our SUBMITTED (ruling 3)
    never_submitted: bool = False  # by our adapter's report or the rail's "unknown" (ruling 3)
    # the end
    ended_at: int = 0
    ended_by: EndSource | None = None  # rail, operator, upstream, system
    ended_by_enquiry: bool = False
    reason: FailureReasonName | None = None
    retry_safe: bool = False
    certain: bool = False  # non-payment of what was submitted so far is certain (ruling 3)
    late_failure: bool = False
    withdraw: bool = False
    recall: RecallStatus | None = None  # REQUESTED, ACCEPTED, REFUSED
    outcome: AttemptOutcome | None = None  # PAID, NOT_PAID, RETURNED
    settled: Cents = NO_CENTS  # what the rail moved
    notified: bool = False


class Approval(Packed, kw_only=True):
    """`status` REQUESTED, REFERRED, APPROVED, REJECTED, EXPIRED (not decided in time) or USED;
    bound to everything here.
    """

    id: ApprovalId
    action: ActionName
    requester: bytes  # core.values.person_digest
    attempt: int
    phase: ApprovalPhase
    failure_reason: FailureReasonName | None
    conflict_id: ConflictId | None
    verdict: Verdict | None
    amount: Cents | None
    status: ApprovalStatus
    expires_at: int
    requested_from: int
    decided_from: int = 0
    decision: ApprovalStatus | None = None
    by_person: bool = False  # decided by DecideApproval, not by Resolve


class Conflict(Packed, kw_only=True):
    """A contradiction of the record. Open while `verdict` is None."""

    id: ConflictId
    kind: ConflictKind
    attempt: int
    report_kind: str | None
    content: str  # core.payment.keys.content_of
    message_id: bytes | None  # core.payment.keys.digest
    amount: Cents | None
    currency: str | None  # core.payment.keys.compared
    from_sequence: int
    verdict: Verdict | None = None


class Notification(Packed, kw_only=True):
    """A message to the customer and its delivery result."""

    id: str
    kind: MessageKind
    result: MessageResult | None = None
    from_sequence: int = 0


class Payment(Packed, kw_only=True):
    """The aggregate. The current attempt is the last one; there is always one."""

    payment_intent_id: PaymentIntentId
    # its content, which a repeated CreatePayment is compared with
    source: str
    idempotency_key: str
    amount: Cents
    currency: str
    parties_scheme: str
    parties_key_id: str | None
    parties_bytes: bytes
    end_to_end_id: str
    service: str
    uetr: str | None
    customer_id: str | None
    requested_execution_time: int | None
    expires_at: int | None
    # where it stands
    state: StateName
    created_at: int
    sequence: int
    decided_at: int
    rule_set: int
    attempts: list[Attempt]
    authorised_at: int = 0
    reason: FailureReasonName | None = None
    parked: bool = False
    last_lifecycle_event: str = "PaymentIntentCreated"
    # when it needs a timer, and for what; set at the end of a decision
    deadline: int | None = None
    deadline_kind: DeadlineKind | None = None
    # people
    approvals: list[Approval] = []
    approvals_made: int = 0
    conflicts: list[Conflict] = []
    conflicts_made: int = 0
    conflicts_unlisted: int = 0
    conflicts_unlisted_keys: dict[bytes, int] = {}  # reports behind the unlisted ones -> sequence
    notifications: list[Notification] = []
    notes: int = 0
    # what was done before: natural key -> first sequence; first -> last sequence of that decision
    results: dict[str, int] = {}
    ends: dict[int, int] = {}
    decision_from: int = 1
    decision_topic: int = 0
    decision_offset: int = -1
    decision_remembered: bool = False
    traceparent: str | None = None  # its creation's

    @property
    def attempt(self) -> Attempt:
        return self.attempts[-1]

    @property
    def parties(self) -> Sealed:
        return Sealed(
            scheme=self.parties_scheme, key_id=self.parties_key_id, bytes=self.parties_bytes
        )


_pack = packer(Payment)
_unpack = unpacker(Payment)


def pack(state: Payment) -> bytes:
    """The state as bytes; equal states have equal bytes."""
    return _pack(state)


def unpack(packed: bytes) -> Payment:
    """State from its packed bytes. Raises ValueError if they cannot be read."""
    try:
        state: Payment = _unpack(packed)
    except ValueError as error:  # msgspec's own, or text that is not UTF-8
        raise ValueError(f"the packed state cannot be read: {error}") from error
    return state


def open_conflicts(state: Payment) -> int:
    """The number of open conflicts, including those that are only counted."""
    if not state.conflicts:
        return state.conflicts_unlisted
    return state.conflicts_unlisted + sum(1 for c in state.conflicts if c.verdict is None)


def was_never_submitted(attempt: Attempt) -> bool:
    """Whether the attempt was not sent and there is no evidence that the rail has it: then its end
    is certain (ruling 3).
    """
    return not attempt.sent_at and not attempt.rail_had_it


def certain_for_all(state: Payment) -> bool:
    """Whether non-payment is certain for every attempt that has ended (ruling 3)."""
    for attempt in state.attempts:
        if attempt.state in ENDED and not attempt.certain:
            return False
        if attempt.outcome == "PAID" or attempt.outcome == "RETURNED":
            return False
    return True


def money_outcome(state: Payment) -> MoneyOutcomeName:
    """What happened to the money, over all attempts (ruling 6).

    An open conflict outranks paid, paid outranks uncertain, uncertain outranks returned, open and
    not paid.
    """
    if (state.conflicts or state.conflicts_unlisted) and open_conflicts(state):
        return "CONTRADICTED"
    uncertain = returned = False
    for attempt in state.attempts:
        outcome = attempt.outcome
        if outcome == "PAID":
            return "PAID"
        if outcome == "RETURNED":
            returned = True
        elif attempt.state in ENDED and not attempt.certain:
            uncertain = True
    if uncertain:
        return "UNCERTAIN"
    if returned:
        return "RETURNED"
    if state.state in FINAL:
        return "NOT_PAID"
    return "OPEN"


def at_rest(state: Payment) -> bool:
    """Whether nothing is outstanding: no hold, request, conflict, timer or person is awaited."""
    if state.state not in FINAL or state.deadline is not None or state.parked:
        return False
    for attempt in state.attempts:
        if funds.held_cents(attempt) or funds.unanswered(attempt) is not None:
            return False
        if not funds.is_resolved(attempt):
            return False
    return not open_conflicts(state)


def waiting_for_person(state: Payment) -> bool:
    """Whether only a person can continue it: parked, a conflict, a referred approval, a second
    debit, or a refusal by Deposits Core.
    """
    return waits_for_person(state, open_conflicts(state), at_rest(state))


def waits_for_person(state: Payment, conflicts: int, rests: bool) -> bool:
    """`waiting_for_person`, for a caller that already has the number of open conflicts and knows
    whether the state is at rest.
    """
    if state.parked or conflicts:
        return True
    for approval in state.approvals:
        if approval.status == "REFERRED" and approval.expires_at > state.decided_at:
            return True
    return state.deadline is None and not rests


def needs_attention(state: Payment) -> bool:
    """Whether it needs an operator's attention: overdue, a rejected resend, funds requests that are
    refused, repeated or forced, or waiting for a person.
    """
    for attempt in state.attempts:
        if attempt.overdue is not None or resend_rejected(attempt):
            return True
        if funds.waits_for_repeat(attempt) is not None:
            return True
        for ask in attempt.funds_requests:
            if funds.is_silent(ask) or funds.is_forced(ask):
                return True
    return waiting_for_person(state)


def resend_rejected(attempt: Attempt) -> bool:
    """Whether the rail rejected our own resend and the attempt's result is open (ruling 11)."""
    return attempt.resend_rejected and attempt.outcome is None and not attempt.certain


def current_external_ref(state: Payment) -> ExternalRef | None:
    """The current attempt's reference on the rail, or None before the first attempt was created."""
    if not state.authorised_at:
        return None
    return external_ref(state.payment_intent_id, len(state.attempts))
