"""Behaviour exactly at a time limit and one millisecond after it (rulings 3 and 8, domain §4)."""

from __future__ import annotations

from core import refusals as r
from core.payment import commands as c
from tests.core.payment import dsl as d
from tests.core.payment.case import given

SECOND = 1_000
HOLD_MS = 10 * d.MINUTE  # a hold's notAfter, in rule set 1
MARGIN_MS = 6 * SECOND  # after it NEVER_HELD is final


def test_unknown_is_certain_only_after_submit_before() -> None:
    """Ruling 3: *after* submitBefore; at that millisecond the adapter may still send."""
    case = given(*d.MARKED)
    case.now = case.payment.attempt.submit_before
    case.given(d.never_submitted())
    assert not case.payment.attempt.certain
    case.later(1).given(d.never_submitted())
    assert case.payment.attempt.certain


def test_an_approval_has_expired_at_its_expiry_time() -> None:
    """Domain §4: it expires by the engine's decision time."""
    case = given(*d.SENT, *d.approved("MARK_FAILED", failure_reason="RAIL"))
    case.now = case.payment.approvals[0].expires_at
    case.when(d.mark_failed()).refuses(r.APPROVAL_EXPIRED)
    case.now -= 1
    case.when(d.mark_failed()).is_in("FAILED")


def test_a_command_is_accepted_until_its_not_after() -> None:
    """Domain §4: decided later than notAfter, it is rejected COMMAND_EXPIRED."""
    case = given(*d.SENT, *d.approved("CANCEL"))
    late = c.CancelPayment(
        header=d.head(), operator=d.by(d.SENIOR, not_after=case.now - 1), reason="late"
    )
    case.when(late).refuses(r.COMMAND_EXPIRED)
    in_time = c.CancelPayment(
        header=d.head(), operator=d.by(d.SENIOR, not_after=case.now), reason="in time"
    )
    case.when(in_time).is_in("FAILED")


def test_a_release_by_name_is_repeated_when_never_held_becomes_final() -> None:
    """Domain §3: NEVER_HELD is final only after notAfter and a margin. The payment ends long
    before. Whatever its pauses, the release is repeated at that time, not at notAfter.
    """
    case = given(d.create(), d.policy("DECLINED")).is_in("FAILED", "NOT_PAID")
    final = d.START + HOLD_MS + MARGIN_MS
    requested = []
    for _ in case.timers_while(lambda: case.now < final):
        case.then("FundsRequested:RELEASE")
        requested.append(case.now - d.START)
    assert requested == [30 * SECOND, 90 * SECOND, 390 * SECOND, HOLD_MS + MARGIN_MS]
    case.timer()
    assert case.now == final + 60 * d.MINUTE
