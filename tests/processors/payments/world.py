"""The real payments processor on the broker-free driver, with a scripted outside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from control.fold import Control
from core import control_records, records, rules
from core.header import InputHeader
from core.payment import commands, instructions
from core.rules import Rules
from core.values import Cents, Parties, Party, funds_ref, payment_intent_id
from processors.payments.handler import PaymentsApplication
from processors.payments.metrics import PaymentsMetrics
from processors.payments.packing import Known
from processors.payments.topics import engine_topology
from schemas import catalogue, topology
from schemas.codec import Codec
from schemas.codec.parties import seal
from schemas.registry.setup import static_codec
from tests.control.people import Hands, activated
from tests.engine.driver import Driver
from tests.rooms import ROOT

CLUSTER = "test-cluster"
PARTITIONS = 3
SOURCE = "mobile-app"
SOURCES = {topology.COMMANDS: SOURCE}
AMOUNT = 12_500
PARTIES = seal(
    Parties(
        debtor=Party(name="Alex Example", bsb="062000", account="12345678"),
        creditor=Party(name="Robin Example", bsb="082001", account="87654321"),
        remittance="Invoice 1042",
    )
)
RULES_FILE = ROOT / "core" / "rules" / "1.yaml"
TOPICS = catalogue.load()
CODEC: Codec = static_codec(TOPICS)


@cache
def load_rules() -> Rules:
    return rules.parse(RULES_FILE.read_bytes())


class World:
    """A driver with the payments processor; `rules_of` can be replaced to break it."""

    def __init__(
        self,
        *,
        seed: int | None = None,
        batch_count: int = 500,
        topic_bytes_max: Callable[[str], int] | None = None,
        sources: Mapping[str, str] = SOURCES,
    ) -> None:
        self.rules = load_rules()
        self.rules_of: Callable[[int], Rules] = lambda number: self.rules
        self.hands = Hands(CLUSTER)
        self.control = Control(CODEC.decode)
        self.driver = Driver(
            self._application,
            self.control,
            seed=seed,
            batch_count=batch_count,
            topic_bytes_max=topic_bytes_max or TOPICS.record_bytes_max,
        )
        for record in (
            control_records.ClusterRecorded(
                cluster_id=CLUSTER, partitions=PARTITIONS, recorded_at=0, actor="test"
            ),
            control_records.RuleSetActivated(
                number=1, sha256=hashlib.sha256(b"").digest(), state_version=1,
                event_schema_version=1, activated_at=0, actor="test",
            ),
            control_records.SourceMapActivated(
                number=1, topics=tuple(sources), sources=tuple(sources.values()), activated_at=0,
                actor="test",
            ),
            activated(),
        ):  # fmt: skip
            self.pipe_control(record)

    def _application(self) -> PaymentsApplication:
        work = (
            topology.OUTCOMES,
            topology.QUARANTINE,
            topology.RAIL_SUBMISSIONS,
            topology.DEPOSITS_REQUESTS,
            topology.RESOLVE_REQUESTS,
            topology.NOTIFICATIONS,
        )
        self.registry = CollectorRegistry()  # of this process instance
        return PaymentsApplication(
            topology=engine_topology(PARTITIONS),
            codec=CODEC,
            control=self.control,
            rules_of=self._rules_of,
            cluster_id=CLUSTER,
            work_partitions=dict.fromkeys(work, 1),
            metrics=PaymentsMetrics(self.registry),
        )

    def _rules_of(self, number: int) -> Rules:
        return self.rules_of(number)

    def pipe_control(self, record: Any) -> None:
        """One control record, signed if required."""
        signed = self.hands.in_turn(self.control, record, self.driver.clock.now_ms())
        self.driver.pipe_control(CODEC.encode(topology.CONTROL, signed))

    # -- inputs ----------------------------------------------------------------------------------

    def pipe(self, topic: str, record: Any, *, partition: int | None = None) -> None:
        key = record.header.payment_intent_id.encode()
        self.driver.pipe(topic, key, CODEC.encode(topic, record), partition=partition)

    def create(self, key: str, amount: int = AMOUNT, **fields: Any) -> str:
        """`fields` override those of `create_payment`."""
        payment_id = payment_intent_id(SOURCE, key)
        command = msgspec.structs.replace(create_payment(key, amount), **fields)
        self.pipe(topology.COMMANDS, command)
        return payment_id

    # -- the outside -----------------------------------------------------------------------------

    def answer_once(self) -> int:
        """Answer each new request: policy passes, funds are held, the rail settles."""
        answered = 0
        for topic in (topology.RESOLVE_REQUESTS, topology.DEPOSITS_REQUESTS):
            for record in self.driver.take(topic):
                answered += self._answer(CODEC.decode(topic, record.value))
        for record in self.driver.take(topology.RAIL_SUBMISSIONS):
            answered += self._answer(CODEC.decode(topology.RAIL_SUBMISSIONS, record.value))
        return answered

    def settle_all(self, rounds_max: int = 20) -> None:
        """Run and answer until there are no more requests."""
        for _ in range(rounds_max):
            self.driver.run()
            if not self.answer_once():
                return
        raise AssertionError("the outside was asked again and again")

    def _answer(self, instruction: Any) -> int:
        header = InputHeader(payment_intent_id=instruction.header.payment_intent_id)
        match instruction:
            case instructions.PolicyCheckRequest():
                verdict = commands.PolicyVerdict(
                    header=header,
                    policy_ref=instruction.policy_ref,
                    verdict="PASSED",
                    phase=instruction.phase,
                    rules_evaluated=("all",),
                    policy_version="1",
                )
                self.pipe(topology.RESOLVE_DECISIONS, verdict)
            case instructions.DepositsRequest(operation=operation):
                done = {"HOLD": "HELD", "CAPTURE": "CAPTURED", "RELEASE": "RELEASED"}[operation]
                self.pipe(topology.DEPOSITS_RESULTS, deposits_result(instruction, done))
            case instructions.RailInstruction(kind="SUBMIT"):
                for kind in ("ACCEPTED", "SETTLED"):
                    self.pipe(topology.RAIL_REPORTS, rail_report(instruction, kind))
            case _:
                return 0
        return 1

    # -- results -----------------------------------------------------------------------------------

    def known(self, payment_id: str) -> Known:
        state = self.driver.state(payment_id)
        assert isinstance(state, Known)
        return state

    def history(self, payment_id: str) -> list[Any]:
        key = payment_id.encode()
        journal = self.driver.committed(topology.EVENTS)
        return [CODEC.decode(topology.EVENTS, r.value) for r in journal if r.key == key]

    def event_names(self, payment_id: str) -> list[str]:
        return [type(event).__name__ for event in self.history(payment_id)]

    def outcomes(self) -> list[records.Outcome]:
        found = self.driver.committed(topology.OUTCOMES)
        return [CODEC.decode(topology.OUTCOMES, record.value) for record in found]


def create_payment(key: str, amount: int = AMOUNT) -> commands.CreatePayment:
    return commands.CreatePayment(
        header=InputHeader(payment_intent_id=payment_intent_id(SOURCE, key)),
        source=SOURCE,
        idempotency_key=key,
        amount=Cents(amount),
        currency="AUD",
        parties=PARTIES,
        end_to_end_id="E2E-1",
        service="x2p1",
    )


def rail_report(instruction: instructions.RailInstruction, kind: Any) -> commands.RailReport:
    return commands.RailReport(
        header=InputHeader(payment_intent_id=instruction.header.payment_intent_id),
        external_ref=instruction.external_ref,
        kind=kind,
        adapter="default",
        amount=instruction.amount,
        currency="AUD",
        rail_message_id=f"{kind}-{instruction.external_ref}",
    )


def deposits_result(
    instruction: instructions.DepositsRequest, result: Any
) -> commands.DepositsResult:
    return commands.DepositsResult(
        header=InputHeader(payment_intent_id=instruction.header.payment_intent_id),
        funds_ref=instruction.funds_ref,
        operation=instruction.operation,
        result=result,
        amount=instruction.amount,
        hold_ref=f"hold-{funds_ref(instruction.header.payment_intent_id, 1, 'HOLD')[-6:]}",
        ledger_ref="ledger-1",
        verified_at=1,
    )
