"""What the simulated rail did with the money, independent of what its messages say.

A reference is settled once at most, and never when it was rejected, recalled or expired before.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateways import ports
from gateways.simulator import Journal

ENTRIES_MAX: Final = 2_000_000


class PendingStep(msgspec.Struct):
    """A scripted step that has not happened yet."""

    due_ms: int
    step: dict[str, Any]


class RailEntry(msgspec.Struct):
    """One reference. Amounts in cents; `submitted` counts the submissions that arrived."""

    external_ref: str
    amount: int
    currency: str
    submit_before: int
    content: str
    first_submitted_at: int
    transaction_id: str
    submitted: int = 0
    accepted: bool = False
    settled_amount: int = 0
    rejected: str | None = None
    expired: bool = False
    recalled: bool = False
    returned_amount: int = 0
    messages: int = 0
    traceparent: str | None = None  # of its first submission; its messages pass it on
    pending: list[PendingStep] = []

    def ended_unpaid(self) -> bool:
        return self.rejected is not None or self.recalled or self.expired

    def status(self) -> str:
        """The true answer to an enquiry."""
        if self.returned_amount:
            return ports.RETURNED
        if self.settled_amount:
            return ports.SETTLED
        if self.rejected is not None:
            return ports.REJECTED
        if self.recalled:
            return ports.RECALLED
        if self.expired:
            return ports.EXPIRED
        return ports.ACCEPTED if self.accepted else ports.RECEIVED

    def apply(self, kind: str, *, amount: int | None, code: str | None) -> None:
        """A step's effect on the money; one that contradicts the ledger has none."""
        match kind:
            case "ACCEPTED" if not self.ended_unpaid():
                self.accepted = True
            case "SETTLED" if not self.settled_amount and not self.ended_unpaid():
                self.settled_amount = self.amount if amount is None else amount
            case "REJECTED" if not self.settled_amount and not self.ended_unpaid():
                self.rejected = code or "MS03"
            case "EXPIRED" if not self.settled_amount and not self.ended_unpaid():
                self.expired = True
            case "RETURNED":
                left = self.settled_amount - self.returned_amount
                self.returned_amount += left if amount is None else min(left, amount)
            case _:
                return

    def as_json(self) -> dict[str, Any]:
        return {
            "externalRef": self.external_ref,
            "submitted": self.submitted,
            "amount": self.amount,
            "currency": self.currency,
            "status": self.status(),
            "accepted": self.accepted,
            "settledAmount": self.settled_amount,
            "rejected": self.rejected,
            "expired": self.expired,
            "recalled": self.recalled,
            "returnedAmount": self.returned_amount,
            "submitBefore": self.submit_before,
            "firstSubmittedAt": self.first_submitted_at,
            "messages": self.messages,
            "stepsPending": len(self.pending),
        }


class RailLedger:
    """All references, and how many submissions of each were refused for coming too late."""

    def __init__(self, journal: Journal) -> None:
        self.entries: dict[str, RailEntry] = {}
        self.too_late: dict[str, int] = {}
        self.enquiries: dict[str, int] = {}
        self.recalls: dict[str, str] = {}
        self._journal = journal
        for ref, raw in journal.load().items():
            self.entries[ref] = msgspec.convert(raw, RailEntry)

    def add(self, entry: RailEntry) -> None:
        """Add a reference. Raises OverflowError beyond ENTRIES_MAX."""
        if len(self.entries) >= ENTRIES_MAX:
            raise OverflowError("the simulated rail's ledger is full")
        self.entries[entry.external_ref] = entry

    def keep(self, entry: RailEntry) -> None:
        """Write the entry's present state to the journal file, if there is one."""
        self._journal.append(entry.external_ref, msgspec.to_builtins(entry))

    def count_enquiry(self, external_ref: str) -> None:
        self.enquiries[external_ref] = self.enquiries.get(external_ref, 0) + 1

    def count_too_late(self, external_ref: str) -> None:
        self.too_late[external_ref] = self.too_late.get(external_ref, 0) + 1

    def as_json(self, external_ref: str | None) -> dict[str, Any]:
        chosen = (
            self.entries.values()
            if external_ref is None
            else filter(None, [self.entries.get(external_ref.upper())])
        )
        return {
            "payments": [entry.as_json() for entry in chosen],
            "refusedTooLate": self.too_late,
            "enquiries": sum(self.enquiries.values()),
        }
