"""The report × state and command × state tables, built from the constants that `decide` reads."""

from __future__ import annotations

from typing import Final

from core.payment.operator.actions import (
    CANCEL_STATES,
    EXPIRE_STATES,
    MARK_FAILED_STATES,
    RETRY_STATES,
)
from core.payment.report_table import KINDS, REPORT_TABLE, STATES
from core.payment.state import UNSENT
from core.refusals import (
    CONFLICT_NOT_OPEN,
    FUNDS_PRECONDITION,
    ILLEGAL_TRANSITION,
    NOT_FOUND,
    STATE_PRECONDITION,
    UPSTREAM_AFTER_SENT,
)
from core.transitions import FINAL

NONE: Final = "NONE"
ACCEPTED: Final = "ACCEPTED"
GATED: Final = "ACCEPTED_WITH_APPROVAL"
DUPLICATE: Final = "DUPLICATE"
PEOPLE: Final = "WHEN_IT_FITS"  # depends on a conflict, the funds or an approval, not on the state

COMMAND_STATES: Final = (NONE, *STATES)

# (report kind, state of the attempt it names) -> word of core.payment.report_table.
REPORT_MATRIX: Final[dict[tuple[str, str], str]] = {
    (kind, state): REPORT_TABLE[kind, state] for kind in KINDS for state in STATES
}


def _gated(states: tuple[str, ...], free: frozenset[str] = frozenset()) -> dict[str, str]:
    """The row of an operator's action: legal in `states`, without an approval in `free`."""
    return {
        state: (ACCEPTED if state in free else GATED)
        if state in states
        else STATE_PRECONDITION.name
        for state in STATES
    }


def _upstream_expire() -> dict[str, str]:
    row: dict[str, str] = {}
    for state in STATES:
        if state == "AUTHORISED":
            row[state] = ACCEPTED
        elif state in UNSENT or state in FINAL:
            row[state] = ILLEGAL_TRANSITION.name
        else:
            row[state] = UPSTREAM_AFTER_SENT.name
    return row


def _captured() -> dict[str, str]:
    return {state: GATED if state == "SETTLED" else FUNDS_PRECONDITION.name for state in STATES}


def _deferred() -> dict[str, str]:
    ended = ("FAILED", "EXPIRED")
    return {state: GATED if state in ended else FUNDS_PRECONDITION.name for state in STATES}


_ROWS: Final[dict[str, dict[str, str]]] = {
    "CreatePayment": dict.fromkeys(STATES, DUPLICATE),
    "ExpirePayment (source)": _upstream_expire(),
    "ExpirePayment (operator)": _gated(EXPIRE_STATES, UNSENT),
    "RetryPayment": _gated(RETRY_STATES),
    "CancelPayment": _gated(CANCEL_STATES),
    "MarkPaymentFailed": _gated(MARK_FAILED_STATES),
    "ResolveReconciliation": dict.fromkeys(STATES, CONFLICT_NOT_OPEN.name),
    "ReleaseFunds": _deferred(),
    "ReverseCapture": _captured(),
    "DebitFunds": dict.fromkeys(STATES, FUNDS_PRECONDITION.name),
    "RepeatFundsRequest": dict.fromkeys(STATES, FUNDS_PRECONDITION.name),
    "RequestApproval": dict.fromkeys(STATES, PEOPLE),
    "DecideApproval": dict.fromkeys(STATES, PEOPLE),
    "ResumeProcessing": dict.fromkeys(STATES, STATE_PRECONDITION.name),
}

# (command, state or NONE) -> ACCEPTED, ACCEPTED_WITH_APPROVAL, DUPLICATE, WHEN_IT_FITS, or the rule
# that refuses it. Assumes that no conflict is open and that the command is new.
COMMAND_MATRIX: Final[dict[tuple[str, str], str]] = {
    (command, state): (
        (ACCEPTED if command == "CreatePayment" else NOT_FOUND.name)
        if state == NONE
        else row[state]
    )
    for command, row in _ROWS.items()
    for state in COMMAND_STATES
}
COMMANDS: Final = tuple(_ROWS)
