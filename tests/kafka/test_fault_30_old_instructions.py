"""Fault row 30: the adapter's offsets and record are lost, its topic is replayed, a backup is
restored: not one submission. The simulated rail's ledger is the judge.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry

from adapters.gateway import Gateway
from adapters.rail_http import HttpRail
from adapters.simulators.rail import RailSimulator
from app.platform.broker import Cluster
from app.topic_specs import topic_specs
from core.header import InstructionHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.values import external_ref, payment_intent_id
from engine.clock import SystemClock
from engine.groups import GroupAdmin
from engine.publisher import Publisher
from engine.reader import LogEnds, read_all
from engine.records import LogRecord
from engine.topics import TopicAdmin
from engine.watch import Health
from engine.worker import Worker
from processors import topology
from processors.adapter_build import Parts, build_rail
from processors.adapter_metrics import AdapterMetrics
from processors.control import Control
from processors.rail_webhook import WebhookServer
from schemas import catalogue
from schemas.parties import open_parties, seal
from schemas.setup import static_codec
from tests.contracts.adapter_house import PARTIES
from tests.kafka.harness import rounds

PAYMENTS = 30
WITHDRAWN_EVERY = 5  # each fifth payment is withdrawn before the adapter reads its instruction
SETTLE_SECONDS_MAX = 60.0
WINDOW_MS = 60_000
# No record reaches back yet: what is withdrawn is certain only once its time is over.
WITHDRAWN_WINDOW_MS = 8_000
CLOCK = SystemClock()
CODEC = static_codec()
GROUP = "npp-rail"
CERTAIN = {"WITHDRAWN", "NOT_SUBMITTED"}


class Rig:
    """One Kafka, one simulated rail, and the real rail adapter, started as often as wanted."""

    def __init__(self, cluster: Cluster, client: httpx.Client, simulator: RailSimulator) -> None:
        self.connection = cluster.client_config()
        self.simulator = simulator
        self.client = client
        self.admin = AdminClient(self.connection)
        self.publisher = Publisher(self.connection, "fault-30", CLOCK)
        self.ends = LogEnds(self.connection, CLOCK)
        self.health = Health(CLOCK)
        TopicAdmin(self.connection, CLOCK).apply(topic_specs(catalogue.load(), "embedded"))

    def instruct(self, kind: str, number: int, window_ms: int = WINDOW_MS) -> None:
        payment = payment_intent_id("mobile-app", f"row30-{number}")
        now = CLOCK.now_ms()
        instruction = RailInstruction(
            header=InstructionHeader(payment, 5, now),
            kind=kind,
            external_ref=external_ref(payment, 1),
            attempt=1,
            amount=12_345,
            currency="AUD",
            service="sct",
            end_to_end_id="E2E-1",
            submit_before=now + window_ms,
            number=1,
            parties=seal(PARTIES) if kind == "SUBMIT" else None,
        )
        topic = topology.RAIL_SUBMISSIONS
        self.publisher.publish(topic, payment.encode(), CODEC.encode(topic, instruction))

    def run_to_the_end(self) -> None:
        """The adapter from its committed offsets until everything is committed; then it stops."""
        worker = self._worker()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                worker.run()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            self._wait(lambda: failures or self.committed() == self.end())
        finally:
            worker.request_stop()
            thread.join(30)
        assert not failures, failures

    def _worker(self) -> Worker:
        parts = Parts(
            connection=self.connection,
            instance_id="one",
            clock=CLOCK,
            codec=CODEC,
            open_parties=open_parties,
            publisher=self.publisher,
            control=Control(CODEC.decode),
            health=self.health,
            metrics=AdapterMetrics(CollectorRegistry()),
            quarantine_partitions=1,
        )
        return build_rail(parts, HttpRail(gateway=Gateway(str(self.client.base_url)), clock=CLOCK))

    def committed(self) -> int:
        """The group's offset; -1 without one, or while its coordinator is not there yet."""
        name = (topology.RAIL_SUBMISSIONS, 0)
        return GroupAdmin(self.connection, CLOCK).committed(GROUP).get(name, -1)

    def end(self) -> int:
        name = (topology.RAIL_SUBMISSIONS, 0)
        return self.ends.high([name])[name]

    def records(self, topic: str) -> list[LogRecord]:
        return [r for batch in read_all(self.connection, topic, clock=CLOCK) for r in batch]

    def kinds(self) -> set[str]:
        topic = topology.RAIL_REPORTS
        found: list[RailReport] = [CODEC.decode(topic, r.value) for r in self.records(topic)]
        return {report.kind for report in found}

    # -- the faults --------------------------------------------------------------------------------

    def lose_offsets(self) -> None:
        def deleted() -> bool:
            try:
                self.admin.delete_consumer_groups([GROUP])[GROUP].result()
            except KafkaException:  # the group is not empty yet
                return False
            return True

        self._wait(deleted)
        assert self.committed() == -1

    def lose_record(self, keep: int = 0) -> None:
        """The record topic is gone; `keep` of its records come back from an old backup."""
        topic = topology.RAIL_SUBMITTED
        kept = self.records(topic)[:keep]
        self.admin.delete_topics([topic])[topic].result()
        self._wait(lambda: topic not in self.admin.list_topics(timeout=5).topics)

        def created() -> bool:
            try:
                self.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
            except KafkaException:  # the deletion is still going on
                return False
            return True

        self._wait(created)
        self.copy(topic, kept)

    def copy(self, topic: str, records: list[LogRecord]) -> None:
        producer = Producer({**self.connection, "acks": "all"})
        for record in records:
            producer.produce(topic, record.value, record.key, record.partition)
        assert producer.flush(30) == 0

    def _wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.1)

    # -- the judge ---------------------------------------------------------------------------------

    def submissions(self) -> dict[str, int]:
        return {ref: e.submitted for ref, e in self.simulator.ledger.entries.items()}


@pytest.fixture
def rig(fresh_cluster: Callable[..., Cluster], tmp_path: Path) -> Iterator[Rig]:
    simulator = RailSimulator(clock=CLOCK)
    simulator.scripts.put({"for": "*", "steps": [{"kind": "NOTHING"}]})
    server = WebhookServer(simulator.app(), host="127.0.0.1", port=0, clock=CLOCK)
    server.start()
    client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)
    made = Rig(fresh_cluster(), client, simulator)
    try:
        yield made
    finally:
        made.publisher.close()
        client.close()
        server.stop()


@pytest.mark.parametrize("again", rounds(10))
def test_old_instructions_are_never_submitted(rig: Rig, again: int) -> None:
    for number in range(PAYMENTS):
        withdrawn = number % WITHDRAWN_EVERY == 0
        window_ms = WITHDRAWN_WINDOW_MS if withdrawn else WINDOW_MS
        rig.instruct("SUBMIT", number, window_ms)
        if withdrawn:
            rig.instruct("WITHDRAW", number, window_ms)
    rig.run_to_the_end()
    before = rig.submissions()
    assert len(before) == PAYMENTS - PAYMENTS // WITHDRAWN_EVERY
    assert set(before.values()) == {1}
    instructions = rig.records(topology.RAIL_SUBMISSIONS)
    said = len(rig.records(topology.RAIL_REPORTS))

    rig.lose_offsets()
    rig.run_to_the_end()
    assert rig.submissions() == before, "offsets lost"

    rig.lose_offsets()
    rig.lose_record()
    rig.run_to_the_end()
    assert rig.submissions() == before, "offsets and record lost"
    assert sum(rig.simulator.ledger.enquiries.values()) >= len(before), "nothing was replayed"

    rig.copy(topology.RAIL_SUBMISSIONS, instructions)
    rig.run_to_the_end()
    assert rig.submissions() == before, "topic replayed"

    rig.lose_offsets()
    rig.lose_record(keep=5)
    rig.copy(topology.RAIL_SUBMISSIONS, instructions)
    rig.run_to_the_end()
    assert rig.submissions() == before, "backup restored"
    assert len(rig.records(topology.RAIL_REPORTS)) > said
    assert _certain_of(rig) == {
        external_ref(payment_intent_id("mobile-app", f"row30-{n}"), 1)
        for n in range(0, PAYMENTS, WITHDRAWN_EVERY)
    }, "what the rail has was called certainly not paid"

    rig.instruct("SUBMIT", PAYMENTS)
    rig.instruct("SUBMIT", PAYMENTS + 1, window_ms=-1)
    rig.run_to_the_end()
    assert len(rig.submissions()) == len(before) + 1, "what is new is still submitted, once"
    assert rig.simulator.ledger.too_late == {}


def _certain_of(rig: Rig) -> set[str]:
    topic = topology.RAIL_REPORTS
    found: list[RailReport] = [CODEC.decode(topic, r.value) for r in rig.records(topic)]
    return {report.external_ref for report in found if report.kind in CERTAIN}
