"""The effect on a payment of a Resolve that is late, silent, repeats or contradicts itself: core,
Resolve's adapter and its simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.header import InputHeader, OperatorHeader
from core.payment.commands import CancelPayment, RequestApproval
from core.values import PaymentIntentId
from engine.clock import SystemClock
from gateways.connections import Gateway
from gateways.resolve.policy import DEFAULT_RULES, load_policy
from gateways.resolve.scripted import ScriptedResolve
from gateways.resolve.simulator import ResolveSimulator
from schemas import topology
from tests.gateways.harness import serving
from tests.processors.deposits.harness import FundsHarness
from tests.processors.payments.world import CODEC
from tests.processors.rail.harness import Served

MINUTE_MS = 60_000
CREATED_MS = 10 * MINUTE_MS
FREEZE_MS = 15 * MINUTE_MS
SENIOR = OperatorHeader(
    operator_id="olga", roles=("senior_operator",), token_id="token", not_after=2**60
)
DECISIONS = ("OperatorActionApproved", "OperatorActionRejected", "OperatorActionReferred")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


class Harness(FundsHarness):
    """Payments with a scripted Resolve."""

    def __init__(self, served: Served, resolve: httpx.Client) -> None:
        policy = load_policy(DEFAULT_RULES, profile="test")
        gateway = Gateway(str(resolve.base_url))
        scripted = ScriptedResolve(policy=policy, gateway=gateway, clock=SystemClock())
        super().__init__(served, resolve=scripted)
        self._resolve = resolve

    def resolve_says(self, *steps: dict[str, Any]) -> None:
        answer = self._resolve.post("/scripts", json={"for": "*", "steps": list(steps)})
        assert answer.status_code == 200, answer.text

    def sent(self) -> str:
        payment = self.world.create("sent")
        self.run()
        assert self.payment(payment).state == "SENT"
        return payment

    def asks(self, payment: str, action: Any = "CANCEL") -> None:
        request = RequestApproval(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
            operator=SENIOR,
            action=action,
            reason="the customer asked",
        )
        self.world.pipe(topology.OPERATOR_COMMANDS, request)
        self.run()

    def cancels(self, payment: str) -> None:
        command = CancelPayment(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment)),
            operator=SENIOR,
            reason="the customer asked",
        )
        self.world.pipe(topology.OPERATOR_COMMANDS, command)
        self.run()

    def decisions(self, payment: str) -> list[str]:
        return [name for name in self.names(payment) if name in DECISIONS]

    def results(self, topic: str) -> list[str]:
        """The outcomes of a topic's inputs that appended nothing."""
        found = self.world.driver.committed(topology.OUTCOMES)
        outcomes = [CODEC.decode(topology.OUTCOMES, each.value) for each in found]
        return [each.result for each in outcomes if each.cause.topic == topic]


@pytest.fixture
def harness(served: Served) -> Iterator[Harness]:
    with serving(ResolveSimulator().app()) as resolve:
        made = Harness(served, resolve)
        yield made
        assert made.money_findings() == []


def test_a_decision_that_comes_twice_counts_once(harness: Harness) -> None:
    """Domain, policy: a decision joins the history once; a repeat is a duplicate."""
    payment = harness.sent()
    harness.resolve_says({"kind": "APPROVE", "times": 3})
    harness.asks(payment)
    assert harness.decisions(payment) == ["OperatorActionApproved"]
    assert harness.results(topology.RESOLVE_DECISIONS) == ["DUPLICATE", "DUPLICATE"]
    harness.cancels(payment)
    assert harness.payment(payment).state == "FAILED"
    harness.cancels(payment)
    assert harness.names(payment).count("PaymentFailed") == 1


@pytest.mark.parametrize(
    ("first", "second", "decisions", "state"),
    [
        ("APPROVE", "REJECT", ["OperatorActionApproved"], "FAILED"),
        ("REJECT", "APPROVE", ["OperatorActionRejected"], "SENT"),
    ],
)
def test_when_resolve_contradicts_itself_its_first_answer_counts(
    harness: Harness, first: str, second: str, decisions: list[str], state: str
) -> None:
    """Domain, policy: single use; a decided request is closed, and a rejection is never undone."""
    payment = harness.sent()
    harness.resolve_says({"kind": first}, {"kind": second, "afterMillis": 1_000})
    harness.asks(payment)
    harness.run(2_000)
    assert harness.decisions(payment) == decisions
    assert harness.results(topology.RESOLVE_DECISIONS) == ["NO_EFFECT"]
    harness.cancels(payment)
    assert harness.payment(payment).state == state


def test_a_decision_after_the_request_has_expired_decides_nothing(harness: Harness) -> None:
    """Domain, policy: an undecided request expires; a late approval does not reopen it."""
    payment = harness.sent()
    harness.resolve_says({"kind": "APPROVE", "afterMillis": 60 * MINUTE_MS})
    harness.asks(payment)
    harness.run(62 * MINUTE_MS)
    assert harness.results(topology.RESOLVE_DECISIONS) == ["NO_EFFECT"]
    harness.cancels(payment)
    assert harness.payment(payment).state == "SENT"


def test_while_resolve_does_not_answer_no_gated_action_goes_through(harness: Harness) -> None:
    """Domain, policy: while Resolve is unavailable no gated action goes through."""
    payment = harness.sent()
    harness.resolve_says({"kind": "SILENT"})
    harness.asks(payment)
    harness.cancels(payment)
    assert (harness.decisions(payment), harness.payment(payment).state) == ([], "SENT")


def test_an_undecided_cancel_delays_the_send_for_a_quarter_of_an_hour(
    harness: Harness,
) -> None:
    """Domain, policy: the freeze ends by itself, and the payment is then sent."""
    harness.script({"kind": "DOWN", "forMillis": MINUTE_MS})
    harness.resolve_says({"kind": "SILENT", "action": "CANCEL"})
    payment = harness.world.create("frozen")
    harness.run(1_000)
    harness.asks(payment)
    harness.run(FREEZE_MS - MINUTE_MS)
    assert harness.rail == []
    harness.run(2 * MINUTE_MS)
    assert [each.kind for each in harness.rail] == ["SUBMIT"]


def test_an_unanswered_policy_check_ends_the_payment_and_its_hold(
    harness: Harness,
) -> None:
    """Rulings 1 and 12: the window of CREATED; a late PASSED changes nothing."""
    harness.resolve_says({"kind": "PASS", "action": "CHECK", "afterMillis": CREATED_MS + MINUTE_MS})
    payment = harness.world.create("unchecked")
    harness.run(CREATED_MS + 2 * MINUTE_MS)
    assert (harness.payment(payment).state, harness.rail) == ("FAILED", [])
    assert (harness.held(), harness.rests(payment)) == (0, True)


@pytest.mark.parametrize("second", ["DECLINE", "PASS"])
def test_a_second_policy_verdict_changes_nothing(harness: Harness, second: str) -> None:
    """Domain, policy: the first verdict has taken effect; the payment is with the rail."""
    harness.resolve_says({"kind": "PASS"}, {"kind": second, "afterMillis": 1_000})
    payment = harness.sent()
    before = harness.names(payment)
    harness.run(2_000)
    assert harness.names(payment) == before
    assert len(harness.rail) == 1
