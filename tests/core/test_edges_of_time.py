"""The one millisecond that decides: at a limit, and after it (rulings 3 and 8, domain 4)."""

from __future__ import annotations

from core import refusals as r
from core.payment import commands as c
from tests.core import dsl as d
from tests.core.dsl import given


def test_unknown_is_certain_only_after_submit_before() -> None:
    """Ruling 3: *after* submitBefore has passed; at that millisecond the adapter may still send."""
    case = given(*d.MARKED)
    case.now = case.payment.attempt.submit_before
    case.given(d.never_submitted())
    assert not case.payment.attempt.certain
    case.later(1).given(d.never_submitted())
    assert case.payment.attempt.certain


def test_an_approval_is_over_at_its_expiry() -> None:
    """Domain 4: it expires by the engine's decision time."""
    case = given(*d.SENT, *d.approved("MARK_FAILED", failure_reason="RAIL"))
    case.now = case.payment.approvals[0].expires_at
    case.when(d.mark_failed()).refuses(r.APPROVAL_EXPIRED)
    case.now -= 1
    case.when(d.mark_failed()).stands("FAILED")


def test_a_command_runs_until_its_not_after() -> None:
    """Domain 4: decided later than notAfter, it is rejected COMMAND_EXPIRED."""
    case = given(*d.SENT, *d.approved("CANCEL"))
    late = c.CancelPayment(d.head(), d.by(d.SENIOR, not_after=case.now - 1), "late")
    case.when(late).refuses(r.COMMAND_EXPIRED)
    in_time = c.CancelPayment(d.head(), d.by(d.SENIOR, not_after=case.now), "in time")
    case.when(in_time).stands("FAILED")
