"""Simulated operators: they request, wait for another person, act, and are sometimes refused.

They see payments on Kafka, act through the API, each with their own sign-in, and look up the
money's status at the rail. None retries while it is uncertain whether the first attempt was paid.
They work on the demo's own payments, and leave alone what another person started.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final, Literal, assert_never

import msgspec

from app.cli.api_client import Call
from app.demo.operator_calls import OperatorCalls
from app.demo.watcher import ForPeople, Watcher
from core.payment import events
from core.payment.operator import verdicts
from core.payment.report_table import AMOUNT_DIFFERS
from core.records import PaymentLifecycle
from core.transitions import FINAL
from core.values import State, attempt_id
from engine.clock import Clock

PLAN_SECONDS_MAX: Final = 20.0  # what came to nothing by then is given up
OPERATORS: Final = ("ops_ann", "ops_ben", "ops_cho")
SENIORS: Final = ("snr_dee", "snr_eli")
APPROVERS: Final = ("apv_fay", "apv_gus")
REJECTED_OF_100: Final = 12
SELF_APPROVED_OF_100: Final = 4  # tried, and refused
THINK_SECONDS: Final = (0.3, 1.2)

# Of 100 payments in such a situation, how many an operator acts on.
SHARE_RESOLVE: Final = 60
SHARE_RETRY: Final = 50
SHARE_MARK_FAILED: Final = 60
SHARE_CANCEL_WAITING: Final = 25
SHARE_CANCEL_SENT: Final = 2

Lookup = Callable[[str], dict[str, Any] | None]
Planned = Literal["RETRY", "CANCEL", "MARK_FAILED", "RESOLVE_RECONCILIATION"]


class Conflict(msgspec.Struct, frozen=True):
    """An open conflict from the history."""

    conflict_id: str
    attempt: int
    external_ref: str | None
    kind: str


class Plan(msgspec.Struct):
    """An operator's planned action on a payment, once it is approved."""

    action: Planned
    operator: str
    roles: tuple[str, ...]
    made_s: float
    attempt: int
    reason: str = "TIMEOUT"
    conflict: Conflict | None = None
    verdict: str | None = None
    approval_id: str | None = None
    done: bool = False


class People:
    """`step` a few times a second. Seeded: the same people do the same in the same situations."""

    def __init__(
        self, calls: OperatorCalls, clock: Clock, watcher: Watcher, lookup: Lookup, seed: int
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._watcher = watcher
        self._lookup = lookup
        self._draw = random.Random(f"people:{seed}")
        self._plans: dict[str, Plan] = {}
        self._conflicts: dict[str, dict[str, Conflict]] = {}
        self._of_others: set[str] = set()  # payments on which another user acts
        self._seen: set[tuple[str, str, int]] = set()
        self._due: list[tuple[float, int, str, str, tuple[str, ...], Call]] = []
        self._number = 0

    def busy(self) -> bool:
        """Whether an action is still planned."""
        waiting = any(not plan.done and not self._given_up(plan) for plan in self._plans.values())
        return bool(self._due) or waiting or self._calls.busy()

    def step(self, *, begin: bool) -> None:
        """React to new events; with `begin` also start new actions."""
        while self._watcher.for_people:
            self._on_event(self._watcher.for_people.popleft())
        if begin:
            for payment_id in (self._watcher.changed & self._watcher.own) - self._of_others:
                self._consider(self._watcher.payments[payment_id])
        self._watcher.changed.clear()
        self._act()

    # -- situations --------------------------------------------------------------------------------

    def _consider(self, known: PaymentLifecycle) -> None:
        payment_id = known.payment_intent_id
        plan = self._plans.get(payment_id)
        if plan is not None and not plan.done and not self._given_up(plan):
            return
        situation = self._situation(known)
        if situation is None:
            return
        action, share = situation
        key = (payment_id, action, known.attempt)
        if key in self._seen:
            return
        self._seen.add(key)
        if self._draw.randrange(100) < share:
            self._ask(known, action)

    def _given_up(self, plan: Plan) -> bool:
        return self._clock.monotonic_s() - plan.made_s >= PLAN_SECONDS_MAX

    def _situation(self, known: PaymentLifecycle) -> tuple[Planned, int] | None:
        if known.open_conflicts:
            return "RESOLVE_RECONCILIATION", SHARE_RESOLVE
        if known.state == State.FAILED and known.money_outcome == "NOT_PAID":
            retry_safe = known.reason in ("TIMEOUT", "RAIL")
            return ("RETRY", SHARE_RETRY) if retry_safe else None
        if known.state in (State.SENT, State.ACKNOWLEDGED) and known.overdue == "ESCALATED":
            return "MARK_FAILED", SHARE_MARK_FAILED
        if known.state == State.AUTHORISED:
            return "CANCEL", SHARE_CANCEL_WAITING
        if known.state == State.SENT:
            return "CANCEL", SHARE_CANCEL_SENT
        return None

    def _ask(self, known: PaymentLifecycle, action: Planned) -> None:
        """The request for approval. Seniors do what operators may not."""
        senior = action in ("RESOLVE_RECONCILIATION", "MARK_FAILED")
        plan = Plan(
            action=action,
            operator=self._draw.choice(SENIORS if senior else OPERATORS),
            roles=("senior_operator",) if senior else ("operator",),
            made_s=self._clock.monotonic_s(),
            attempt=known.attempt,
        )
        if action == "RESOLVE_RECONCILIATION":
            found = next(iter(self._conflicts.get(known.payment_intent_id, {}).values()), None)
            if found is None:
                return
            plan.conflict, plan.attempt = found, found.attempt
            plan.verdict = self._truth(found, known)
        self._plans[known.payment_intent_id] = plan
        self._soon(
            known.payment_intent_id,
            plan.operator,
            plan.roles,
            _request_of(known.payment_intent_id, plan),
        )

    def _truth(self, conflict: Conflict, known: PaymentLifecycle) -> str:
        """What the rail's own books say of the reference, in a verdict that fits. How much came
        back is asked again: REPORT_WRONG makes an enquiry.
        """
        entry = self._lookup(conflict.external_ref or "") or {}
        if conflict.kind in verdicts.RETURN_CONFLICTS:
            return verdicts.REPORT_WRONG
        if entry.get("settledAmount"):
            other = conflict.kind == AMOUNT_DIFFERS
            return verdicts.AMOUNT_ACCEPTED if other else verdicts.SETTLED_AFTER_ALL
        is_ended = conflict.attempt < known.attempt or known.state in FINAL
        return verdicts.NOT_PAID if is_ended else verdicts.REPORT_WRONG

    # -- what is reported ----------------------------------------------------------------------

    def _on_event(self, event: ForPeople) -> None:
        payment_id = event.header.payment_intent_id
        plan = self._plans.get(payment_id)
        match event:
            case events.ReconciliationRequired(conflict_id=conflict_id):
                open_ones = self._conflicts.setdefault(payment_id, {})
                attempt = event.header.attempt
                reference = event.external_ref
                open_ones[conflict_id] = Conflict(conflict_id, attempt, reference, event.kind)
            case events.ReconciliationResolved(conflict_id=conflict_id):
                self._conflicts.get(payment_id, {}).pop(conflict_id, None)
            case events.OperatorActionRequested():
                if plan is None or plan.done or plan.operator != event.requester:
                    self._of_others.add(payment_id)
                else:
                    plan.approval_id = event.header.approval_id
            case _ if plan is None or plan.done or plan.approval_id != event.header.approval_id:
                return
            case events.OperatorActionReferred(header=header):
                self._judge(payment_id, header.approval_id or "", plan)
            case events.OperatorActionApproved():
                plan.done = True
                self._soon(payment_id, plan.operator, plan.roles, _action_of(payment_id, plan))
            case events.OperatorActionRejected():
                plan.done = True
            case _:
                assert_never(event)

    def _judge(self, payment_id: str, approval_id: str, plan: Plan) -> None:
        """A second person decides; from time to time the first one tries to, and is refused."""
        if self._draw.randrange(100) < SELF_APPROVED_OF_100:
            own = _decision(payment_id, approval_id, "approve", "it is fine")
            self._soon(payment_id, plan.operator, ("approver",), own)
        rejected = self._draw.randrange(100) < REJECTED_OF_100
        word, why = ("reject", "not convinced") if rejected else ("approve", "looked at it")
        decision = _decision(payment_id, approval_id, word, why)
        self._soon(payment_id, self._draw.choice(APPROVERS), ("approver",), decision)

    # -- acting ------------------------------------------------------------------------------------

    def _soon(self, payment_id: str, who: str, roles: tuple[str, ...], call: Call) -> None:
        """After a moment of thought."""
        due_s = self._clock.monotonic_s() + self._draw.uniform(*THINK_SECONDS)
        self._number += 1
        heapq.heappush(self._due, (due_s, self._number, payment_id, who, roles, call))

    def _act(self) -> None:
        now = self._clock.monotonic_s()
        while self._due and self._due[0][0] <= now:
            _, _, payment_id, who, roles, call = heapq.heappop(self._due)
            self._calls.ask(payment_id, who, roles, call)


def _post(payment_id: str, path: str, **body: Any) -> Call:
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", f"/api/payments/{payment_id}/{path}", body=given)


def _request_of(payment_id: str, plan: Plan) -> Call:
    mark = plan.action == "MARK_FAILED"
    return _post(
        payment_id,
        "approvals",
        action=plan.action,
        reason="seen in the demo",
        attemptId=attempt_id(plan.attempt),
        failureReason=plan.reason if mark else None,
        conflictId=plan.conflict.conflict_id if plan.conflict else None,
        verdict=plan.verdict,
    )


def _action_of(payment_id: str, plan: Plan) -> Call:
    match plan.action:
        case "RETRY":
            name = attempt_id(plan.attempt + 1)
            return _post(payment_id, "retry", attemptId=name, reason="safe to retry")
        case "MARK_FAILED":
            details = "the rail stays silent"
            return _post(payment_id, "mark-failed", reason=plan.reason, details=details)
        case "RESOLVE_RECONCILIATION":
            assert plan.conflict is not None
            return _post(
                payment_id,
                f"conflicts/{plan.conflict.conflict_id}/resolve",
                attemptId=attempt_id(plan.conflict.attempt),
                verdict=plan.verdict,
                details="looked up in the rail's books",
            )
        case "CANCEL":
            return _post(
                payment_id, "cancel", reason="the customer asked for it", operatorId=plan.operator
            )
        case _:
            assert_never(plan.action)


def _decision(payment_id: str, approval_id: str, word: str, why: str) -> Call:
    return _post(payment_id, f"approvals/{approval_id}/{word}", reason=why)
