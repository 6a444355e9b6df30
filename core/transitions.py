"""The one table of lifecycle transitions. Code, docs and tests read it; nothing else knows what is
legal.

    CREATED ──▶ AUTHORISED ──▶ SENT ──▶ ACKNOWLEDGED ──▶ SETTLED
       │            │ │          │ │          │ │
       │            │ └──────────│─┴──────────│─┴──▶ EXPIRED
       └────────────┴────────────┴────────────┴────▶ FAILED
                    ▲                                  │
                    └──── a new attempt (a retry) ─────┘

CREATED ends as FAILED only for CANCELLED, INSUFFICIENT_FUNDS, INVALID_ACCOUNT, FRAUD or TIMEOUT.
SETTLED, FAILED and EXPIRED are final for their attempt.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.words import FailureReasonName, StateName


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """`event` leads from `source` (None: no payment yet) to `target`; `reasons` empty means any."""

    event: str
    source: StateName | None
    target: StateName
    reasons: frozenset[str] = frozenset()


REASONS_FROM_CREATED: Final = frozenset(
    {"CANCELLED", "INSUFFICIENT_FUNDS", "INVALID_ACCOUNT", "FRAUD", "TIMEOUT"}
)
TRANSITIONS: Final[tuple[Transition, ...]] = (
    Transition(event="PaymentIntentCreated", source=None, target="CREATED"),
    Transition(event="PaymentAuthorised", source="CREATED", target="AUTHORISED"),
    Transition(event="PaymentAttemptCreated", source="AUTHORISED", target="AUTHORISED"),
    Transition(event="PaymentSentToRail", source="AUTHORISED", target="SENT"),
    Transition(event="PaymentAcknowledged", source="SENT", target="ACKNOWLEDGED"),
    Transition(event="PaymentSettled", source="ACKNOWLEDGED", target="SETTLED"),
    Transition(
        event="PaymentFailed", source="CREATED", target="FAILED", reasons=REASONS_FROM_CREATED
    ),
    Transition(event="PaymentFailed", source="AUTHORISED", target="FAILED"),
    Transition(event="PaymentFailed", source="SENT", target="FAILED"),
    Transition(event="PaymentFailed", source="ACKNOWLEDGED", target="FAILED"),
    Transition(event="PaymentExpired", source="AUTHORISED", target="EXPIRED"),
    Transition(event="PaymentExpired", source="SENT", target="EXPIRED"),
    Transition(event="PaymentExpired", source="ACKNOWLEDGED", target="EXPIRED"),
    Transition(event="PaymentAttemptCreated", source="FAILED", target="AUTHORISED"),
)

# (event, state before) -> state after.
TARGETS: Final[dict[tuple[str, StateName | None], StateName]] = {
    (t.event, t.source): t.target for t in TRANSITIONS
}
LIFECYCLE_EVENT_NAMES: Final[frozenset[str]] = frozenset(t.event for t in TRANSITIONS)
FINAL: Final[frozenset[str]] = frozenset({"SETTLED", "FAILED", "EXPIRED"})


def target_of(
    event: str, source: StateName | None, reason: FailureReasonName | None
) -> StateName | None:
    """State after `event` in `source`, or None when the table does not allow it (domain §1)."""
    target = TARGETS.get((event, source))
    if target == "FAILED" and source == "CREATED" and reason not in REASONS_FROM_CREATED:
        return None
    return target
