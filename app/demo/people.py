"""Operators as they are: they ask, wait for another person, act, and are sometimes refused.

Everything goes through operator commands; what they know of the money they look up at the rail.
Nobody retries while it is uncertain whether the first attempt was paid.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from app.cluster import Cluster, command_id
from app.demo.watcher import Watcher
from core.header import InputHeader, OperatorHeader
from core.payment import commands, events
from core.records import PaymentLifecycle
from core.values import Action, State, attempt_id
from engine.publisher import NotConfirmed, Outgoing
from processors.topology import OPERATOR_COMMANDS

NOT_AFTER_MS: Final = 60_000
PLAN_SECONDS_MAX: Final = 20.0  # what came to nothing by then is given up
OPERATORS: Final = ("ops_ann", "ops_ben", "ops_cho")
SENIORS: Final = ("snr_dee", "snr_eli")
APPROVERS: Final = ("apv_fay", "apv_gus")
REJECTED_OF_100: Final = 12
SELF_APPROVED_OF_100: Final = 4  # tried, and refused
THINK_SECONDS: Final = (0.3, 1.2)

# Of 100 payments in such a situation, how many somebody acts on.
SHARE_RESOLVE: Final = 60
SHARE_RETRY: Final = 50
SHARE_MARK_FAILED: Final = 60
SHARE_CANCEL_WAITING: Final = 25
SHARE_CANCEL_SENT: Final = 2

Lookup = Callable[[str], dict[str, Any] | None]


class Conflict(msgspec.Struct, frozen=True):
    """An open conflict as the history tells it."""

    conflict_id: str
    attempt: int
    external_ref: str | None


class Plan(msgspec.Struct):
    """What somebody means to do with a payment, once it is approved."""

    action: str
    operator: str
    roles: tuple[str, ...]
    made_s: float
    attempt: int
    reason: str = "TIMEOUT"
    conflict: Conflict | None = None
    verdict: str | None = None
    done: bool = False


class People:
    """`step` a few times a second. Seeded: the same people do the same in the same situations."""

    def __init__(self, cluster: Cluster, watcher: Watcher, lookup: Lookup, seed: int) -> None:
        self._cluster = cluster
        self._clock = cluster.clock
        self._watcher = watcher
        self._lookup = lookup
        self._draw = random.Random(f"people:{seed}")
        self._plans: dict[str, Plan] = {}
        self._conflicts: dict[str, dict[str, Conflict]] = {}
        self._seen: set[tuple[str, str, int]] = set()
        self._due: list[tuple[float, int, str, Callable[[], Any]]] = []
        self._number = 0
        self.commands = 0

    def busy(self) -> bool:
        """Whether somebody still means to do something."""
        waiting = any(not plan.done and not self._given_up(plan) for plan in self._plans.values())
        return bool(self._due) or waiting

    def step(self, *, begin: bool) -> None:
        """Answer what happened; with `begin` also take up what is new."""
        while self._watcher.for_people:
            self._heard(self._watcher.for_people.popleft())
        if begin:
            for payment_id in self._watcher.changed:
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

    def _situation(self, known: PaymentLifecycle) -> tuple[str, int] | None:
        if known.open_conflicts:
            return Action.RESOLVE_RECONCILIATION.value, SHARE_RESOLVE
        if known.state == State.FAILED and known.money_outcome == "NOT_PAID":
            retry_safe = known.reason in ("TIMEOUT", "RAIL")
            return (Action.RETRY.value, SHARE_RETRY) if retry_safe else None
        if known.state in (State.SENT, State.ACKNOWLEDGED) and known.overdue == "ESCALATED":
            return Action.MARK_FAILED.value, SHARE_MARK_FAILED
        if known.state == State.AUTHORISED:
            return Action.CANCEL.value, SHARE_CANCEL_WAITING
        if known.state == State.SENT:
            return Action.CANCEL.value, SHARE_CANCEL_SENT
        return None

    def _ask(self, known: PaymentLifecycle, action: str) -> None:
        """The request for approval. Seniors do what operators may not."""
        senior = action in (Action.RESOLVE_RECONCILIATION.value, Action.MARK_FAILED.value)
        plan = Plan(
            action=action,
            operator=self._draw.choice(SENIORS if senior else OPERATORS),
            roles=("senior_operator",) if senior else ("operator",),
            made_s=self._clock.monotonic_s(),
            attempt=known.attempt,
        )
        if action == Action.RESOLVE_RECONCILIATION.value:
            found = next(iter(self._conflicts.get(known.payment_intent_id, {}).values()), None)
            if found is None:
                return
            plan.conflict, plan.attempt = found, found.attempt
            plan.verdict = self._truth(found)
        self._plans[known.payment_intent_id] = plan
        self._soon(known.payment_intent_id, plan.operator, plan.roles, _request_of(plan))

    def _truth(self, conflict: Conflict) -> str:
        """What the rail's own books say of the reference."""
        entry = self._lookup(conflict.external_ref or "") or {}
        if entry.get("returnedAmount"):
            return "RETURNED"
        return "SETTLED_AFTER_ALL" if entry.get("settledAmount") else "NOT_PAID"

    # -- what is heard -----------------------------------------------------------------------------

    def _heard(self, event: Any) -> None:
        payment_id = event.header.payment_intent_id
        plan = self._plans.get(payment_id)
        match event:
            case events.ReconciliationRequired(conflict_id=conflict_id):
                open_ones = self._conflicts.setdefault(payment_id, {})
                attempt = event.header.attempt
                open_ones[conflict_id] = Conflict(conflict_id, attempt, event.external_ref)
            case events.ReconciliationResolved(conflict_id=conflict_id):
                self._conflicts.get(payment_id, {}).pop(conflict_id, None)
            case events.OperatorActionReferred():
                self._judge(payment_id, event.header.approval_id or "", plan)
            case events.OperatorActionApproved() if plan is not None and not plan.done:
                plan.done = True
                self._soon(payment_id, plan.operator, plan.roles, _action_of(plan))
            case events.OperatorActionRejected() if plan is not None:
                plan.done = True

    def _judge(self, payment_id: str, approval_id: str, plan: Plan | None) -> None:
        """A second person decides; now and then the first one tries to, and is refused."""
        if plan is not None and self._draw.randrange(100) < SELF_APPROVED_OF_100:
            own = _decision(approval_id, "APPROVED", "it is fine")
            self._soon(payment_id, plan.operator, ("approver",), own)
        rejected = self._draw.randrange(100) < REJECTED_OF_100
        verdict, why = ("REJECTED", "not convinced") if rejected else ("APPROVED", "looked at it")
        decision = _decision(approval_id, verdict, why)
        self._soon(payment_id, self._draw.choice(APPROVERS), ("approver",), decision)

    # -- acting ------------------------------------------------------------------------------------

    def _soon(
        self, payment_id: str, who: str, roles: tuple[str, ...], make: Callable[..., Any]
    ) -> None:
        """After a moment of thought."""
        due_s = self._clock.monotonic_s() + self._draw.uniform(*THINK_SECONDS)
        self._number += 1

        def command() -> Any:
            return make(*self._headers(payment_id, who, roles))

        heapq.heappush(self._due, (due_s, self._number, payment_id, command))

    def _headers(
        self, payment_id: str, who: str, roles: tuple[str, ...]
    ) -> tuple[InputHeader, OperatorHeader]:
        now = self._clock.now_ms()
        return (
            InputHeader(payment_intent_id=payment_id, command_id=command_id(), sent_at=now),
            OperatorHeader(who, roles, "demo", now + NOT_AFTER_MS),
        )

    def _act(self) -> None:
        now = self._clock.monotonic_s()
        outgoing: list[Outgoing] = []
        while self._due and self._due[0][0] <= now:
            _, _, payment_id, make = heapq.heappop(self._due)
            value = self._cluster.codec.encode(OPERATOR_COMMANDS, make())
            outgoing.append(Outgoing(OPERATOR_COMMANDS, payment_id.encode(), value))
        if not outgoing:
            return
        try:
            self._cluster.publisher.publish_all(outgoing)
        except NotConfirmed:
            return  # people would ask again; here the plan runs out
        self.commands += len(outgoing)


def _request_of(plan: Plan) -> Callable[..., Any]:
    def make(header: InputHeader, operator: OperatorHeader) -> Any:
        mark = plan.action == Action.MARK_FAILED.value
        return commands.RequestApproval(
            header=header,
            operator=operator,
            action=plan.action,
            reason="seen in the demo",
            attempt=plan.attempt,
            failure_reason=plan.reason if mark else None,
            conflict_id=plan.conflict.conflict_id if plan.conflict else None,
            verdict=plan.verdict,
        )

    return make


def _action_of(plan: Plan) -> Callable[..., Any]:
    def make(header: InputHeader, operator: OperatorHeader) -> Any:
        match plan.action:
            case Action.RETRY.value:
                name = attempt_id(plan.attempt + 1)
                return commands.RetryPayment(header, operator, name, "safe to retry")
            case Action.MARK_FAILED.value:
                return commands.MarkPaymentFailed(
                    header, operator, plan.reason, "the rail stays silent"
                )
            case Action.RESOLVE_RECONCILIATION.value:
                assert plan.conflict is not None
                assert plan.verdict is not None
                return commands.ResolveReconciliation(
                    header,
                    operator,
                    plan.conflict.conflict_id,
                    plan.conflict.attempt,
                    plan.verdict,
                    "looked up in the rail's books",
                )
            case _:
                return commands.CancelPayment(header, operator, "the customer asked for it")

    return make


def _decision(approval_id: str, verdict: str, why: str) -> Callable[..., Any]:
    def make(header: InputHeader, operator: OperatorHeader) -> Any:
        return commands.DecideApproval(header, operator, approval_id, verdict, why)

    return make
