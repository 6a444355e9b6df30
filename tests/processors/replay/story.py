"""One payment's history written by hand, event by event, as no correct core would decide it.

Each call is one decision. `log` puts it on a log with a valid chain and a valid lifecycle record,
so that only a check of the content can notice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast

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
    ApprovalId,
    Cents,
    ConflictId,
    FundsRef,
    Parties,
    Party,
    PaymentIntentId,
    attempt_id,
    external_ref,
    payment_intent_id,
)
from core.words import RequestStatus
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
PARTIES = Parties(
    debtor=Party(name="Ada", bsb="062000", account="12345678"),
    creditor=Party(name="Ben", bsb="082001", account="87654321"),
    remittance="invoice",
)
Maker = Callable[["Story"], Event]


class Story:
    """The events so far; `then` adds one decision."""

    def __init__(self, *, source: str = SOURCE, key: str = KEY, payment: str | None = None) -> None:
        self.payment = PaymentIntentId(payment) if payment else payment_intent_id(source, key)
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
        cause = Cause(
            cluster_id=CLUSTER,
            topic=t.RAIL_REPORTS,
            partition=0,
            offset=self._decisions,
            input_hash=ZERO_HASH,
        )
        return EventHeader(
            payment_intent_id=self.payment, sequence=len(self.events) + 1, previous_hash=ZERO_HASH,
            decided_at=1_000 + self._decisions, cause=cause, actor=Actor(kind="system", id="story"),
            attempt=attempt or self.attempt, state_after=cast(Any, self.state), reason=None,
            approval_id=None if approval is None else ApprovalId(approval), rule_set=1,
            traceparent=None,
        )  # fmt: skip

    def ref(self, operation: str, attempt: int, number: int) -> FundsRef:
        return FundsRef(
            f"{external_ref(self.payment, attempt)}{FUNDS_LETTER[operation]}{number:02d}"
        )

    # -- the log -----------------------------------------------------------------------------------

    def values(self, codec: Codec) -> list[bytes]:
        """The events as bytes, each with the hash of the previous one."""
        values: list[bytes] = []
        for event in self.events:
            if values:
                event.header.previous_hash = hashlib.sha256(values[-1]).digest()
            values.append(codec.encode(t.EVENTS, event))
        return values

    def log(self, codec: Codec, log: MemoryLog | None = None) -> MemoryLog:
        """Add the events and the lifecycle record of their fold to `log`."""
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


# -- events: each returns an argument of `then` ----------------------------------------------------


def made(kind: type[Any], **fields: Any) -> Maker:
    """Any event."""
    return lambda story: kind(header=story.header(), **fields)


def created(amount: int = AMOUNT) -> Maker:
    return lambda story: e.PaymentIntentCreated(
        header=story.header(state="CREATED"),
        source=story.source,
        idempotency_key=story.key,
        amount=Cents(amount),
        currency="AUD",
        parties=seal_parties(PARTIES),
        end_to_end_id="E2E",
        service="sct",
        uetr=None,
        customer_id=None,
        requested_execution_time=None,
        expires_at=None,
    )


def requested(
    operation: Any, amount: int = AMOUNT, *, attempt: int = 1, number: int = 1, repeat: int = 0,
    approval: str | None = None, frees: str | None = None,
) -> Maker:  # fmt: skip
    return lambda story: e.FundsRequested(
        header=story.header(attempt=attempt, approval=approval),
        operation=operation,
        funds_ref=story.ref(operation, attempt, number),
        amount=Cents(amount),
        currency="AUD",
        repeat=repeat,
        not_after=None,
        hold_funds_ref=None if frees is None else story.ref("HOLD", attempt, int(frees)),
    )


def unanswered(operation: str, *, attempt: int = 1, number: int = 1) -> Maker:
    return _failed(operation, attempt, number, "NO_ANSWER", "FAILED")


def refused(
    operation: str, *, attempt: int = 1, number: int = 1, code: str = "NOT_ALLOWED"
) -> Maker:
    return _failed(operation, attempt, number, code, "REFUSED")


def _failed(operation: Any, attempt: int, number: int, code: str, result: RequestStatus) -> Maker:
    return lambda story: e.FundsRequestFailed(
        header=story.header(attempt=attempt),
        operation=operation,
        funds_ref=story.ref(operation, attempt, number),
        code=code,
        details=None,
        result=result,
    )


def held(amount: int = AMOUNT, *, attempt: int = 1, number: int = 1) -> Maker:
    return lambda story: e.FundsHeld(
        header=story.header(attempt=attempt),
        funds_ref=story.ref("HOLD", attempt, number),
        hold_ref="HOLD-1",
        amount=Cents(amount),
        verified_at=1_000,
        ledger_ref=None,
    )


def declined(code: str, *, attempt: int = 1, number: int = 1) -> Maker:
    return lambda story: e.FundsHoldDeclined(
        header=story.header(attempt=attempt),
        funds_ref=story.ref("HOLD", attempt, number),
        code=code,
        details=None,
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
        header=story.header(attempt=attempt),
        funds_ref=story.ref(operation, attempt, number),
        amount=amount,
        ledger_ref="LEDGER-1",
    )


def transferred(giver: int, taker: int, amount: int = AMOUNT) -> Maker:
    return lambda story: e.FundsHoldTransferred(
        header=story.header(attempt=taker),
        from_attempt=giver,
        to_attempt=taker,
        hold_ref="HOLD-1",
        amount=Cents(amount),
    )


def passed(phase: Any = "RETRY") -> Maker:
    """The policy check of the current attempt."""
    return lambda story: e.PolicyChecked(
        header=story.header(),
        policy_ref="POLICY-1",
        verdict="PASSED",
        phase=phase,
        rules_evaluated=("limits",),
        policy_version="1",
        failure_reason=None,
    )


def authorised() -> tuple[Maker, Maker, Maker]:
    """The policy passed, and the first attempt is created."""
    return (
        passed("CREATE"),
        lambda story: e.PaymentAuthorised(
            header=story.header(state="AUTHORISED"),
            attempt_id="att_001",
            policy_ref="POLICY-1",
            hold_ref="HOLD-1",
            amount=Cents(AMOUNT),
        ),
        lambda story: e.PaymentAttemptCreated(
            header=story.header(),
            attempt_id="att_001",
            external_ref=external_ref(story.payment, 1),
            text=None,
        ),
    )


def retried(number: int) -> Maker:
    """Under the approval RETRY_APPROVAL."""

    def make(story: Story) -> Event:
        story.attempt = number
        return e.PaymentAttemptCreated(
            header=story.header(state="AUTHORISED", approval=RETRY_APPROVAL),
            attempt_id=attempt_id(number),
            external_ref=external_ref(story.payment, number),
            text="again",
        )

    return make


def sent() -> Maker:
    return lambda story: e.PaymentSentToRail(
        header=story.header(state="SENT"),
        attempt_id=attempt_id(story.attempt),
        external_ref=external_ref(story.payment, story.attempt),
        amount=Cents(AMOUNT),
        currency="AUD",
        submit_before=9_000,
    )


def settled(amount: int = AMOUNT, conflict: str | None = None) -> tuple[Maker, Maker]:
    return (
        lambda story: e.PaymentAcknowledged(
            header=story.header(state="ACKNOWLEDGED"),
            attempt_id=attempt_id(story.attempt),
            external_ref=external_ref(story.payment, story.attempt),
            implied=True,
            rail_message_id=None,
            transaction_id=None,
            code=None,
            via_enquiry=False,
            assigned_from=None,
        ),
        lambda story: e.PaymentSettled(
            header=story.header(state="SETTLED"),
            attempt_id=attempt_id(story.attempt),
            external_ref=external_ref(story.payment, story.attempt),
            amount=Cents(amount),
            currency="AUD",
            rail_message_id=None,
            transaction_id=None,
            code="ACSC",
            via_enquiry=False,
            conflict_id=None if conflict is None else ConflictId(conflict),
            assigned_from=None,
        ),
    )


def failed(reason: str = "RAIL", *, certain: bool = True, source: str = "rail") -> Maker:
    def make(story: Story) -> Event:
        header = msgspec.structs.replace(story.header(state="FAILED"), reason=reason)
        return e.PaymentFailed(
            header=header,
            attempt_id=attempt_id(story.attempt),
            source=cast(Any, source),
            retry_safe=True,
            non_payment_certain=certain,
            late_failure=False,
            text=None,
            details=None,
            code="AB08",
            code_table=None,
            customer_id=None,
            rail_message_id=None,
            via_enquiry=False,
            assigned_from=None,
        )

    return make
