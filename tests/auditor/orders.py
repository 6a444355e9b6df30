"""The requests to Deposits Core for a payment, and the results of its attempts on the rail."""

from __future__ import annotations

from dataclasses import dataclass

FREE = ("free", 0)
# Movement -> the operation that requests it, and the accounts it goes between.
WAYS: dict[str, tuple[str, str, str]] = {
    "FundsHeld": ("HOLD", "free", "held"),
    "FundsCaptured": ("CAPTURE", "held", "paid"),
    "FundsReleased": ("RELEASE", "held", "free"),
    "FundsDebitForced": ("DEBIT_FORCED", "free", "paid"),
    "FundsReversed": ("REVERSE", "paid", "free"),
    "FundsCredited": ("CREDIT", "paid", "free"),
}
FROM_TO = {operation: (source, target) for operation, source, target in WAYS.values()}
ENDED = {"SETTLED", "FAILED", "EXPIRED"}
GONE = {"NEVER_HELD", "HOLD_GONE"}
BOOKS_OUTSIDE = "FUNDS_CONTRADICTION"


@dataclass(slots=True)
class Order:
    """A request to Deposits Core. `state`: open, done, refused, or void (nothing to do)."""

    reference: str
    operation: str
    attempt: int
    amount: int
    frees: str | None
    approved: bool
    state: str = "open"


@dataclass(slots=True)
class Fate:
    """The result of one attempt on the rail. `claim`: what the rail settled, None for nothing."""

    over: bool = False
    unpaid: bool = False  # with certainty
    claim: int | None = None
    since: int = 0  # sequence
    back_by_id: int = 0
    back_in_all: int = 0
    given_up: int = 0  # by an approved reversal
    again: bool = False  # its debit was approved

    @property
    def back(self) -> int:
        return max(self.back_by_id, self.back_in_all)

    @property
    def due(self) -> int:
        return 0 if self.claim is None else max(0, self.claim - max(self.back, self.given_up))
