"""Resolve's adapter with the in-box rules and with the scripted simulator: what is published, how
often and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from engine.ports import InputRecord
from gateways.connections import Gateway
from gateways.ports import Resolve
from gateways.resolve.policy import DEFAULT_RULES, InBoxResolve, load_policy
from gateways.resolve.scripted import ScriptedResolve
from gateways.resolve.simulator import ResolveSimulator
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.resolve.handler import ResolveHandler
from schemas import topology
from schemas.registry.setup import static_codec
from tests.clock import HeldClock
from tests.gateways.harness import approval, payment, policy_check, serving
from tests.processors.rail.harness import MemoryLog

NOW_MS = 1_780_000_000_000
CODEC = static_codec()
POLICY = load_policy(DEFAULT_RULES, profile="test")
RECORD = InputRecord(topology.RESOLVE_REQUESTS, 0, 0, NOW_MS, b"", b"", [], NOW_MS)
Question = PolicyCheckRequest | ApprovalRequest


class Harness:
    """The adapter with one `Resolve` and a held clock."""

    def __init__(self, resolve: Resolve | None, clock: HeldClock) -> None:
        self.clock = clock
        self.log = MemoryLog(clock)
        self.registry = CollectorRegistry()
        self.adapter = ResolveHandler(
            resolve=resolve or InBoxResolve(POLICY),
            publisher=self.log,
            codec=CODEC,
            clock=clock,
            metrics=AdapterMetrics(self.registry),
        )

    def ask(self, question: Question, *, work: Work | None = None, steps: int = 60) -> list[str]:
        """The verdicts published for one request, each with the ms since the request."""
        work = work or Work(record=RECORD, instruction=question)
        begun = self.clock.now_ms()
        for _ in range(steps):
            again_s = self.adapter.handle(work)
            if again_s is None:
                break
            self.clock.sleep(again_s)
        return [f"{d.verdict}@{at - begun}" for d, at in self.decisions()]

    def decisions(self) -> list[tuple[PolicyVerdict | ApprovalDecision, int]]:
        topic = topology.RESOLVE_DECISIONS
        return [
            (CODEC.decode(topic, r.value, r.headers), r.timestamp_ms) for r in self.log.of(topic)
        ]


class Simulated(Harness):
    """The adapter with the simulator over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        clock = HeldClock(NOW_MS)
        gateway = Gateway(str(client.base_url))
        super().__init__(ScriptedResolve(policy=POLICY, gateway=gateway, clock=clock), clock)
        self.client = client

    def script(self, *steps: dict[str, Any], of: str = "*") -> None:
        answer = self.client.post("/scripts", json={"for": of, "steps": list(steps)})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def harness() -> Iterator[Simulated]:
    with serving(ResolveSimulator().app()) as client:
        yield Simulated(client)


CANCEL = approval("CANCEL", "SENT")
RETRY = approval("RETRY", "FAILED")


@pytest.mark.parametrize("question", [CANCEL, policy_check()])
def test_without_a_script_the_simulator_decides_as_the_rules(
    harness: Simulated, question: Question
) -> None:
    """The port's contract holds for both implementations: same request, same answer, once."""
    boxed = Harness(None, HeldClock(NOW_MS))
    assert harness.ask(question) == boxed.ask(question)
    assert harness.decisions()[0][0] == boxed.decisions()[0][0]
    assert len(harness.decisions()) == 1


@pytest.mark.parametrize(
    ("kind", "question", "verdict"),
    [
        ("APPROVE", CANCEL, "APPROVED"),
        ("REJECT", CANCEL, "REJECTED"),
        ("REFER", CANCEL, "REFERRED"),
        ("PASS", policy_check(), "PASSED"),
        ("DECLINE", policy_check(), "DECLINED"),
    ],
)
def test_a_script_decides_per_payment_and_action(
    harness: Simulated, kind: str, question: Question, verdict: str
) -> None:
    """Approve, reject and refer; pass and decline for policy checks."""
    action = "CHECK" if isinstance(question, PolicyCheckRequest) else question.action
    harness.script({"kind": kind, "action": action}, of=payment(1))
    assert harness.ask(question) == [f"{verdict}@0"]
    assert harness.ask(RETRY)[1:] == ["REFERRED@0"]  # another action: the rules


def test_a_decline_names_its_reason(harness: Simulated) -> None:
    """Domain, inputs: a declined check has a failure reason."""
    harness.script({"kind": "DECLINE", "failureReason": "INVALID_ACCOUNT"})
    harness.ask(policy_check())
    ((decision, _),) = harness.decisions()
    assert isinstance(decision, PolicyVerdict)
    assert decision.failure_reason == "INVALID_ACCOUNT"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"kind": "SILENT"}], []),
        ([{"kind": "SILENT", "afterMillis": 90_000}], ["REFERRED@90000"]),
        ([{"kind": "APPROVE", "times": 2}], ["APPROVED@0", "APPROVED@0"]),
        ([{"kind": "APPROVE", "afterMillis": 5_000}], ["APPROVED@5000"]),
        (
            [{"kind": "REJECT", "afterMillis": 1_000}, {"kind": "APPROVE"}],
            ["APPROVED@0", "REJECTED@1000"],
        ),
        (
            [{"kind": "REFER"}, {"kind": "APPROVE", "afterMillis": 2_000, "times": 2}],
            ["REFERRED@0", "APPROVED@2000", "APPROVED@2000"],
        ),
        ([{"kind": "PASS"}], ["REFERRED@0"]),  # not valid for an approval
    ],
)
def test_the_simulator_can_be_silent_late_repeat_or_contradict_itself(
    harness: Simulated, steps: list[dict[str, Any]], said: list[str]
) -> None:
    """Every way in which Resolve can affect a payment."""
    harness.script(*steps)
    assert harness.ask(CANCEL) == said


def test_while_the_simulator_is_unreachable_nothing_is_decided() -> None:
    """Domain, policy: while Resolve is unavailable no gated action goes through."""
    clock = HeldClock(NOW_MS)
    gateway = Gateway("http://127.0.0.1:9")
    harness = Harness(ScriptedResolve(policy=POLICY, gateway=gateway, clock=clock), clock)
    work = Work(record=RECORD, instruction=CANCEL)
    assert [harness.adapter.handle(work) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert harness.decisions() == []


def test_an_answer_that_kafka_did_not_accept_is_published_again_and_no_other_is_lost(
    harness: Simulated,
) -> None:
    """A crash or a refusal by Kafka between two answers loses neither."""
    harness.script({"kind": "APPROVE"}, {"kind": "REJECT"})
    published, publish = [], harness.log.publish

    def fails_once(*arguments: Any, **more: Any) -> None:
        published.append(1)
        if len(published) == 2:
            raise ConnectionError
        publish(*arguments, **more)

    harness.log.publish = fails_once  # type: ignore[method-assign]
    work = Work(record=RECORD, instruction=CANCEL)
    with pytest.raises(ConnectionError):
        harness.adapter.handle(work)
    assert harness.ask(CANCEL, work=work) == ["APPROVED@0", "REJECTED@0"]


@pytest.mark.parametrize(
    "step", [{"kind": "APROVE"}, {"kind": "APPROVE", "times": 0}, {"kind": "APPROVE", "times": 21}]
)
def test_an_invalid_script_is_refused(harness: Simulated, step: dict[str, Any]) -> None:
    """Otherwise a misspelled script would silently fall back to the rules."""
    answer = harness.client.post("/scripts", json={"for": "*", "steps": [step]})
    assert answer.status_code == 400


def test_each_verdict_is_counted_from_zero(harness: Simulated) -> None:
    """Engine, metrics: every label set starts at 0."""
    harness.ask(CANCEL)
    counted = {
        kind: harness.registry.get_sample_value(
            "npp_adapter_reports_total", {"adapter": "resolve", "kind": kind}
        )
        for kind in ("PASSED", "DECLINED", "APPROVED", "REJECTED", "REFERRED")
    }
    assert counted == {
        "PASSED": 0.0, "DECLINED": 0.0, "APPROVED": 0.0, "REJECTED": 0.0, "REFERRED": 1.0,
    }  # fmt: skip
