"""One Kafka, one simulated rail, and the real rail adapter over raw instructions, without a
payments processor.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry

from app.platform.broker import Cluster
from app.topic_specs import topic_specs
from control.fold import Control
from core.header import InstructionHeader
from core.payment.commands import RailReport
from core.payment.instructions import RailInstruction
from core.values import Cents, external_ref, payment_intent_id
from engine.clients.groups import GroupAdmin
from engine.clients.publisher import Publisher
from engine.clients.reader import LogEnds, read_all
from engine.clock import SystemClock
from engine.loop.watch import Health
from engine.records import LogRecord
from engine.serving.metrics import uncounted
from engine.topics import TopicAdmin
from engine.worker.worker import Worker
from gateways.connections import Gateway
from gateways.rail.http_client import HttpRail
from gateways.rail.simulator import RailSimulator
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.parts import Parts
from processors.rail.kafka import rail_worker
from processors.rail.webhook import WebhookServer
from schemas import catalogue, topology
from schemas.codec.parties import seal
from schemas.registry.setup import static_codec
from tests.gateways.harness import PARTIES

SETTLE_SECONDS_MAX = 60.0
WINDOW_MS = 60_000
CLOCK = SystemClock()
CODEC = static_codec()
GROUP = "npp-rail"


class Rig:
    """One Kafka, one simulated rail, and the real rail adapter, started as often as needed."""

    def __init__(self, cluster: Cluster, client: httpx.Client, simulator: RailSimulator) -> None:
        self.connection = cluster.client_config()
        self.simulator = simulator
        self.client = client
        self.admin = AdminClient(self.connection)
        self.publisher = Publisher(self.connection, "fault-30", CLOCK)
        self.ends = LogEnds(self.connection, CLOCK)
        self.health = Health(CLOCK)
        TopicAdmin(self.connection, CLOCK).apply(topic_specs(catalogue.load(), "embedded"))

    def instruct(self, kind: Any, number: int, window_ms: int = WINDOW_MS) -> None:
        payment = payment_intent_id("mobile-app", f"row30-{number}")
        now = CLOCK.now_ms()
        instruction = RailInstruction(
            header=InstructionHeader(payment_intent_id=payment, sequence=5, decided_at=now),
            kind=kind,
            external_ref=external_ref(payment, 1),
            attempt=1,
            amount=Cents(12_345),
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
        """Run the adapter from its committed offsets until everything is committed;
        then stop it.
        """
        with self.running():
            self.wait(lambda: self.committed() == self.end())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The adapter, running from its committed offsets."""
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
            yield
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
            publisher=self.publisher,
            control=Control(CODEC.decode),
            health=self.health,
            metrics=AdapterMetrics(CollectorRegistry()),
            quarantine_partitions=1,
        )
        return rail_worker(parts, HttpRail(gateway=Gateway(str(self.client.base_url)), clock=CLOCK))

    def committed(self) -> int:
        """The group's offset; -1 without one, or while its coordinator is not available."""
        name = (topology.RAIL_SUBMISSIONS, 0)
        return GroupAdmin(self.connection, CLOCK).committed(GROUP).get(name, -1)

    def end(self) -> int:
        name = (topology.RAIL_SUBMISSIONS, 0)
        return self.ends.high([name])[name]

    def records(self, topic: str) -> list[LogRecord]:
        return [r for batch in read_all(self.connection, topic, clock=CLOCK) for r in batch]

    def reports(self) -> list[RailReport]:
        topic = topology.RAIL_REPORTS
        return [CODEC.decode(topic, r.value) for r in self.records(topic)]

    # -- the faults --------------------------------------------------------------------------------

    def lose_offsets(self) -> None:
        def deleted() -> bool:
            try:
                self.admin.delete_consumer_groups([GROUP])[GROUP].result()
            except KafkaException:  # the group is not empty yet
                return False
            return True

        self.wait(deleted)
        assert self.committed() == -1

    def lose_record(self, keep: int = 0) -> None:
        """Delete the record topic; `keep` of its records come back from an old backup."""
        topic = topology.RAIL_SUBMITTED
        kept = self.records(topic)[:keep]
        self.admin.delete_topics([topic])[topic].result()
        self.wait(lambda: topic not in self.admin.list_topics(timeout=5).topics)

        def created() -> bool:
            try:
                self.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
            except KafkaException:  # the deletion is still in progress
                return False
            return True

        self.wait(created)
        self.copy(topic, kept)

    def copy(self, topic: str, records: list[LogRecord]) -> None:
        producer = Producer({**self.connection, "acks": "all"})
        for record in records:
            producer.produce(topic, record.value, record.key, record.partition)
        assert producer.flush(30) == 0

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.1)

    # -- the ledger --------------------------------------------------------------------------------

    def submissions(self) -> dict[str, int]:
        return {ref: e.submitted for ref, e in self.simulator.ledger.entries.items()}


@contextlib.contextmanager
def rail_rig(cluster: Cluster) -> Iterator[Rig]:
    """A rig whose rail accepts everything and never calls back."""
    simulator = RailSimulator(clock=CLOCK)
    simulator.scripts.put({"for": "*", "steps": [{"kind": "NOTHING"}]})
    server = WebhookServer(simulator.app(), count=uncounted, host="127.0.0.1", port=0, clock=CLOCK)
    server.start()
    client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)
    made = Rig(cluster, client, simulator)
    try:
        yield made
    finally:
        made.publisher.close()
        client.close()
        server.close()
