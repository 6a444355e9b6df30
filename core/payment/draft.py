"""A decision in progress: appended events, the state after each, and the common parts of their
headers.
"""

from __future__ import annotations

from typing import Final

from core.decider import Context, Duplicate
from core.header import Actor, EventHeader, InputHeader
from core.payment.events import Event
from core.payment.evolve import advance, evolve
from core.payment.state import Payment
from core.rules import Rules
from core.values import ZERO_HASH, ApprovalId, PaymentIntentId
from core.words import FailureReasonName, StateName

SYSTEM: Final = Actor(kind="system", id="orchestrator")


class Draft:
    """Appends events; no refusal is possible from here on. `now` is the decision's time
    (decidedAt), epoch ms.
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
        # A callback or a timer carries none: then it is the payment's own (domain §10).
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
        """The next event's header, for the decision's actor or another; encoding fills in
        previous_hash.
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
        """Append the event and evolve the state. The first event copies the state; the others
        change the copy in place.
        """
        if self.events:
            advance(self.state, event)
        else:
            self.state = evolve(self.before, event)
        self.events.append(event)


def decided_at(state: Payment | None, now_ms: int) -> int:
    """decidedAt never decreases within a payment (domain §8)."""
    return now_ms if state is None else max(now_ms, state.decided_at)


def draft_of(
    state: Payment,
    context: Context,
    actor: Actor,
    header: InputHeader | None,
    now: int | None = None,
) -> Draft:
    """The draft of a decision about a known payment; `header` is the input's, None if the input
    caused a defect. `now` is decidedAt if it differs from the context's.
    """
    return Draft(
        before=state,
        context=context,
        payment_id=state.payment_intent_id,
        actor=actor,
        traceparent=None if header is None else header.traceparent,
        now=decided_at(state, context.now_ms) if now is None else now,
    )


def duplicate_of(state: Payment, from_sequence: int) -> Duplicate:
    """A repeat of the decision whose first event is `from_sequence`."""
    if from_sequence == state.decision_from:
        last = state.sequence
    else:
        last = state.ends.get(from_sequence, from_sequence)
    return Duplicate(from_sequence=from_sequence, to_sequence=last)
