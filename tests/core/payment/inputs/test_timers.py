"""A deadline is decided when it is due or later, never before (domain §8)."""

from __future__ import annotations

from typing import Any

import pytest

from core.payment import commands as c
from tests.core.payment import dsl as d
from tests.core.payment.case import Case, given


def slow_clock(case: Case) -> c.TimerDue:
    """The deadline as read by an instance whose clock is behind that of the one that set it."""
    deadline, kind = case.payment.deadline, case.payment.deadline_kind
    assert deadline is not None
    assert kind is not None
    case.now = deadline - 1_500
    return c.TimerDue(header=d.head(), kind=kind, deadline=deadline)


DUE: dict[str, list[Any]] = {
    "CREATED_WINDOW": [d.create(), d.deposits("HOLD", "REFUSED"), d.policy()],
    "AUTHORISED_WINDOW": [
        *d.RETRYABLE, *d.approved("RETRY"), d.retry(), d.deposits("HOLD", "REFUSED", attempt=2),
    ],
    "EXPIRES_AT": [d.create(expires_at=d.START + d.MINUTE), d.deposits("HOLD", "REFUSED")],
    "SEND": [d.create(requested_execution_time=d.START + d.MINUTE), d.policy(), d.held()],
    "OVERDUE": d.SENT,
    "ENQUIRY": d.MARKED,
    "FUNDS_REPEAT": d.SETTLED,
    "APPROVAL": [*d.CAPTURED, d.request_approval("REVERSE", attempt=1)],
}  # fmt: skip


@pytest.mark.parametrize("kind", DUE)
def test_a_timer_is_not_decided_before_its_deadline(kind: str) -> None:
    """Domain §8: decidedAt = max(poll time, decidedAt of the last event, the timer's deadline)."""
    case = given(*DUE[kind])
    due = slow_clock(case)
    assert due.kind == kind
    case.when(due)
    assert {event.header.decided_at for event in case.events} == {due.deadline}
    assert case.payment.decided_at == due.deadline


def test_a_timer_that_is_read_late_is_decided_at_that_time() -> None:
    """Domain §8: an answer's time counts, so no window is longer than the clock allows."""
    case = given(*d.SENT)
    case.now = (case.payment.deadline or 0) + 7_000
    case.when(c.TimerDue(header=d.head(), kind="OVERDUE", deadline=case.payment.deadline or 0))
    assert {event.header.decided_at for event in case.events} == {case.now}
