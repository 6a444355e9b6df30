"""A decision in the making: appended events, the state after each, and what their headers share."""

from __future__ import annotations

from typing import Final

from core.decider import Context
from core.header import Actor, EventHeader, InputHeader
from core.payment.events import Event
from core.payment.evolve import advance, evolve
from core.payment.state import Payment
from core.rules import Rules
from core.values import ZERO_HASH, ApprovalId, PaymentIntentId
from core.words import FailureReasonName, StateName

SYSTEM: Final = Actor(kind="system", id="orchestrator")


class Draft:
    """Appends events; nothing can refuse any more. `now` is the decision's time (decidedAt), epoch
    ms.
    """

    __slots__ = (
        "actor",
        "before",
        "context",
        "events",
        "now",
        "payment_id",
        "rules",
        "state",
        "traceparent",
    )

    def __init__(
        self,
        *,
        before: Payment | None,
        context: Context,
        payment_id: PaymentIntentId,
        actor: Actor,
        traceparent: str | None,
        now: int,
    ) -> None:
        self.before = before
        if before is not None:
            self.state: Payment = before  # a new payment has none until its first event
        self.context = context
        self.rules: Rules = context.rules
        self.payment_id = payment_id
        self.actor = actor
        # A callback or a timer brings none: then it is the payment's own (domain §10).
        self.traceparent = (
            traceparent if traceparent is not None or before is None else before.traceparent
        )
        self.now = now
        self.events: list[Event] = []

    def header(
        self,
        attempt: int,
        state_after: StateName | None = None,
        *,
        reason: FailureReasonName | None = None,
        approval_id: ApprovalId | None = None,
        actor: Actor | None = None,
    ) -> EventHeader:
        """The next event's header, of the decision's actor or another; previous_hash comes with the
        encoding.
        """
        is_first = self.before is None and not self.events
        return EventHeader(
            payment_intent_id=self.payment_id,
            sequence=1 if is_first else self.state.sequence + 1,
            previous_hash=ZERO_HASH,
            decided_at=self.now,
            cause=self.context.cause,
            actor=actor or self.actor,
            attempt=attempt,
            state_after=state_after or self.state.state,
            reason=reason,
            approval_id=approval_id,
            rule_set=self.rules.number,
            traceparent=self.traceparent,
        )

    def append(self, event: Event) -> None:
        """The event has happened: the state is the one after it. The first event makes a state of
        our own; the others change it.
        """
        if self.events:
            advance(self.state, event)
        else:
            self.state = evolve(self.before, event)
        self.events.append(event)


def decided_at(state: Payment | None, now_ms: int) -> int:
    """decidedAt never goes back within a payment (domain §8)."""
    return now_ms if state is None else max(now_ms, state.decided_at)


def draft_of(
    state: Payment,
    context: Context,
    actor: Actor,
    header: InputHeader | None,
    now: int | None = None,
) -> Draft:
    """The draft of a decision about a known payment; `header` is the input's, None for a defect at
    it. `now` is decidedAt where it is not that of the context.
    """
    return Draft(
        before=state,
        context=context,
        payment_id=state.payment_intent_id,
        actor=actor,
        traceparent=None if header is None else header.traceparent,
        now=decided_at(state, context.now_ms) if now is None else now,
    )
