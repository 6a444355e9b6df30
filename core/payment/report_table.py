"""The effect of a rail report on its attempt, by the attempt's state: the table that `decide`
reads.

A report is never refused because of the state: it applies, is a duplicate, has no effect, or opens
a conflict.
"""

from __future__ import annotations

from typing import Final, Literal

from core.values import State
from core.words import ConflictKind, ReportKind, StateName

# A report's effect; a CONFLICT has its kind, NO_EFFECT its rule.
Effect = Literal[
    "NOTE",  # recorded; changes nothing
    "ACKNOWLEDGE",
    "SETTLE",  # from SENT with an implied acknowledgement
    "FAIL",
    "EXPIRE",
    "CONFIRM",  # non-payment becomes certain; no effect when it is already
    "RECALL",  # a withdraw came too late: ask for a recall; else no effect
    "RECALL_ANSWER",
    "RETURN",
    "DUPLICATE",
    "NO_EFFECT",
    "CONFLICT",
]

STATES: Final[tuple[StateName, ...]] = tuple(s.value for s in State)

# The states of one column have the same effects.
_COLUMNS: Final[tuple[tuple[StateName, ...], ...]] = (
    ("CREATED", "AUTHORISED"), ("SENT",), ("ACKNOWLEDGED",), ("SETTLED",), ("FAILED", "EXPIRED"),
)  # fmt: skip
# fmt: off
_ROWS: Final[dict[ReportKind, tuple[Effect, ...]]] = {
    "RECEIVED":          ("NOTE",      "NOTE",        "NOTE",      "NOTE",      "NOTE"),
    "ACCEPTED":          ("CONFLICT",  "ACKNOWLEDGE", "DUPLICATE", "DUPLICATE", "CONFLICT"),
    "SETTLED":           ("CONFLICT",  "SETTLE",      "SETTLE",    "DUPLICATE", "CONFLICT"),
    "REJECTED":          ("NO_EFFECT", "FAIL",        "FAIL",      "CONFLICT",  "CONFIRM"),
    "EXPIRED":           ("NO_EFFECT", "EXPIRE",      "EXPIRE",    "CONFLICT",  "CONFIRM"),
    "STATUS":            ("NOTE",      "NOTE",        "NOTE",      "NOTE",      "NOTE"),
    "WITHDRAWN":         ("NO_EFFECT", "FAIL",        "CONFLICT",  "CONFLICT",  "CONFIRM"),
    "NOT_SUBMITTED":     ("NO_EFFECT", "FAIL",        "CONFLICT",  "CONFLICT",  "CONFIRM"),
    "ALREADY_SUBMITTED": ("NO_EFFECT", "NO_EFFECT",   "NO_EFFECT", "NO_EFFECT", "RECALL"),
    "RECALL_ACCEPTED":   ("NO_EFFECT", "CONFLICT",    "CONFLICT",  "CONFLICT",  "RECALL_ANSWER"),
    "RECALL_REFUSED":    ("NO_EFFECT", "NOTE",        "NOTE",      "NO_EFFECT", "RECALL_ANSWER"),
    "RETURNED":          ("CONFLICT",  "CONFLICT",    "CONFLICT",  "RETURN",    "CONFLICT"),
}
# fmt: on

KINDS: Final = tuple(_ROWS)
REPORT_TABLE: Final[dict[tuple[ReportKind, StateName], Effect]] = {
    (kind, state): word
    for kind, row in _ROWS.items()
    for states, word in zip(_COLUMNS, row, strict=True)
    for state in states
}

# Conflict kinds from rules outside the table.
SUBMISSION_FOUND: Final = "SUBMISSION_FOUND"  # by a recovery
FATE_UNKNOWN: Final = "FATE_UNKNOWN"  # by the timer after the last enquiry
FUNDS_CONTRADICTION: Final = "FUNDS_CONTRADICTION"  # by Deposits Core
AMOUNT_DIFFERS: Final = "AMOUNT_DIFFERS"
CURRENCY_DIFFERS: Final = "CURRENCY_DIFFERS"
RETURN_AMOUNT_MISSING: Final = "RETURN_AMOUNT_MISSING"
RETURN_EXCEEDS_SETTLED: Final = "RETURN_EXCEEDS_SETTLED"
RETURNS_TOO_MANY: Final = "RETURNS_TOO_MANY"

# A clearing or settlement after the attempt has ended in this state.
ACKNOWLEDGED_AFTER: Final[dict[StateName, ConflictKind]] = {
    "FAILED": "ACKNOWLEDGED_AFTER_FAILED",
    "EXPIRED": "ACKNOWLEDGED_AFTER_EXPIRED",
}
SETTLED_AFTER: Final[dict[StateName, ConflictKind]] = {
    "FAILED": "SETTLED_AFTER_FAILED",
    "EXPIRED": "SETTLED_AFTER_EXPIRED",
}
