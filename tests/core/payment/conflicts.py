"""Every reachable cell of golden/verdict_state.yaml, produced by real inputs, and the verdict on
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.payment.state import Conflict, open_conflicts
from tests.core.payment import dsl as d
from tests.core.payment.case import Case

GOLDEN = yaml.safe_load((Path(__file__).parent / "golden" / "verdict_state.yaml").read_text())
LETTERS = GOLDEN["letters"]
VERDICTS = tuple(LETTERS.values())
LESS = d.AMOUNT - 45
BACK = 1_000  # the amount of a RETURNED verdict


def words(letters: str) -> tuple[str, ...]:
    return tuple(LETTERS[letter] for letter in letters)


TIMERS = "until a conflict opens"  # instead of an input: fire deadlines until a conflict opens
FOUND = "found"  # instead of an input: recovery found an instruction for att_002


def settled(amount: int = d.AMOUNT, *, currency: str = "AUD", **changes: Any) -> Any:
    return d.rail("SETTLED", amount=amount, currency=currency, **changes)


def came_back(amount: int | None, name: str = "r1") -> Any:
    return d.rail("RETURNED", "AC04", amount=amount, currency="AUD", rail_message_id=name)


def paid_by(verdict_number: int) -> list[Any]:
    """The rail settles an ended attempt, and an operator confirms it."""
    return [settled(rail_message_id="late"), *d.judged("SETTLED_AFTER_ALL", verdict_number)]


WAITS = [d.create(requested_execution_time=d.START + 10 * d.MINUTE), d.policy(), d.held()]
CREATED = [d.create()]
MARK = [*d.approved("MARK_FAILED", failure_reason="RAIL"), d.mark_failed()]
GIVE_UP = [*d.approved("EXPIRE"), d.expire(d.SENIOR)]
EXPIRED = [*d.SENT, d.rail("EXPIRED", "MD20", rail_message_id="x1")]
RETRIED = [*d.RETRYABLE, *d.approved("RETRY"), d.retry(), d.held(2)]
BEFORE: dict[str, list[Any]] = {
    "CREATED": CREATED, "AUTHORISED": WAITS, "SENT": d.SENT, "ACKNOWLEDGED": d.ACKNOWLEDGED,
    "SETTLED": d.CAPTURED, "FAILED": d.MARKED, "EXPIRED": EXPIRED,
}  # fmt: skip
PAID: dict[str, list[Any]] = {
    "SETTLED": d.CAPTURED,
    "FAILED": [*d.MARKED, *paid_by(2)],
    "EXPIRED": [*EXPIRED, *paid_by(1)],
}
ENDS: dict[str, list[Any]] = {
    "SETTLED": [settled(rail_message_id="end")],
    "FAILED": [d.rail("REJECTED", "AC01", rail_message_id="end")],
    "EXPIRED": [d.rail("EXPIRED", "MD20", rail_message_id="end")],
}


def all_of(before: dict[str, list[Any]], *after: Any) -> dict[str, list[Any]]:
    return {state: [*inputs, *after] for state, inputs in before.items()}


def then_ended(live: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The conflict opened while the attempt was in progress; the attempt then ended."""
    last = live["ACKNOWLEDGED"]
    return live | {state: [*last, *end] for state, end in ENDS.items()}


def same_message() -> dict[str, list[Any]]:
    first, second = d.rail("ACCEPTED", rail_message_id="m1"), settled(rail_message_id="m1")
    return {
        "CREATED": [*CREATED, first, second],
        "AUTHORISED": [*WAITS, first, second],
        "SENT": [*d.SENT, d.rail("RECEIVED", rail_message_id="m1"), first],
        "ACKNOWLEDGED": [*d.SENT, first, second],
        "SETTLED": [*d.ACKNOWLEDGED, second, d.rail("REJECTED", "AC01", rail_message_id="m1")],
        "FAILED": [*d.MARKED, d.rail("RECEIVED", rail_message_id="m1"), second],
        "EXPIRED": [*EXPIRED, settled(rail_message_id="x1")],
    }


def double_settlement() -> dict[str, list[Any]]:
    second = settled(attempt=2, rail_message_id="second")
    return {
        "FAILED": [*RETRIED, *paid_by(2), second],
        "EXPIRED": [*RETRIED, d.expire(), *paid_by(2), second],
    }


def fate_unknown() -> dict[str, list[Any]]:
    return {
        "SENT": [*d.SENT, TIMERS],
        "ACKNOWLEDGED": [*d.ACKNOWLEDGED, TIMERS],
        "SETTLED": [*d.SENT, TIMERS, settled()],
        "FAILED": [*d.MARKED, TIMERS],
        "EXPIRED": [*d.SENT, *GIVE_UP, TIMERS],
    }


def contradicted() -> dict[str, list[Any]]:
    received, denied = d.rail("RECEIVED"), d.rail("NOT_SUBMITTED")
    return {
        "SENT": [*d.SENT, received, denied],
        "ACKNOWLEDGED": [*d.SENT, received, denied, d.rail("ACCEPTED")],
        "SETTLED": [*d.SENT, received, denied, settled()],
        "FAILED": [*d.SENT, received, *MARK, denied],
        "EXPIRED": [*d.SENT, received, *GIVE_UP, denied],
    }


LIVE = {"SENT": d.SENT, "ACKNOWLEDGED": d.ACKNOWLEDGED}
RECALLED = [d.rail("RECALL_ACCEPTED"), d.rail("RECALL_REFUSED")]
TOO_MANY = [came_back(1, f"r{n}") for n in range(65)]
OTHER_ACK = d.rail("ACCEPTED", amount=LESS, currency="AUD")
DENIED = [d.rail("REJECTED", "AB08", rail_message_id="d1"), *d.judged("NOT_PAID")]
SITUATIONS: dict[str, dict[str, list[Any]]] = {
    "AMOUNT_DIFFERS": all_of(BEFORE, settled(LESS)),
    "AMOUNT_DIFFERS of an acknowledgement": {
        "SENT": [*d.SENT, OTHER_ACK],
        "FAILED": [*d.MARKED, OTHER_ACK],
    },
    "CURRENCY_DIFFERS": all_of(BEFORE, settled(currency="NZD")),
    "SAME_MESSAGE_OTHER_CONTENT": same_message(),
    "DOUBLE_SETTLEMENT": double_settlement(),
    "REPORT_BEFORE_SEND": {
        "CREATED": [*CREATED, d.rail("ACCEPTED")],
        "AUTHORISED": [*WAITS, d.rail("ACCEPTED")],
        "FAILED": [*CREATED, d.rail("ACCEPTED"), d.policy("DECLINED")],
    },
    "SETTLED_AFTER_FAILED": {"FAILED": [*d.MARKED, settled()]},
    "SETTLED_AFTER_FAILED after another amount was accepted": {
        "FAILED": [*d.MARKED, settled(LESS), settled(), *d.judged("AMOUNT_ACCEPTED", 2)]
    },
    "SETTLED_AFTER_EXPIRED": {"EXPIRED": [*EXPIRED, settled()]},
    "ACKNOWLEDGED_AFTER_FAILED": {"FAILED": [*d.MARKED, d.rail("ACCEPTED")]},
    "ACKNOWLEDGED_AFTER_EXPIRED": {"EXPIRED": [*EXPIRED, d.rail("ACCEPTED")]},
    "REPORTED_AFTER_NOT_PAID": {"SETTLED": [*d.CAPTURED, *DENIED, d.enquiry("SETTLED")]},
    "REJECTED_AFTER_SETTLED": all_of(PAID, d.rail("REJECTED", "AC01")),
    "REJECTED_AFTER_SETTLED after all came back": {
        "SETTLED": [*d.CAPTURED, came_back(d.AMOUNT), d.rail("REJECTED", "AC01")]
    },
    "RETURNED_BEFORE_SETTLED": {
        **all_of(LIVE, came_back(BACK)),
        "SETTLED": [*d.SENT, came_back(BACK), settled()],
        "FAILED": [*d.MARKED, came_back(BACK)],
        "EXPIRED": [*EXPIRED, came_back(BACK)],
    },
    "RETURN_AMOUNT_MISSING": all_of(PAID, came_back(None)),
    "RETURN_AMOUNT_MISSING after all came back": {
        "SETTLED": [*d.CAPTURED, came_back(d.AMOUNT), came_back(None, "r2")]
    },
    "RETURN_EXCEEDS_SETTLED": all_of(PAID, came_back(d.AMOUNT + 1)),
    "RETURNS_TOO_MANY": all_of(PAID, *TOO_MANY),
    "RECALLED_UNASKED": then_ended(all_of(LIVE, d.rail("RECALL_ACCEPTED"))),
    "NOT_SUBMITTED_AFTER_ACKNOWLEDGED": then_ended(
        {"ACKNOWLEDGED": [*d.ACKNOWLEDGED, d.rail("NOT_SUBMITTED")]}
    ),
    "CONTRADICTORY_END": {
        "FAILED": [*d.RETRYABLE, d.rail("EXPIRED", "MD20")],
        "EXPIRED": [*EXPIRED, d.rail("REJECTED", "AC01")],
    },
    "SUBMISSION_CONTRADICTED": contradicted(),
    "RECALL_CONTRADICTED": {
        "FAILED": [*d.CANCELLED, d.rail("ALREADY_SUBMITTED", "SUBMITTED"), *RECALLED],
        "EXPIRED": [*d.SENT, *GIVE_UP, *RECALLED],
    },
    "SUBMISSION_FOUND": all_of(BEFORE, FOUND, d.rail("ACCEPTED", attempt=2)),
    "FATE_UNKNOWN": fate_unknown(),
    "FUNDS_CONTRADICTION": {
        **{
            state: [*BEFORE[state], d.deposits("HOLD", "HELD", amount=LESS)]
            for state in ("CREATED", "AUTHORISED", "SENT", "ACKNOWLEDGED")
        },
        "SETTLED": [*d.SETTLED, d.deposits("CAPTURE", "CAPTURED", amount=LESS)],
        "FAILED": [*d.FAILED_SAFE, d.deposits("RELEASE", "RELEASED", amount=LESS)],
        "EXPIRED": [*EXPIRED, d.deposits("RELEASE", "RELEASED", amount=LESS)],
    },
    "FUNDS_CONTRADICTION about a hold": {
        state: [*BEFORE[state], d.deposits("HOLD", "DECLINED")]
        for state in ("SETTLED", "FAILED", "EXPIRED")
    },
}
CELLS = {
    (name, state): letters
    for name, row in GOLDEN["fits"].items()
    for state, letters in zip(GOLDEN["states"], row, strict=True)
    if letters != "-"
}


def reached(name: str, state: str) -> tuple[Case, Conflict]:
    """The payment and its only open conflict of that kind."""
    case = Case()
    for each in SITUATIONS[name][state]:
        if each == FOUND:
            case.found = frozenset({d.REF2})
        elif each == TIMERS:
            case.timers_until(lambda: open_conflicts(case.payment) > 0)
        else:
            case.given(each)
    kind = name.split()[0]
    (conflict,) = (x for x in case.payment.conflicts if x.kind == kind and x.verdict is None)
    assert case.payment.attempts[conflict.attempt - 1].state == state
    return case, conflict


def stated(verdict: str) -> int | None:
    return BACK if verdict == "RETURNED" else None


def approval_request(conflict: Conflict, verdict: str) -> Any:
    """The approval request for the verdict."""
    fields: dict[str, Any] = {"conflict_id": conflict.id, "attempt": conflict.attempt}
    return d.request_approval(
        "RESOLVE_RECONCILIATION", verdict=verdict, amount=stated(verdict), **fields
    )


def resolved(conflict: Conflict, verdict: str) -> Any:
    return d.resolve(verdict, conflict.id, conflict.attempt, stated(verdict))


def judge(case: Case, conflict: Conflict, verdict: str) -> Case:
    """Request and approve the verdict, then give it as the case's decision."""
    name = f"apr_{case.payment.approvals_made + 1:03d}"
    case.given(approval_request(conflict, verdict), d.resolve_decides(approval=name))
    return case.when(resolved(conflict, verdict))
