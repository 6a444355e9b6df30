"""The demo's simulated operators act on its own payments and leave the user's payments alone."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

from app.cli.api_client import Call
from app.demo.operator_calls import OperatorCalls
from app.demo.people import People
from app.demo.watcher import Watcher
from core.header import EventHeader
from core.payment import events
from tests.clock import HeldClock

COUNT = 40  # payments: some of a hundred are acted on


class RecordedCalls:
    """Records the operators' requests."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Call]] = []

    def ask(self, payment: str, person: str, roles: tuple[str, ...], call: Call) -> None:
        self.calls.append((payment, person, call))

    def busy(self) -> bool:
        return False


class Situation:
    """Failed payments that an operator may want to retry."""

    def __init__(self, own: bool) -> None:
        names = [f"pi_{number}" for number in range(COUNT)]
        failed = {"state": "FAILED", "money_outcome": "NOT_PAID", "reason": "RAIL"}
        same: dict[str, Any] = {**failed, "attempt": 1, "open_conflicts": 0, "overdue": None}
        self.clock = HeldClock(0)
        self.watcher = SimpleNamespace(
            payments={n: SimpleNamespace(payment_intent_id=n, **same) for n in names},
            own=set(names) if own else set(),
            changed=set(names),
            for_people=deque[Any](),
        )
        self.operator_calls = RecordedCalls()
        self.people = People(
            cast(OperatorCalls, cast(Any, self.operator_calls)),
            self.clock,
            cast(Watcher, cast(Any, self.watcher)),
            lambda _: None,
            seed=1,
        )

    def happens(self, *found: Any) -> list[tuple[str, str, Call]]:
        """The operators' actions on this event."""
        self.operator_calls.calls.clear()
        self.watcher.for_people.extend(found)
        self.people.step(begin=True)
        self.clock.advance(5_000)
        self.people.step(begin=True)
        return list(self.operator_calls.calls)


def _header(payment: str, approval: str) -> EventHeader:
    return cast(
        EventHeader,
        cast(Any, SimpleNamespace(payment_intent_id=payment, approval_id=approval, attempt=1)),
    )


def _requested(payment: str, requester: str) -> tuple[Any, Any]:
    header = _header(payment, "apr_001")
    requested = events.OperatorActionRequested(
        header=header,
        action="RETRY",
        requester=requester,
        phase="FAILED",
        text="",
        expires_at=0,
        failure_reason=None,
        conflict_id=None,
        verdict=None,
        amount=None,
        frozen_until=None,
    )
    referred = events.OperatorActionReferred(
        header=header,
        action="RETRY",
        decided_by="resolve",
        rules_evaluated=(),
        policy_version="1",
        text=None,
    )
    return requested, referred


def test_they_act_on_payments_of_the_load_and_decide_their_own_requests() -> None:
    situation = Situation(own=True)
    requested = situation.happens()
    assert len(requested) > 5
    payment, person, _ = requested[0]
    decided = situation.happens(*_requested(payment, person))
    assert {(name, call.path.split("/")[-2]) for name, _, call in decided} == {(payment, "apr_001")}


def test_they_leave_alone_payments_that_others_published() -> None:
    assert Situation(own=False).happens() == []


def test_they_leave_a_users_approval_request_alone() -> None:
    situation = Situation(own=True)
    untouched = next(
        name
        for name in situation.watcher.payments
        if name not in {payment for payment, _, _ in situation.happens()}
    )
    assert situation.happens(*_requested(untouched, "carol")) == []
    situation.watcher.payments[untouched].open_conflicts = 1
    situation.watcher.changed.add(untouched)
    assert situation.happens() == []
