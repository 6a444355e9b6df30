"""What was asked of Deposits Core for an attempt, and what it answered."""

from __future__ import annotations

import msgspec

from core.header import EventHeader
from core.values import Cents, FundsRef
from core.words import OperationName, RequestStatus


class FundsRequested(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`repeat` counts how often the same reference was asked before: 0 for the first time.

    `not_after` (HOLD): Deposits Core never carries it out after that. `hold_funds_ref` (RELEASE):
    the HOLD that was not answered, and `not_after` is that HOLD's.
    """

    header: EventHeader
    operation: OperationName
    funds_ref: FundsRef
    amount: Cents
    currency: str
    repeat: int
    not_after: int | None = None
    hold_funds_ref: FundsRef | None = None


class FundsRequestFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`result` REFUSED: certain not to have happened; FAILED: no readable answer, it may have."""

    header: EventHeader
    operation: OperationName
    funds_ref: FundsRef
    code: str | None
    details: str | None
    result: RequestStatus = "FAILED"


class FundsHeld(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The balance verification."""

    header: EventHeader
    funds_ref: FundsRef
    hold_ref: str
    amount: Cents
    verified_at: int
    ledger_ref: str | None


class FundsHoldDeclined(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    code: str | None
    details: str | None


class FundsCaptured(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsReleased(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsDebitForced(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsReversed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsCredited(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsReleaseDeferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The hold stays until non-payment is certain for every attempt."""

    header: EventHeader
    amount: Cents
    why: str


class FundsHoldTransferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    header: EventHeader
    from_attempt: int
    to_attempt: int
    hold_ref: str
    amount: Cents


FundsEvent = (
    FundsRequested
    | FundsRequestFailed
    | FundsHeld
    | FundsHoldDeclined
    | FundsCaptured
    | FundsReleased
    | FundsDebitForced
    | FundsReversed
    | FundsCredited
    | FundsReleaseDeferred
    | FundsHoldTransferred
)
