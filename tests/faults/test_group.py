"""Fault rows 15 and 28: compaction during a restore, and members with another assignor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.auditor.evidence import EVENTS, GROUP, INPUTS, LIFECYCLE
from tests.broker.harness import Harness, rounds

ROUNDS = len(rounds(60, ci=3))
JOIN_SECONDS_MAX = 60.0
COMPACTED_SECONDS_MAX = 60.0
AGGRESSIVE = {
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "100",
    "max.compaction.lag.ms": "1",
    "delete.retention.ms": "86400000",
}


def alter(bootstrap: str, kind: ResourceType, name: str, values: dict[str, str]) -> None:
    entries = [
        ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in values.items()
    ]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(JOIN_SECONDS_MAX)


def test_row_15_compaction_during_a_restore_loses_no_state(harness: Harness) -> None:
    """JOB-03: the lifecycle topic has compaction gaps and ends with a transaction marker."""
    admin = AdminClient({"bootstrap.servers": harness.bootstrap})
    (broker,) = admin.list_topics(timeout=JOIN_SECONDS_MAX).brokers
    alter(harness.bootstrap, ResourceType.BROKER, str(broker), {"log.cleaner.backoff.ms": "100"})
    alter(harness.bootstrap, ResourceType.TOPIC, LIFECYCLE, AGGRESSIVE)
    process = harness.start_payments()
    for _ in range(ROUNDS):
        harness.ready(process)
        harness.publish(15, happy_path=True)
        process.kill()
        harness.lose_disk()
        harness.publish(10, happy_path=True)
        process = harness.start_payments()
    harness.ready(process)
    _, moved = harness.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == 25 * ROUNDS
    deadline = time.monotonic() + COMPACTED_SECONDS_MAX
    while True:
        evidence = harness.evidence()
        visible = len(evidence.records[LIFECYCLE])
        written = sum(stable for (t, _), (stable, _) in evidence.stable.items() if t == LIFECYCLE)
        if visible * 2 < written:
            break
        assert time.monotonic() < deadline, f"NV: {visible} of {written} records are left"
        time.sleep(1.0)
    last = {r.partition: r.offset for r in evidence.records[LIFECYCLE]}
    ends = {n: stable for (t, n), (stable, _) in evidence.stable.items() if t == LIFECYCLE}
    assert all(ends[n] > at + 1 for n, at in last.items()), "NV: the last record is no marker"
    assert len(evidence.records[EVENTS]) > 0


@contextmanager
def foreign_member(harness: Harness, assignor: str, topics: list[str]) -> Iterator[Consumer]:
    """A consumer in the processor's group that got its assignment before the processor joined."""
    consumer = Consumer(
        {
            "bootstrap.servers": harness.bootstrap, "group.id": GROUP,
            "partition.assignment.strategy": assignor, "enable.auto.commit": False,
            "session.timeout.ms": 12_000, "auto.offset.reset": "earliest",
        }
    )  # fmt: skip
    consumer.subscribe(topics)
    deadline = time.monotonic() + JOIN_SECONDS_MAX
    while not consumer.assignment():
        assert time.monotonic() < deadline, "the foreign member was given nothing"
        consumer.poll(0.2)
    try:
        yield consumer
    finally:
        consumer.close()


@pytest.mark.parametrize("again", rounds(5))  # of each of the two
@pytest.mark.parametrize(
    ("assignor", "topics"),
    [("roundrobin", list(INPUTS)), ("range", [INPUTS[2]])],
    ids=["another assignor", "one topic of nine"],
)
def test_row_28_a_member_with_another_assignor_is_refused(
    harness: Harness, assignor: str, topics: list[str], again: int
) -> None:
    """All inputs of a payment reach one process, or the process ends with the reason."""
    before = harness.judge()
    with foreign_member(harness, assignor, topics) as consumer:
        process = harness.start_payments()
        deadline = time.monotonic() + JOIN_SECONDS_MAX
        while process.alive() and time.monotonic() < deadline:
            consumer.poll(0.2)
        code = process.exited(1.0)
        text = process.log.read_text()
    assert code != 0
    assert "assign" in text.lower() or "partition" in text.lower()
    after = harness.judge(drained=False)
    assert after.counters["events"] == before.counters["events"], "it decided something"
