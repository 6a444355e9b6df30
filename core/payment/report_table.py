"""What a rail report does to the attempt it names, by that attempt's state: the table `decide`
itself reads.

A report is never refused for the state it finds: it applies, is a duplicate, has no effect, or
opens a conflict.
"""

from __future__ import annotations

from typing import Final, Literal

from core.values import State
from core.words import ConflictKind, ReportKind, StateName

# What a report does; a CONFLICT comes with its kind, NO_EFFECT with its rule.
Effect = Literal[
    "NOTE",
    "ACKNOWLEDGE",
    "SETTLE",
    "FAIL",
    "EXPIRE",
    "CONFIRM",
    "RECALL",
    "RECALL_ANSWER",
    "RETURN",
    "DUPLICATE",
    "NO_EFFECT",
    "CONFLICT",
]

# Words of the table.
NOTE: Final = "NOTE"  # recorded; moves nothing
ACKNOWLEDGE: Final = "ACKNOWLEDGE"
SETTLE: Final = "SETTLE"  # from SENT with an implied acknowledgement
FAIL: Final = "FAIL"
EXPIRE: Final = "EXPIRE"
CONFIRM: Final = "CONFIRM"  # non-payment becomes certain; no effect when it is already
RECALL: Final = "RECALL"  # a withdraw came too late: ask for a recall; else no effect
RECALL_ANSWER: Final = "RECALL_ANSWER"
RETURN: Final = "RETURN"
DUPLICATE: Final = "DUPLICATE"
NO_EFFECT: Final = "NO_EFFECT"
CONFLICT: Final = "CONFLICT"

KINDS: Final[tuple[ReportKind, ...]] = (
    "RECEIVED",
    "ACCEPTED",
    "SETTLED",
    "REJECTED",
    "EXPIRED",
    "STATUS",
    "WITHDRAWN",
    "NOT_SUBMITTED",
    "ALREADY_SUBMITTED",
    "RECALL_ACCEPTED",
    "RECALL_REFUSED",
    "RETURNED",
)
STATES: Final[tuple[StateName, ...]] = tuple(s.value for s in State)

# In order of STATES: CREATED, AUTHORISED, SENT, ACKNOWLEDGED, SETTLED, FAILED, EXPIRED.
_ROWS: Final[dict[ReportKind, tuple[Effect, ...]]] = {
    "RECEIVED": (NOTE, NOTE, NOTE, NOTE, NOTE, NOTE, NOTE),
    "STATUS": (NOTE, NOTE, NOTE, NOTE, NOTE, NOTE, NOTE),
    "ACCEPTED": (CONFLICT, CONFLICT, ACKNOWLEDGE, DUPLICATE, DUPLICATE, CONFLICT, CONFLICT),
    "SETTLED": (CONFLICT, CONFLICT, SETTLE, SETTLE, DUPLICATE, CONFLICT, CONFLICT),
    "REJECTED": (NO_EFFECT, NO_EFFECT, FAIL, FAIL, CONFLICT, CONFIRM, CONFIRM),
    "EXPIRED": (NO_EFFECT, NO_EFFECT, EXPIRE, EXPIRE, CONFLICT, CONFIRM, CONFIRM),
    "WITHDRAWN": (NO_EFFECT, NO_EFFECT, FAIL, CONFLICT, CONFLICT, CONFIRM, CONFIRM),
    "NOT_SUBMITTED": (NO_EFFECT, NO_EFFECT, FAIL, CONFLICT, CONFLICT, CONFIRM, CONFIRM),
    "ALREADY_SUBMITTED": (
        NO_EFFECT,
        NO_EFFECT,
        NO_EFFECT,
        NO_EFFECT,
        NO_EFFECT,
        RECALL,
        RECALL,
    ),
    "RECALL_ACCEPTED": (
        NO_EFFECT,
        NO_EFFECT,
        CONFLICT,
        CONFLICT,
        CONFLICT,
        RECALL_ANSWER,
        RECALL_ANSWER,
    ),
    "RECALL_REFUSED": (
        NO_EFFECT,
        NO_EFFECT,
        NOTE,
        NOTE,
        NO_EFFECT,
        RECALL_ANSWER,
        RECALL_ANSWER,
    ),
    "RETURNED": (CONFLICT, CONFLICT, CONFLICT, CONFLICT, RETURN, CONFLICT, CONFLICT),
}

REPORT_TABLE: Final[dict[tuple[ReportKind, StateName], Effect]] = {
    (kind, state): word
    for kind, row in _ROWS.items()
    for state, word in zip(STATES, row, strict=True)
}

# Conflict kinds that other rules than the table's name.
SUBMISSION_FOUND: Final = "SUBMISSION_FOUND"  # by a recovery
FATE_UNKNOWN: Final = "FATE_UNKNOWN"  # by the last enquiry's timer
FUNDS_CONTRADICTION: Final = "FUNDS_CONTRADICTION"  # by Deposits Core
AMOUNT_DIFFERS: Final = "AMOUNT_DIFFERS"
CURRENCY_DIFFERS: Final = "CURRENCY_DIFFERS"
RETURN_AMOUNT_MISSING: Final = "RETURN_AMOUNT_MISSING"
RETURN_EXCEEDS_SETTLED: Final = "RETURN_EXCEEDS_SETTLED"
RETURNS_TOO_MANY: Final = "RETURNS_TOO_MANY"

# A clearing or settlement after the attempt has ended so.
ACKNOWLEDGED_AFTER: Final[dict[StateName, ConflictKind]] = {
    "FAILED": "ACKNOWLEDGED_AFTER_FAILED",
    "EXPIRED": "ACKNOWLEDGED_AFTER_EXPIRED",
}
SETTLED_AFTER: Final[dict[StateName, ConflictKind]] = {
    "FAILED": "SETTLED_AFTER_FAILED",
    "EXPIRED": "SETTLED_AFTER_EXPIRED",
}

# Why a report contradicts the record, by the report's kind and the state it finds.
CONFLICT_KINDS: Final[dict[ConflictKind, str]] = {
    AMOUNT_DIFFERS: "The report names another amount than the payment's.",
    CURRENCY_DIFFERS: "The report names another currency than the payment's.",
    "SAME_MESSAGE_OTHER_CONTENT": "The rail used one message id for two different contents.",
    "DOUBLE_SETTLEMENT": "A second settlement of a payment that another attempt has paid.",
    "REPORT_BEFORE_SEND": "The rail speaks of an attempt that was never sent.",
    "SETTLED_AFTER_FAILED": "The rail settled an attempt that had failed.",
    "SETTLED_AFTER_EXPIRED": "The rail settled an attempt that had expired.",
    "ACKNOWLEDGED_AFTER_FAILED": "The rail acknowledged an attempt that had failed.",
    "ACKNOWLEDGED_AFTER_EXPIRED": "The rail acknowledged an attempt that had expired.",
    "REPORTED_AFTER_NOT_PAID": "The rail has what a person's verdict called not paid.",
    "REJECTED_AFTER_SETTLED": "The rail denies what it had settled.",
    "RETURNED_BEFORE_SETTLED": "The rail returned what was never settled.",
    RETURN_AMOUNT_MISSING: "The rail returned money and did not say how much.",
    RETURN_EXCEEDS_SETTLED: "More came back than was settled.",
    RETURNS_TOO_MANY: "There are more returns than are told apart by their ids.",
    "RECALLED_UNASKED": "The rail says that it recalled what was not recalled.",
    "NOT_SUBMITTED_AFTER_ACKNOWLEDGED": "Our adapter denies submitting what the rail acknowledged.",
    "CONTRADICTORY_END": "The rail ended the attempt in two ways.",
    "SUBMISSION_CONTRADICTED": "The rail had an attempt that was never submitted, or is unknown.",
    "RECALL_CONTRADICTED": "The rail both accepted and refused the recall.",
    SUBMISSION_FOUND: "An instruction to pay stands, but its event was lost with the log's tail.",
    FATE_UNKNOWN: "The rail did not say what became of the attempt, however often it was asked.",
    FUNDS_CONTRADICTION: "Deposits Core's answers contradict each other or what was asked.",
}
