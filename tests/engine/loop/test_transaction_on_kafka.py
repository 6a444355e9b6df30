"""The transactional producer on a Kafka that stops answering in the middle of a transaction."""

from __future__ import annotations

import faulthandler
import gc
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from app.platform.broker import Cluster
from engine.clock import SystemClock
from engine.errors import Rebuild
from engine.loop.transaction import Status, TransactionalProducer, TransactionSettings

TOPIC = "t"
SHORT = TransactionSettings(end_s=0.5)
LET_GO_SECONDS_MAX = 15.0  # the opposite is never
HANG_SECONDS_MAX = 60.0


@pytest.mark.parametrize("aborted", [False, True], ids=["open", "abort unanswered"])
def test_a_client_whose_kafka_hangs_is_let_go_at_once_and_is_gone(
    fresh_cluster: Callable[..., Cluster], aborted: bool
) -> None:
    """EV-07, row 10: the client's own close aborts and waits for it without a limit: the processor
    would stand for ever, alive. Let go even while the error that tells of it is handled."""
    kafka = fresh_cluster()
    admin = AdminClient(kafka.client_config())
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
    gc.collect()  # clients of earlier tests that hang in circles of references
    before = client_threads()
    producer = TransactionalProducer(kafka.client_config(), "npp-hang-1", SystemClock(), SHORT)
    producer.init()
    assert client_threads() > before, "NV: the client has no threads"
    producer.begin()
    producer.produce([(TOPIC, b"x", b"k", 0, None)], {(TOPIC, 0): 0})
    producer._flush()  # its partition is in the transaction: the end needs the broker
    assert producer.acknowledged() == {(TOPIC, 0): 0}
    kafka.pause()
    try:
        if not aborted:
            let_go(producer, before)
            return
        try:
            producer.abort()
        except Rebuild:
            let_go(producer, before)
        else:
            raise AssertionError("NV: the abort was answered")
    finally:
        kafka.unpause()
    producer.rebuild()
    assert producer.status is Status.READY


def let_go(producer: TransactionalProducer, threads: int) -> None:
    began_s = time.monotonic()
    faulthandler.dump_traceback_later(HANG_SECONDS_MAX, exit=True)  # nothing else ends a hang
    producer.destroy()
    faulthandler.cancel_dump_traceback_later()
    assert time.monotonic() - began_s < LET_GO_SECONDS_MAX
    assert client_threads() == threads, "the client lives on"


def client_threads() -> int:
    """Threads of this process that belong to a Kafka client."""
    names = [each.read_text() for each in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith("rdk:") for name in names)
