"""One payment's history written by hand, event by event, as no honest core would decide it.

Each call is one decision. `log` puts it on a log with a good chain and a good lifecycle record, so
that only what judges the content can notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from core.header import Actor, Cause, EventHeader
from core.payment import events as e
from core.payment.deadlines import with_deadline
from core.payment.events import Event
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from core.payment.state import Payment
from core.values import (
    FUNDS_LETTER,
    ZERO_HASH,
    Parties,
    Party,
    attempt_id,
    external_ref,
    payment_intent_id,
)
from engine.partitioner import partition_of
from evidence.chain import event_hash
from processors.replay import MemoryLog
from schemas import topology as t
from schemas.codec import Codec
from schemas.codec.parties import seal as seal_parties
from tests.processors.payments.clean_history import CLUSTER, PARTITIONS, READ
from tests.processors.replay.world import rules_of

SOURCE, KEY = "mobile-app", "story"
AMOUNT = 12_550
RETRY_APPROVAL = "apr_500"
PARTIES = Parties(Party("Ada", "062000", "12345678"), Party("Ben", "082001", "87654321"), "invoice")
Maker = Callable[["Story"], Event]


class Story:
    """The events so far; `then` adds one decision."""

    def __init__(self, *, source: str = SOURCE, key: str = KEY, payment: str | None = None) -> None:
        self.payment = payment or payment_intent_id(source, key)
        self.source, self.key = source, key
        self.events: list[Event] = []
        self.state = "CREATED"
        self.attempt = 1
        self._decisions = 0

    def then(self, *makers: Maker) -> Story:
        """One decision: its events name one input."""
        self._decisions += 1
        for make in makers:
            self.events.append(make(self))
        return self

    def header(
        self, *, attempt: int | None = None, state: str | None = None, approval: str | None = None
    ) -> EventHeader:
        self.state = state or self.state
        cause = Cause(CLUSTER, t.RAIL_REPORTS, 0, self._decisions, ZERO_HASH)
        return EventHeader(
            payment_intent_id=self.payment, sequence=len(self.events) + 1, previous_hash=ZERO_HASH,
            decided_at=1_000 + self._decisions, cause=cause, actor=Actor("system", "story"),
            attempt=attempt or self.attempt, state_after=self.state, reason=None,
            approval_id=approval, rule_set=1, traceparent=None,
        )  # fmt: skip

    def ref(self, operation: str, attempt: int, number: int) -> str:
        return f"{external_ref(self.payment, attempt)}{FUNDS_LETTER[operation]}{number:02d}"

    # -- the log -----------------------------------------------------------------------------------

    def values(self, codec: Codec) -> list[bytes]:
        """The events as bytes, each with the hash of the one before."""
        values: list[bytes] = []
        for event in self.events:
            if values:
                event.header.previous_hash = hashlib.sha256(values[-1]).digest()
            values.append(codec.encode(t.EVENTS, event))
        return values

    def log(self, codec: Codec, log: MemoryLog | None = None) -> MemoryLog:
        """The events and the lifecycle record of their fold, added to `log`."""
        log = log or MemoryLog(dict.fromkeys((*READ, t.CHECKPOINTS), PARTITIONS))
        key = self.payment.encode()
        number = partition_of(key, PARTITIONS)
        values = self.values(codec)
        for value in values:
            log.append(t.EVENTS, number, key, value)
        state: Payment | None = None
        for event in self.events:
            state = evolve(state, event)
        assert state is not None
        record = lifecycle_record(with_deadline(state, rules_of(1)), event_hash(values[-1]))
        log.append(t.LIFECYCLE, number, key, codec.encode(t.LIFECYCLE, record))
        return log


# -- events: each gives what `then` takes ----------------------------------------------------------


def made(kind: type[Any], *fields: Any, **header: Any) -> Maker:
    """Any event."""
    return lambda story: kind(story.header(**header), *fields)


def created(amount: int = AMOUNT) -> Maker:
    return lambda story: e.PaymentIntentCreated(
        story.header(state="CREATED"), story.source, story.key, amount, "AUD",
        seal_parties(PARTIES), "E2E", "sct", None, None, None, None,
    )  # fmt: skip


def asked(
    operation: str, amount: int = AMOUNT, *, attempt: int = 1, number: int = 1, repeat: int = 0,
    approval: str | None = None, frees: str | None = None,
) -> Maker:  # fmt: skip
    return lambda story: e.FundsRequested(
        story.header(attempt=attempt, approval=approval), operation,
        story.ref(operation, attempt, number), amount, "AUD", repeat, None,
        None if frees is None else story.ref("HOLD", attempt, int(frees)),
    )  # fmt: skip


def unanswered(operation: str, *, attempt: int = 1, number: int = 1) -> Maker:
    return _failed(operation, attempt, number, "NO_ANSWER", "FAILED")


def refused(
    operation: str, *, attempt: int = 1, number: int = 1, code: str = "NOT_ALLOWED"
) -> Maker:
    return _failed(operation, attempt, number, code, "REFUSED")


def _failed(operation: str, attempt: int, number: int, code: str, result: str) -> Maker:
    return lambda story: e.FundsRequestFailed(
        story.header(attempt=attempt), operation, story.ref(operation, attempt, number), code,
        None, result,
    )  # fmt: skip


def held(amount: int = AMOUNT, *, attempt: int = 1, number: int = 1) -> Maker:
    return lambda story: e.FundsHeld(
        story.header(attempt=attempt), story.ref("HOLD", attempt, number), "HOLD-1", amount, 1_000,
        None,
    )  # fmt: skip


def declined(code: str, *, attempt: int = 1, number: int = 1) -> Maker:
    return lambda story: e.FundsHoldDeclined(
        story.header(attempt=attempt), story.ref("HOLD", attempt, number), code, None
    )


MOVES: dict[str, type[Any]] = {
    "CAPTURE": e.FundsCaptured,
    "RELEASE": e.FundsReleased,
    "DEBIT_FORCED": e.FundsDebitForced,
    "REVERSE": e.FundsReversed,
    "CREDIT": e.FundsCredited,
}


def moved(operation: str, amount: int = AMOUNT, *, attempt: int = 1, number: int = 1) -> Maker:
    return lambda story: MOVES[operation](
        story.header(attempt=attempt), story.ref(operation, attempt, number), amount, "LEDGER-1"
    )


def transferred(giver: int, taker: int, amount: int = AMOUNT) -> Maker:
    return lambda story: e.FundsHoldTransferred(
        story.header(attempt=taker), giver, taker, "HOLD-1", amount
    )


def passed(phase: str = "RETRY") -> Maker:
    """The policy check of the current attempt."""
    return lambda story: e.PolicyChecked(
        story.header(), "POLICY-1", "PASSED", phase, ("limits",), "1", None
    )


def authorised() -> tuple[Maker, Maker, Maker]:
    """The policy passed, and the first attempt is made."""
    return (
        passed("CREATE"),
        lambda story: e.PaymentAuthorised(
            story.header(state="AUTHORISED"), "att_001", "POLICY-1", "HOLD-1", AMOUNT
        ),
        lambda story: e.PaymentAttemptCreated(
            story.header(), "att_001", external_ref(story.payment, 1), None
        ),
    )


def retried(number: int) -> Maker:
    """Under the approval RETRY_APPROVAL."""

    def make(story: Story) -> Event:
        story.attempt = number
        return e.PaymentAttemptCreated(
            story.header(state="AUTHORISED", approval=RETRY_APPROVAL), attempt_id(number),
            external_ref(story.payment, number), "again",
        )  # fmt: skip

    return make


def sent() -> Maker:
    return lambda story: e.PaymentSentToRail(
        story.header(state="SENT"), attempt_id(story.attempt),
        external_ref(story.payment, story.attempt), AMOUNT, "AUD", 9_000,
    )  # fmt: skip


def settled(amount: int = AMOUNT, conflict: str | None = None) -> tuple[Maker, Maker]:
    return (
        lambda story: e.PaymentAcknowledged(
            story.header(state="ACKNOWLEDGED"), attempt_id(story.attempt),
            external_ref(story.payment, story.attempt), True, None, None, None, False, None,
        ),
        lambda story: e.PaymentSettled(
            story.header(state="SETTLED"), attempt_id(story.attempt),
            external_ref(story.payment, story.attempt), amount, "AUD", None, None, "ACSC", False,
            conflict, None,
        ),
    )  # fmt: skip


def failed(reason: str = "RAIL", *, certain: bool = True, source: str = "rail") -> Maker:
    def make(story: Story) -> Event:
        header = msgspec.structs.replace(story.header(state="FAILED"), reason=reason)
        return e.PaymentFailed(
            header, attempt_id(story.attempt), source, True, certain, False, None, None, "AB08",
            None, None, None, False, None,
        )  # fmt: skip

    return make


def approved(
    action: str, name: str = "apr_001", *, attempt: int = 1, conflict: str | None = None,
    verdict: str | None = None,
) -> tuple[Maker, Maker]:  # fmt: skip
    """Asked for by one person and approved by another."""
    return (
        lambda story: e.OperatorActionRequested(
            story.header(attempt=attempt, approval=name), action, "ann", story.state, "please",
            90_000, None, conflict, verdict, AMOUNT, None,
        ),
        lambda story: e.OperatorActionApproved(
            story.header(attempt=attempt, approval=name), action, "bob", (), "1", None, 90_000
        ),
    )  # fmt: skip


def conflict(
    kind: str, amount: int | None = AMOUNT, *, attempt: int = 1, name: str = "cnf_001",
    report: str = "SETTLED",
) -> Maker:  # fmt: skip
    return lambda story: e.ReconciliationRequired(
        story.header(attempt=attempt), name, kind, external_ref(story.payment, attempt), "detail",
        None, amount, "AUD", None, None, report,
    )  # fmt: skip


def resolved(
    verdict: str, amount: int | None = None, *, attempt: int = 1, name: str = "cnf_001"
) -> tuple[Maker, Maker, Maker]:
    """A person's verdict, under an approval of its own."""
    approval = name.replace("cnf_", "apr_9")[:7]
    asking, granting = approved(
        "RESOLVE_RECONCILIATION", approval, attempt=attempt, conflict=name, verdict=verdict
    )
    return (
        asking,
        granting,
        lambda story: e.ReconciliationResolved(
            story.header(attempt=attempt, approval=approval), name, verdict, "seen", amount
        ),
    )


def confirmed(attempt: int) -> Maker:
    return lambda story: e.NonPaymentConfirmed(
        story.header(attempt=attempt), attempt_id(attempt), external_ref(story.payment, attempt),
        "REJECTED", None, None,
    )  # fmt: skip


def noted_return(amount: int, message: str) -> Maker:
    """A return that raised no total."""
    return lambda story: e.RailStatusReported(
        story.header(), external_ref(story.payment, story.attempt), "RETURNED", "simulator", None,
        amount, "AUD", message, None, None, None, None, None, False, False, None,
    )  # fmt: skip


def returned(
    amount: int, *, message: str | None = "RET-1", enquiry: bool = False, total: int = 0
) -> Maker:
    return lambda story: e.PaymentReturned(
        story.header(), external_ref(story.payment, story.attempt), amount, "AUD", None, message,
        None, enquiry, total,
    )  # fmt: skip
