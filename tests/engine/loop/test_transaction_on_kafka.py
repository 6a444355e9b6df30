"""The transactional producer on a Kafka that stops answering during a transaction."""

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
LET_GO_SECONDS_MAX = 15.0  # without the fix it never returns
HANG_SECONDS_MAX = 60.0


@pytest.mark.parametrize("aborted", [False, True], ids=["open", "abort unanswered"])
def test_a_client_whose_kafka_hangs_is_released_at_once(
    fresh_cluster: Callable[..., Cluster], aborted: bool
) -> None:
    """EV-07, row 10: the client's own close aborts and waits without a limit, so the processor
    would block forever. It is released even while its error is handled.
    """
    kafka = fresh_cluster()
    admin = AdminClient(kafka.client_config())
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
    gc.collect()  # clients of earlier tests that are in reference cycles
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
    """This process's threads that belong to a Kafka client."""
    names = [each.read_text() for each in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith("rdk:") for name in names)
