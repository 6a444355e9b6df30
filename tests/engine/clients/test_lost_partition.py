"""A client that lost the leader of one partition, and answers for the others, is replaced.

Decision 13: librdkafka may keep such a partition without a leader for good (its issue 5430).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

import engine.clients.publisher
from engine.clients.assigned_reader import READING
from engine.clients.membership import LOST_AFTER_S, STATISTICS_S, BrokerLiveness, Statistics
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import PartitionReader
from tests.broker.source import Kafka
from tests.clock import HeldClock
from tests.engine.clients.doubles import FakeConsumer, FakeProducer, Record
from tests.engine.kafka_rig import rig
from tests.engine.toy import ADD

WAIT_S = 40.0
LATE_POLLS = 5


def report_fetching(line: BrokerLiveness, name: str, broker: int, state: str) -> None:
    """Statistics of a client that fetches one assigned partition, and does this with another."""
    fine = {"partition": 0, "broker": 1, "desired": True, "fetch_state": "active"}
    partitions = {
        "0": fine,
        "1": {**fine, "partition": 1, "broker": broker, "fetch_state": state},
        "-1": {**fine, "partition": -1, "broker": -1, "desired": False, "fetch_state": "none"},
    }
    text = {"name": name, "rx": 1, "topics": {"t": {"topic": "t", "partitions": partitions}}}
    line.note_statistics(json.dumps(text))


TIMES = int(LOST_AFTER_S / STATISTICS_S) + 1


@pytest.mark.parametrize(("broker", "state"), [(-1, "active"), (1, "offset-wait"), (-1, "none")])
def test_a_client_that_does_not_fetch_one_partition_is_stuck(broker: int, state: str) -> None:
    """Decision 13: it gets responses for the others, and reports no error."""
    line = BrokerLiveness(HeldClock(0))
    for _ in range(TIMES - 1):
        assert not line.stuck()
        report_fetching(line, "consumer-1", broker, state)
    assert not line.stuck()
    report_fetching(line, "consumer-1", 1, "active")  # it has recovered
    for _ in range(TIMES):
        assert not line.stuck()
        report_fetching(line, "consumer-1", broker, state)
    assert line.stuck()
    line.replaced()
    assert not line.stuck()


def test_the_partitions_of_a_replaced_client_do_not_count_for_its_successor() -> None:
    """The old client keeps reporting while it is being closed."""
    line = BrokerLiveness(HeldClock(0))
    for _ in range(3 * TIMES):
        report_fetching(line, "consumer-1", -1, "none")
        report_fetching(line, "consumer-2", 1, "active")
        assert not line.stuck()


def test_a_reader_that_no_longer_fetches_one_partition_continues_with_another_client(
    consumers: tuple[HeldClock, list[FakeConsumer]],
) -> None:
    """EV-07: even while the other partitions have records. The projector and whoever waits for an
    outcome would otherwise see nothing more of that partition.
    """
    _, made = consumers
    reader = PartitionReader({}, "t", {0: 5, 1: 7})
    for number in range(TIMES):
        assert len(made) == 1
        report_fetching(made[0].line, "consumer-1", -1, "active")
        made[0].waiting = [Record("t", 0, 5 + number)]
        reader.read(10, 0.0)
    assert made[0].closed
    assert made[1].start == {("t", 0): 5 + TIMES, ("t", 1): 7}


class NoLeader(FakeProducer):
    """The first one never acknowledges a record for partition 1; the others take a few polls."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.cut_off = False
        self.kept: list[Any] = []
        self.late = 0 if len(self.made) == 1 else LATE_POLLS

    def produce(self, *record: Any, on_delivery: Any, headers: Any) -> None:
        stuck = self is self.made[0] and record[3] == 1
        (self.kept if stuck else self.waiting).append(on_delivery)

    def poll(self, wait_s: float) -> None:
        if self.waiting and self.late:
            self.late -= 1
        else:
            self._report(None)

    def flush(self, wait_s: float) -> int:
        self.waiting += self.kept
        return super().flush(wait_s)


@pytest.mark.parametrize("others", [True, False])
def test_a_publisher_that_lost_the_leader_of_one_partition_continues_with_another_client(
    monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    """EV-07: records for other partitions are acknowledged meanwhile, or there are none. The next
    client gets as much time as the first.
    """
    NoLeader.made = []
    clock = HeldClock(0)
    monkeypatch.setattr(engine.clients.publisher, "Producer", NoLeader)
    monkeypatch.setattr(engine.clients.publisher, "POLL_S", 0.005)
    publisher = Publisher({}, "test", clock)
    failed: list[NotConfirmed] = []

    def publish() -> None:
        try:
            publisher.publish("t", b"k", b"v", partition=1, timeout_s=1e9)
        except NotConfirmed as error:
            failed.append(error)

    waiting = threading.Thread(target=publish, daemon=True)
    waiting.start()
    deadline_s = time.monotonic() + WAIT_S
    try:
        while not failed and time.monotonic() < deadline_s:
            if others:
                with contextlib.suppress(NotConfirmed):  # the last one is purged, too
                    publisher.publish("t", b"k", b"v", partition=0, timeout_s=1e9)
            else:
                time.sleep(0.005)
            clock.advance(500)
        waiting.join(10.0)
        assert "PURGE" in failed[0].code
        assert publisher.publish("t", b"k", b"v", partition=1, timeout_s=1e9).offset == 3
    finally:
        publisher.close()
    assert len(NoLeader.made) == 2
    assert clock.monotonic_s() >= LOST_AFTER_S


def test_what_the_client_itself_says_of_what_it_fetches(kafka: Kafka, tmp_path: Path) -> None:
    """On a real Kafka: at a partition's end, paused or not, it is fetching; one that does not exist
    has no leader.
    """
    with rig(kafka.bootstrap, tmp_path, f"lost{uuid.uuid4().hex[:8]}") as toy:
        toy.send(3)
        seen: list[Statistics] = []
        reader = Consumer({
            **toy.connection, **READING, "statistics.interval.ms": 100,
            "stats_cb": lambda text: seen.append(msgspec.json.decode(text, type=Statistics)),
        })  # fmt: skip
        places = [TopicPartition(toy.topic(ADD), n, 0) for n in range(3)]

        def seen_soon(fetches_all: bool) -> bool:
            seen.clear()
            deadline_s = time.monotonic() + WAIT_S
            while time.monotonic() < deadline_s:
                reader.poll(0.05)
                if seen and seen[-1].fetches_all() is fetches_all:
                    return True
            return False

        try:
            reader.assign(places)
            assert seen_soon(True)
            reader.pause(places[:1])
            assert seen_soon(True)
            reader.assign([*places, TopicPartition(toy.topic(ADD), 99, 0)])
            assert seen_soon(False)
            reader.assign(places)
            assert seen_soon(True)
        finally:
            reader.close()
