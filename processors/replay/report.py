"""A replay's result: one for each strength, and all of it as JSON.

A failure names payment, sequence and first difference. "Not checkable" is not a failure; it gives
the reason.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from core.values import Cents, ExternalRef, PaymentIntentId

FAILURES_LISTED_MAX: Final = 100  # of each strength; the others are counted
REASONS_MAX: Final = 100  # distinct reasons for "not checkable" that are counted

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_CHECKABLE: Final = "not checkable"


class Failure(msgspec.Struct, frozen=True, rename="camel"):
    """One failure. `sequence` is 0 and `offset` -1 if there is none."""

    kind: str
    payment: str | None
    sequence: int
    topic: str
    partition: int
    offset: int
    first_difference: str

    def order(self) -> tuple[int, str, int, int, str, str]:
        """The sort key of the list: the order is the same however a replay is divided."""
        return (
            self.partition, self.payment or "", self.sequence, self.offset, self.kind,
            self.first_difference,
        )  # fmt: skip

    def sentence(self) -> str:
        """One line for people."""
        place = f"{self.topic} partition {self.partition}"
        if self.offset >= 0:
            place += f" offset {self.offset}"
        if self.payment is None:
            return f"{self.kind}: {place}: {self.first_difference}"
        return (
            f"{self.kind}: payment {self.payment} sequence {self.sequence} ({place}): "
            f"{self.first_difference}"
        )


class Strength:
    """The result of one strength: fold, chain, re-decide, identity or money."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.payments = 0
        self.events = 0
        self.checked = 0  # records, decisions or checkpoints, as the strength has it
        self.failures: list[Failure] = []
        self.failure_count = 0
        self.not_checkable: dict[str, int] = {}
        self.seconds = 0.0

    def fail(self, failure: Failure) -> None:
        """Record a failure. The first FAILURES_LISTED_MAX of all are listed, in their order."""
        self.failure_count += 1
        insort(self.failures, failure, key=Failure.order)
        del self.failures[FAILURES_LISTED_MAX:]

    def skip(self, reason: str, count: int = 1) -> None:
        """Record that something could not be checked, and why."""
        reasons = self.not_checkable
        reasons[reason] = reasons.get(reason, 0) + count
        if len(reasons) > REASONS_MAX:
            del reasons[max(reasons)]  # the rest were never deleted: their counts are complete

    def merge(self, other: Strength) -> None:
        """Add another result of the same strength."""
        self.payments += other.payments
        self.events += other.events
        self.checked += other.checked
        self.seconds += other.seconds
        for reason, count in other.not_checkable.items():
            self.skip(reason, count)
        for failure in other.failures:
            self.fail(failure)
        self.failure_count += other.failure_count - len(other.failures)

    @property
    def verdict(self) -> str:
        """failed; else passed, if anything was checked or there is nothing to check; else not
        checkable.
        """
        if self.failure_count:
            return FAILED
        if self.not_checkable and not self.checked:
            return NOT_CHECKABLE
        return PASSED

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "verdict": self.verdict,
            "payments": self.payments,
            "events": self.events,
            "checked": self.checked,
            "failures": msgspec.to_builtins(self.failures),
            "failureCount": self.failure_count,
            "notCheckable": dict(sorted(self.not_checkable.items())),
            "seconds": round(self.seconds, 3),
        }


class InputCounts(msgspec.Struct, rename="camel"):
    """Counts of the inputs by result. `pending`: after the last decided one, on a live log."""

    read: int = 0
    by_events: int = 0
    by_outcome: int = 0
    by_quarantine: int = 0
    pending: int = 0
    unaccounted: int = 0


class PaymentView(msgspec.Struct, frozen=True, rename="camel"):
    """The state of one payment at the end of the replay, or at its limit."""

    payment_intent_id: PaymentIntentId
    state: str
    money_outcome: str
    reason: str | None
    sequence: int
    offset: int
    decided_at: int
    attempt: int
    external_ref: ExternalRef | None
    amount: Cents
    currency: str
    funds: str
    open_conflicts: int
    waiting_for_person: bool
    head_hash: str
    last_event: str


class Report:
    """All strengths' results. `offsets[n]`: the end (exclusive) to which journal partition n was
    read.
    """

    def __init__(self, payment: str | None, limit: str | None) -> None:
        self.payment = payment
        self.limit = limit
        self.fold = Strength("fold")
        self.chain = Strength("chain")
        self.redecide = Strength("redecide")
        self.identity = Strength("identity")
        self.money = Strength("money")
        self.inputs = InputCounts()
        self.states: dict[str, int] = {}
        self.view: PaymentView | None = None
        self.offsets: list[int] = []
        self.base: list[int] | None = None  # see `since`
        self.without: tuple[str, ...] = ()
        self.excused = Strength("excused")
        self.seconds = 0.0

    def since(self, partitions: int, without: Sequence[str]) -> None:
        """Prove only from the last good checkpoint of each partition: `base[n]` is the offset after
        it. Failures before it, or in payments of `without`, are listed as excused.
        """
        self.base = [0] * partitions
        self.without = tuple(sorted(without))

    def is_past(self, partition: int, offset: int) -> bool:
        """Whether a journal offset is before the base of a proof from a checkpoint."""
        return self.base is not None and offset < self.base[partition]

    def scope(self) -> str:
        """What was proven, as text for the control topic and for people."""
        if self.base is None:
            return "whole log"
        words = "from the last good checkpoint: " + ", ".join(
            f"{number}@{offset}" for number, offset in enumerate(self.base)
        )
        if self.without:
            words += f"; without {', '.join(self.without)}"
        return f"{words}; {self.excused.failure_count} differences before it or left out"

    def strengths(self) -> tuple[Strength, ...]:
        """In display order."""
        return (self.fold, self.chain, self.redecide, self.identity, self.money)

    def merge(self, other: Report) -> None:
        """Add one payment's findings."""
        for mine, its in zip(self.strengths(), other.strengths(), strict=True):
            mine.merge(its)
        for state, count in other.states.items():
            self.states[state] = self.states.get(state, 0) + count
        self.view = self.view or other.view

    def join(self, part: Report, numbers: Sequence[int]) -> None:
        """Add the report of some partitions; in whatever order they come, the whole is the same."""
        self.merge(part)
        self.excused.merge(part.excused)
        for field in self.inputs.__struct_fields__:
            both = getattr(self.inputs, field) + getattr(part.inputs, field)
            setattr(self.inputs, field, both)
        for number in numbers:
            self.offsets[number] = part.offsets[number]
            if self.base is not None and part.base is not None:
                self.base[number] = part.base[number]

    @property
    def passed(self) -> bool:
        """True if nothing failed. In a proof from a checkpoint, re-decide is not judged."""
        judged = [each for each in self.strengths() if self.base is None or each.name != "redecide"]
        return not any(each.failure_count for each in judged)

    @property
    def first_failure(self) -> Failure | None:
        """The first failure of the first strength that has one."""
        for each in self.strengths():
            if each.failures and (self.base is None or each.name != "redecide"):
                return each.failures[0]
        return None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "scope": {
                "payment": self.payment,
                "limit": self.limit,
                "fromCheckpoint": self.base,
                "without": list(self.without),
            },
            "excused": self.excused.to_dict(),
            **{each.name: each.to_dict() for each in self.strengths()},
            "inputs": msgspec.to_builtins(self.inputs),
            "states": dict(sorted(self.states.items())),
            "payment": None if self.view is None else msgspec.to_builtins(self.view),
            "offsets": self.offsets,
            "seconds": round(self.seconds, 3),
        }

    def to_json(self) -> str:
        """The report as one JSON object."""
        return msgspec.json.encode(self.to_dict()).decode()
