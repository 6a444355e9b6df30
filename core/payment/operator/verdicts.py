"""Which verdict fits which conflict in which state of its attempt: verdict × conflict (ruling 5).

`decide` reads the table below, the docs render it, and the API lists it before a person chooses.
Two checks depend on the report and the sums instead: the amount, and what has been returned.
"""

from __future__ import annotations

from typing import Final, assert_never

from core.payment.funds import returned_cents
from core.payment.inputs.deposits_effects import acceptable
from core.payment.report_table import (
    AMOUNT_DIFFERS,
    CURRENCY_DIFFERS,
    FATE_UNKNOWN,
    FUNDS_CONTRADICTION,
    RETURN_AMOUNT_MISSING,
    RETURN_EXCEEDS_SETTLED,
    RETURNS_TOO_MANY,
    STATES,
    SUBMISSION_FOUND,
)
from core.payment.state import Attempt, Conflict, Payment
from core.values import NO_CENTS, Cents, attempt_id, format_amount
from core.words import ConflictKind, StateName, Verdict

SETTLED_AFTER_ALL: Final = "SETTLED_AFTER_ALL"
NOT_PAID: Final = "NOT_PAID"
RETURNED: Final = "RETURNED"
AMOUNT_ACCEPTED: Final = "AMOUNT_ACCEPTED"
REPORT_WRONG: Final = "REPORT_WRONG"
VERDICTS: Final[tuple[Verdict, ...]] = (
    SETTLED_AFTER_ALL,
    NOT_PAID,
    RETURNED,
    AMOUNT_ACCEPTED,
    REPORT_WRONG,
)

# States of the attempt, by what a verdict can change.
_UNSENT: Final = ("CREATED", "AUTHORISED")
_LIVE: Final = ("SENT", "ACKNOWLEDGED")
_ENDED: Final = ("SETTLED", "FAILED", "EXPIRED")

# Each kind's verdicts while the attempt is unsent, in progress (SENT, ACKNOWLEDGED), and ended.
# NOT_PAID makes an ended attempt certain; on a live or unsent one REPORT_WRONG is the verdict.
_PAID: Final[tuple[Verdict, ...]] = (SETTLED_AFTER_ALL, REPORT_WRONG)
_PAID_OR_NOT: Final[tuple[Verdict, ...]] = (SETTLED_AFTER_ALL, NOT_PAID, REPORT_WRONG)
_MOVED_OR_NOT: Final[tuple[Verdict, ...]] = (SETTLED_AFTER_ALL, NOT_PAID, RETURNED, REPORT_WRONG)
_AMOUNT: Final[tuple[Verdict, ...]] = (AMOUNT_ACCEPTED, REPORT_WRONG)
_AMOUNT_OR_NOT: Final[tuple[Verdict, ...]] = (AMOUNT_ACCEPTED, NOT_PAID, REPORT_WRONG)
_WRONG: Final[tuple[Verdict, ...]] = (REPORT_WRONG,)
_WRONG_OR_NOT_PAID: Final[tuple[Verdict, ...]] = (NOT_PAID, REPORT_WRONG)
# Here SETTLED_AFTER_ALL says that settlement and returns stay as recorded.
_CAME_BACK: Final[tuple[Verdict, ...]] = (SETTLED_AFTER_ALL, RETURNED, REPORT_WRONG)

_ROWS: Final[
    dict[ConflictKind, tuple[tuple[Verdict, ...], tuple[Verdict, ...], tuple[Verdict, ...]]]
] = {
    AMOUNT_DIFFERS: (_AMOUNT, _AMOUNT, _AMOUNT_OR_NOT),
    CURRENCY_DIFFERS: (_WRONG, _WRONG, _WRONG_OR_NOT_PAID),
    "SAME_MESSAGE_OTHER_CONTENT": (_PAID, _PAID, _PAID_OR_NOT),
    "DOUBLE_SETTLEMENT": (_PAID, _PAID, _MOVED_OR_NOT),
    "REPORT_BEFORE_SEND": (_PAID, _PAID, _MOVED_OR_NOT),
    "SETTLED_AFTER_FAILED": (_PAID, _PAID, _MOVED_OR_NOT),
    "SETTLED_AFTER_EXPIRED": (_PAID, _PAID, _MOVED_OR_NOT),
    "ACKNOWLEDGED_AFTER_FAILED": (_PAID, _PAID, _PAID_OR_NOT),
    "ACKNOWLEDGED_AFTER_EXPIRED": (_PAID, _PAID, _PAID_OR_NOT),
    "REPORTED_AFTER_NOT_PAID": (_PAID, _PAID, _MOVED_OR_NOT),
    "REJECTED_AFTER_SETTLED": (_PAID, _PAID, _MOVED_OR_NOT),
    "RETURNED_BEFORE_SETTLED": (_PAID, _PAID, _MOVED_OR_NOT),
    RETURN_AMOUNT_MISSING: (_PAID, _PAID, _CAME_BACK),
    RETURN_EXCEEDS_SETTLED: (_PAID, _PAID, _CAME_BACK),
    RETURNS_TOO_MANY: (_PAID, _PAID, _CAME_BACK),
    "RECALLED_UNASKED": (_PAID, _PAID, _MOVED_OR_NOT),
    "NOT_SUBMITTED_AFTER_ACKNOWLEDGED": (_PAID, _PAID, _PAID_OR_NOT),
    "CONTRADICTORY_END": (_PAID, _PAID, _PAID_OR_NOT),
    "SUBMISSION_CONTRADICTED": (_PAID, _PAID, _PAID_OR_NOT),
    "RECALL_CONTRADICTED": (_PAID, _PAID, _PAID_OR_NOT),
    SUBMISSION_FOUND: (_PAID, _PAID, _MOVED_OR_NOT),
    FATE_UNKNOWN: (_PAID, _PAID, _MOVED_OR_NOT),
    FUNDS_CONTRADICTION: (_AMOUNT, _AMOUNT, _AMOUNT),
}

RETURN_CONFLICTS: Final = frozenset(
    {RETURN_AMOUNT_MISSING, RETURN_EXCEEDS_SETTLED, RETURNS_TOO_MANY}
)

# (conflict kind, state of its attempt) -> the verdicts that fit.
VERDICT_TABLE: Final[dict[tuple[ConflictKind, StateName], tuple[Verdict, ...]]] = {
    (kind, state): row[0 if state in _UNSENT else 1 if state in _LIVE else 2]
    for kind, row in _ROWS.items()
    for state in STATES
}
# A conflict beyond the listed ones was only counted: the rail is asked again.
COUNTED_ONLY: Final[tuple[Verdict, ...]] = (REPORT_WRONG,)
_COUNTED_CONSEQUENCE: Final = "The conflict ends and changes nothing; the rail is asked at once."


def fitting(state: Payment, conflict: Conflict | None) -> tuple[tuple[str, str], ...]:
    """The verdicts that fit, each with its consequence in one sentence; never empty. None means a
    conflict that was only counted.
    """
    if conflict is None:
        return tuple((verdict, _COUNTED_CONSEQUENCE) for verdict in COUNTED_ONLY)
    attempt = state.attempts[conflict.attempt - 1]
    return tuple(
        (verdict, _consequence(state, attempt, conflict, verdict))
        for verdict in VERDICT_TABLE[conflict.kind, attempt.state]
        if problem(state, conflict, verdict) is None
    )


def problem(state: Payment, conflict: Conflict | None, verdict: Verdict) -> str | None:
    """Why the verdict does not fit the conflict, or None."""
    if conflict is None:
        if verdict in COUNTED_ONLY:
            return None
        return "the conflict was only counted, and what it says is asked for again: REPORT_WRONG"
    attempt = state.attempts[conflict.attempt - 1]
    allowed = VERDICT_TABLE[conflict.kind, attempt.state]
    if verdict not in allowed:
        where = f"{conflict.kind} of an attempt that is {attempt.state}"
        return f"{where} takes {' or '.join(allowed)}"
    if verdict == AMOUNT_ACCEPTED and conflict.kind == FUNDS_CONTRADICTION:
        closes = acceptable(attempt, conflict) is not None
        return None if closes else "no open request can have moved the amount: REPORT_WRONG"
    settles = conflict.report_kind == "SETTLED" and conflict.amount is not None
    if verdict == AMOUNT_ACCEPTED and conflict.kind == AMOUNT_DIFFERS and not settles:
        return "the report is not about a settlement of another amount"
    if verdict in (SETTLED_AFTER_ALL, RETURNED) and names_other_amount(state, attempt, conflict):
        return "the report names another amount"
    if verdict == RETURNED and returnable_cents(attempt) <= 0:
        return "all that was settled has come back"
    return None


def names_other_amount(state: Payment, attempt: Attempt, conflict: Conflict) -> bool:
    """Whether the contradicting settlement names another amount or currency than is recorded."""
    if conflict.kind == FUNDS_CONTRADICTION or conflict.report_kind == "RETURNED":
        return False
    if conflict.currency is not None and conflict.currency != state.currency:
        return True
    return conflict.amount is not None and conflict.amount != (attempt.settled or state.amount)


def returnable_cents(attempt: Attempt) -> Cents:
    """The most that can still be returned: what was settled less what was returned."""
    return Cents(attempt.settled - returned_cents(attempt))


def _consequence(state: Payment, attempt: Attempt, conflict: Conflict, verdict: Verdict) -> str:
    """The sentence, with the amounts of this payment."""
    if conflict.kind == FUNDS_CONTRADICTION and verdict == AMOUNT_ACCEPTED:
        amount = format_amount(conflict.amount or NO_CENTS, state.currency)
        return f"{amount} is what Deposits Core moved; the remainder is requested again."
    if conflict.kind == FUNDS_CONTRADICTION:
        return "The conflict ends and changes nothing. Correct the books in Deposits Core itself."
    name = attempt_id(attempt.number)
    match verdict:
        case "SETTLED_AFTER_ALL":
            amount = format_amount(attempt.settled or state.amount, state.currency)
            if conflict.kind in RETURN_CONFLICTS:
                back = format_amount(returned_cents(attempt), state.currency)
                return f"The record stays: {name} settled {amount}, and {back} came back."
            others = any(a.outcome == "PAID" and a.number != attempt.number for a in state.attempts)
            if others and attempt.outcome != "PAID":
                return (
                    f"{name} counts as paid a second time, {amount}. The customer is debited again "
                    "only with an approval of its own (DEBIT_AGAIN)."
                )
            return f"{name} counts as paid: the customer bears {amount}, and no retry is possible."
        case "AMOUNT_ACCEPTED":
            amount = format_amount(conflict.amount or NO_CENTS, state.currency)
            return f"{amount} is what {name} settled: the customer bears it."
        case "RETURNED":
            most = format_amount(returnable_cents(attempt), state.currency)
            return (
                f"The amount that the verdict states, at most {most}, came back from the rail for "
                f"{name} and is given back to the customer."
            )
        case "NOT_PAID":
            return (
                f"{name} was not paid, for certain: what was taken for it is given back, and a "
                "retry becomes possible where its reason allows one."
            )
        case "REPORT_WRONG":
            return f"The conflict ends and changes nothing; the rail is asked about {name} at once."
        case _:
            assert_never(verdict)
