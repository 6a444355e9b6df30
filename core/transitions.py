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


class Transition(msgspec.Struct, frozen=True):
    """`event` leads from `source` (None: no payment yet) to `target`; `reasons` empty means any."""

    event: str
    source: StateName | None
    target: StateName
    reasons: frozenset[str] = frozenset()


REASONS_FROM_CREATED: Final = frozenset(
    {
        "CANCELLED",
        "INSUFFICIENT_FUNDS",
        "INVALID_ACCOUNT",
        "FRAUD",
        "TIMEOUT",
    }
)

_CREATED: Final = "CREATED"
_AUTHORISED: Final = "AUTHORISED"
_SENT: Final = "SENT"
_ACKNOWLEDGED: Final = "ACKNOWLEDGED"
_SETTLED: Final = "SETTLED"
_FAILED: Final = "FAILED"
_EXPIRED: Final = "EXPIRED"

TRANSITIONS: Final[tuple[Transition, ...]] = (
    Transition("PaymentIntentCreated", None, _CREATED),
    Transition("PaymentAuthorised", _CREATED, _AUTHORISED),
    Transition("PaymentAttemptCreated", _AUTHORISED, _AUTHORISED),
    Transition("PaymentSentToRail", _AUTHORISED, _SENT),
    Transition("PaymentAcknowledged", _SENT, _ACKNOWLEDGED),
    Transition("PaymentSettled", _ACKNOWLEDGED, _SETTLED),
    Transition("PaymentFailed", _CREATED, _FAILED, REASONS_FROM_CREATED),
    Transition("PaymentFailed", _AUTHORISED, _FAILED),
    Transition("PaymentFailed", _SENT, _FAILED),
    Transition("PaymentFailed", _ACKNOWLEDGED, _FAILED),
    Transition("PaymentExpired", _AUTHORISED, _EXPIRED),
    Transition("PaymentExpired", _SENT, _EXPIRED),
    Transition("PaymentExpired", _ACKNOWLEDGED, _EXPIRED),
    Transition("PaymentAttemptCreated", _FAILED, _AUTHORISED),
)

# (event, state before) -> state after.
TARGETS: Final[dict[tuple[str, StateName | None], StateName]] = {
    (t.event, t.source): t.target for t in TRANSITIONS
}
# The state pairs that some lifecycle event makes; AUTHORISED to itself is the first attempt.
PAIRS: Final[frozenset[tuple[str, str]]] = frozenset(
    (t.source, t.target) for t in TRANSITIONS if t.source is not None
)
LIFECYCLE_EVENT_NAMES: Final[frozenset[str]] = frozenset(t.event for t in TRANSITIONS)
FINAL: Final[frozenset[str]] = frozenset({_SETTLED, _FAILED, _EXPIRED})


def target_of(
    event: str, source: StateName | None, reason: FailureReasonName | None
) -> StateName | None:
    """State after `event` in `source`, or None when the table does not allow it (domain §1)."""
    target = TARGETS.get((event, source))
    if target == _FAILED and source == _CREATED and reason not in REASONS_FROM_CREATED:
        return None
    return target
