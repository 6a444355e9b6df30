"""Requests to Deposits Core for an attempt, and its answers: the funds events of
`core.payment.events`.
"""

from __future__ import annotations

from core.header import Recorded
from core.values import Cents, FundsRef
from core.words import DeferralReason, OperationName, RequestStatus


class FundsRequested(Recorded, frozen=True, kw_only=True):
    """`repeat` counts earlier requests with the same reference: 0 for the first.

    `not_after` (HOLD): Deposits Core never carries it out after that. `hold_funds_ref` (RELEASE):
    the unanswered HOLD; `not_after` is that HOLD's.
    """

    operation: OperationName
    funds_ref: FundsRef
    amount: Cents
    currency: str
    repeat: int
    not_after: int | None = None
    hold_funds_ref: FundsRef | None = None


class FundsRequestFailed(Recorded, frozen=True, kw_only=True):
    """`result` REFUSED: certainly not carried out; FAILED: no readable answer, it may have been."""

    operation: OperationName
    funds_ref: FundsRef
    code: str | None
    details: str | None
    result: RequestStatus = "FAILED"


class FundsHeld(Recorded, frozen=True, kw_only=True):
    """Deposits Core reserves the amount: the runbook's balance verification."""

    funds_ref: FundsRef
    hold_ref: str
    amount: Cents
    verified_at: int
    ledger_ref: str | None


class FundsHoldDeclined(Recorded, frozen=True, kw_only=True):
    funds_ref: FundsRef
    code: str | None
    details: str | None


class FundsMoved(Recorded, frozen=True, kw_only=True):
    """A request that Deposits Core has carried out; `ledger_ref` is its own reference."""

    funds_ref: FundsRef
    amount: Cents
    ledger_ref: str | None


class FundsCaptured(FundsMoved, frozen=True):
    """CAPTURE: taken from what is held."""


class FundsReleased(FundsMoved, frozen=True):
    """RELEASE: no longer held."""


class FundsDebitForced(FundsMoved, frozen=True):
    """DEBIT_FORCED: taken without a hold."""


class FundsReversed(FundsMoved, frozen=True):
    """REVERSE: a capture given back."""


class FundsCredited(FundsMoved, frozen=True):
    """CREDIT: given back other than by a reversal."""


class FundsReleaseDeferred(Recorded, frozen=True, kw_only=True):
    """The hold stays until non-payment is certain for every attempt."""

    amount: Cents
    why: DeferralReason


class FundsHoldTransferred(Recorded, frozen=True, kw_only=True):
    from_attempt: int
    to_attempt: int
    hold_ref: str
    amount: Cents
