"""Instructions for outside systems, emitted in the same decision as their event. Derived by `flow`,
never stored.

Times are epoch milliseconds, amounts integer cents.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from core.header import InstructionHeader
from core.values import ApprovalId, Cents, ConflictId, ExternalRef, FundsRef, Sealed
from core.words import (
    ActionName,
    ApprovalPhase,
    FailureReasonName,
    MessageKind,
    MoneyOutcomeName,
    OperationName,
    PolicyPhase,
    RailAct,
    StateName,
    Verdict,
)


class RailInstruction(msgspec.Struct, frozen=True, kw_only=True):
    """kind SUBMIT, WITHDRAW, RECALL or ENQUIRE. The same `external_ref` is the same instruction,
    however often it is delivered.
    """

    header: InstructionHeader
    kind: RailAct
    external_ref: ExternalRef
    attempt: int
    amount: Cents
    currency: str
    service: str
    end_to_end_id: str
    submit_before: int
    number: int  # of this kind for this attempt, from 1
    parties: Sealed | None = None  # SUBMIT only
    uetr: str | None = None


class DepositsRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """operation HOLD, CAPTURE, RELEASE, DEBIT_FORCED, REVERSE or CREDIT. `hold_ref` if one is
    known.

    `parties` is given for HOLD only: Deposits Core needs the debtor's account. `not_after` of a
    HOLD: Deposits Core never carries it out after it. `hold_funds_ref` is given for the RELEASE of
    a hold that was not answered: it names that HOLD, and `not_after` is that HOLD's, because
    Deposits Core may never have seen it, and answers NEVER_HELD only later.
    """

    header: InstructionHeader
    operation: OperationName
    funds_ref: FundsRef
    attempt: int
    amount: Cents
    currency: str
    hold_ref: str | None = None
    parties: Sealed | None = None
    repeat: int = 0
    not_after: int | None = None
    hold_funds_ref: FundsRef | None = None


class PolicyCheckRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """phase CREATE or RETRY. The answer is a PolicyVerdict with the same `policy_ref`."""

    header: InstructionHeader
    policy_ref: str
    phase: PolicyPhase
    attempt: int
    source: str
    amount: Cents
    currency: str
    service: str
    parties: Sealed


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An operator asks Resolve to allow an action. The answer is an ApprovalDecision."""

    header: InstructionHeader
    approval_id: ApprovalId
    action: ActionName
    phase: ApprovalPhase
    attempt: int
    requester: str
    roles: tuple[str, ...]
    reason: str
    state: StateName
    amount: Cents
    currency: str
    failure_reason: FailureReasonName | None = None
    conflict_id: ConflictId | None = None
    verdict: Verdict | None = None
    expires_at: int = 0


class CustomerNotification(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """kind cancelled, failed, late_failure or retry_started; sent only if its statement is
    certain.
    """

    header: InstructionHeader
    notification_id: str
    kind: MessageKind
    state: StateName
    money_outcome: MoneyOutcomeName
    amount: Cents
    currency: str
    customer_id: str | None = None


Instruction = (
    RailInstruction | DepositsRequest | PolicyCheckRequest | ApprovalRequest | CustomerNotification
)

INSTRUCTIONS: tuple[type[msgspec.Struct], ...] = get_args(Instruction)
