"""Core, the deposits adapter and the simulated Deposits Core over HTTP, on one held clock. The test
plays the rail.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import httpx
import msgspec
from prometheus_client import CollectorRegistry

from core.header import InputHeader
from core.payment.commands import RailReport
from core.payment.instructions import DepositsRequest, RailInstruction
from core.payment.state import Attempt, Payment, at_rest
from core.values import PaymentIntentId
from engine.ports import Headers, InputRecord
from engine.records import LogRecord
from gateways.deposits.http_client import HttpDepositsCore
from gateways.deposits.simulator import DepositsSimulator
from gateways.ports import Resolve
from gateways.resolve.policy import DEFAULT_RULES, InBoxResolve, load_policy
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.adapter.worker import Adapter
from processors.deposits.handler import DepositsHandler
from processors.replay.money.checks import Money
from processors.resolve.handler import ResolveHandler
from schemas import topology
from tests.processors.payments.world import CODEC, World
from tests.processors.rail.harness import Served

STEP_MS = 1_000
STEPS_MAX = 20_000
ADAPTERS = {
    topology.DEPOSITS_REQUESTS: "deposits",
    topology.RESOLVE_REQUESTS: "resolve",
}


class IntoDriver:
    """Makes what an adapter publishes an input of the payments processor."""

    def __init__(self, world: World) -> None:
        self._world = world

    def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Headers | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._world.driver.pipe(topic, key, value, headers, partition=partition)


class FundsHarness:
    """Payments, their adapters' lanes (one per payment and adapter), and Deposits Core's ledger."""

    def __init__(self, served: Served, *, resolve: Resolve | None = None) -> None:
        self.world = World()
        self.clock = self.world.driver.clock
        self.simulator = DepositsSimulator(clock=self.clock)
        self.client: httpx.Client = served.client
        served.app = self.simulator.app()
        self.publisher = IntoDriver(self.world)
        self.registry = CollectorRegistry()
        metrics = AdapterMetrics(self.registry)
        self._adapters: dict[str, Adapter] = {
            "deposits": DepositsHandler(
                deposits=HttpDepositsCore(gateway=served.gateway, clock=self.clock),
                publisher=self.publisher,
                codec=CODEC,
                clock=self.clock,
                metrics=metrics,
            ),
            "resolve": ResolveHandler(
                resolve=resolve or InBoxResolve(load_policy(DEFAULT_RULES, profile="test")),
                publisher=self.publisher,
                codec=CODEC,
                clock=self.clock,
                metrics=metrics,
            ),
        }
        self._lanes: dict[tuple[str, bytes], deque[tuple[int, Work]]] = {}
        self.requested: list[DepositsRequest] = []
        self.rail: list[RailInstruction] = []

    # -- time ------------------------------------------------------------------------------------

    def run(self, millis: int = 0) -> None:
        """Process everything that is due now, then let that much time pass."""
        until = self.clock.now_ms() + millis
        for _ in range(STEPS_MAX):
            while self._turn():
                pass
            left = until - self.clock.now_ms()
            if left <= 0:
                return
            self.clock.advance(min(STEP_MS, left))
        raise AssertionError("more time than a test should take")

    def _turn(self) -> bool:
        """Decide, and hand the instructions to the adapters; False if nothing was due."""
        done = self.world.driver.run() > 0
        for topic, adapter in ADAPTERS.items():
            for record in self.world.driver.take(topic):
                self._put(adapter, record)
        for record in self.world.driver.take(topology.RAIL_SUBMISSIONS):
            self.rail.append(CODEC.decode(record.topic, _value(record), record.headers))
        for (adapter, _), lane in self._lanes.items():
            while lane and lane[0][0] <= self.clock.now_ms():
                _, work = lane.popleft()
                again_s = self._adapters[adapter].handle(work)
                done = True
                if again_s is not None:
                    due_ms = self.clock.now_ms() + max(1, int(again_s * 1_000))
                    lane.appendleft((due_ms, work))
        return done

    def _put(self, adapter: str, record: LogRecord) -> None:
        instruction = CODEC.decode(record.topic, _value(record), record.headers)
        if isinstance(instruction, DepositsRequest):
            self.requested.append(instruction)
        polled = InputRecord(
            record.topic, record.partition, record.offset, record.timestamp_ms,
            record.key, record.value, record.headers, self.clock.now_ms(),
        )  # fmt: skip
        lane = self._lanes.setdefault((adapter, record.key or b""), deque())
        lane.append((0, Work(record=polled, instruction=instruction)))

    def replay_requests(self, payment_id: str) -> None:
        """The adapter restarts before its first commit: every request is sent again."""
        for record in self.world.driver.committed(topology.DEPOSITS_REQUESTS):
            if record.key == payment_id.encode():
                self._put("deposits", record)

    # -- Deposits Core ---------------------------------------------------------------------------

    def script(self, *steps: dict[str, Any], of: str = "*") -> None:
        answer = self.client.post("/scripts", json={"for": of, "steps": list(steps)})
        assert answer.status_code == 200, answer.text

    def ledger(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/ledger").json()
        return found

    def held(self) -> int:
        """Cents that Deposits Core holds over all holds."""
        return sum(each["left"] for each in self.ledger()["holds"].values())

    def moved(self, operation: str) -> list[int]:
        """Cents per operation that Deposits Core carried out."""
        return [
            each["amount"]
            for each in self.ledger()["entries"]
            if each["operation"] == operation and each["done"]
        ]

    # -- the rail --------------------------------------------------------------------------------

    def report(self, payment_id: str, kind: Any, **said: Any) -> None:
        """The rail's report about the payment's last submission, and the decision on it."""
        instruction = [
            each
            for each in self.rail
            if each.kind == "SUBMIT" and each.header.payment_intent_id == payment_id
        ][-1]
        report = RailReport(
            header=InputHeader(payment_intent_id=PaymentIntentId(payment_id)),
            external_ref=instruction.external_ref,
            kind=kind,
            adapter="default",
            amount=instruction.amount,
            currency="AUD",
            rail_message_id=f"{kind}-{instruction.external_ref}",
        )
        self.world.pipe(topology.RAIL_REPORTS, msgspec.structs.replace(report, **said))
        self.run()

    # -- results -----------------------------------------------------------------------------------

    def payment(self, payment_id: str) -> Payment:
        return self.world.known(payment_id).payment

    def attempt(self, payment_id: str) -> Attempt:
        return self.payment(payment_id).attempts[-1]

    def rests(self, payment_id: str) -> bool:
        return at_rest(self.payment(payment_id))

    def money_findings(self) -> list[str]:
        """What replay's strength `money` finds in any payment's history."""
        keys = {each.key for each in self.world.driver.committed(topology.EVENTS) if each.key}
        found = []
        for payment_id in sorted(key.decode() for key in keys):
            history = self.world.history(payment_id)
            rests = self.rests(payment_id)
            found += [each.sentence for each in Money().check(history, at_rest=rests)]
        return found

    def names(self, payment_id: str) -> list[str]:
        return self.world.event_names(payment_id)


def _value(record: LogRecord) -> bytes:
    assert record.value is not None
    return record.value
