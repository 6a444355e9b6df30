"""What may be wrong with a payment's money, and what to do about each finding."""

from __future__ import annotations

from typing import Final

import msgspec

NOT_ASKED: Final = "NOT_ASKED"
MOVED_TWICE: Final = "MOVED_TWICE"
MOVED_OTHER_AMOUNT: Final = "MOVED_OTHER_AMOUNT"
HOLD_OVERDRAWN: Final = "HOLD_OVERDRAWN"
HOLD_ASKED_TWICE: Final = "HOLD_ASKED_TWICE"
HOLD_MOVED_WHILE_ASKED: Final = "HOLD_MOVED_WHILE_ASKED"
CAPTURED_TWICE: Final = "CAPTURED_TWICE"
TAKEN_BEYOND_SETTLED: Final = "TAKEN_BEYOND_SETTLED"
TAKEN_AGAIN_UNAPPROVED: Final = "TAKEN_AGAIN_UNAPPROVED"
BLOCKED_BEYOND_SETTLED: Final = "BLOCKED_BEYOND_SETTLED"
GIVEN_BACK_BEYOND_TAKEN: Final = "GIVEN_BACK_BEYOND_TAKEN"
RELEASED_UNCERTAIN: Final = "RELEASED_UNCERTAIN"
SETTLED_OTHER_AMOUNT: Final = "SETTLED_OTHER_AMOUNT"
RETURNED_WRONGLY: Final = "RETURNED_WRONGLY"
HELD_AT_REST: Final = "HELD_AT_REST"
NOT_EVEN_AT_REST: Final = "NOT_EVEN_AT_REST"
NOT_AT_REST: Final = "NOT_AT_REST"

_LEDGER: Final = "Compare with Deposits Core's ledger and put it right there; report the defect."
_STOP: Final = "Stop processing, put it right at Deposits Core, report the defect."
_ASK_RAIL: Final = "Stop processing, ask the rail what it settled or returned, report the defect."
# Advice for each finding.
TO_DO: Final[dict[str, str]] = {
    NOT_ASKED: _LEDGER,
    MOVED_TWICE: _LEDGER,
    MOVED_OTHER_AMOUNT: _LEDGER,
    HOLD_OVERDRAWN: _LEDGER,
    HOLD_ASKED_TWICE: _STOP,
    HOLD_MOVED_WHILE_ASKED: _STOP,
    CAPTURED_TWICE: _STOP,
    TAKEN_BEYOND_SETTLED: _STOP,
    TAKEN_AGAIN_UNAPPROVED: _STOP,
    BLOCKED_BEYOND_SETTLED: _STOP,
    GIVEN_BACK_BEYOND_TAKEN: _STOP,
    RELEASED_UNCERTAIN: _ASK_RAIL,
    SETTLED_OTHER_AMOUNT: _ASK_RAIL,
    RETURNED_WRONGLY: _ASK_RAIL,
    HELD_AT_REST: "Release the hold at Deposits Core by hand, report the defect.",
    NOT_EVEN_AT_REST: _STOP,
    NOT_AT_REST: "Nobody is told that this payment waits: follow it up, report the defect.",
}


class Finding(msgspec.Struct, frozen=True):
    """A problem at one event, and advice."""

    kind: str
    sequence: int
    sentence: str
