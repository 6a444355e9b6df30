"""A process follows the control topic again after a broker outage."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from app.platform.broker import Cluster
from control.fold import Control
from engine.clients.control_reader import UNREADABLE_S_MAX, ControlReader
from engine.clock import SystemClock

TOPIC = "control"
AWAY_S = UNREADABLE_S_MAX + 2.0
BACK_S_MAX = 20.0


class Seen(Control):
    """A control state that records what it is given."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.values: list[bytes] = []

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        self.values.append(value)


def publish(bootstrap: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(TOPIC, value, None, 0)
    assert producer.flush(20.0) == 0


def test_control_is_readable_soon_after_a_killed_broker_is_back(
    fresh_cluster: Callable[..., Cluster],
) -> None:
    """Otherwise an adapter would stay stopped for minutes."""
    cluster = fresh_cluster(heap_mb=384)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
    publish(cluster.bootstrap, b"before")
    reader = ControlReader({"bootstrap.servers": cluster.bootstrap}, TOPIC, SystemClock())
    seen = Seen()
    reader.start()
    try:
        assert reader.read_to_end(seen)
        assert reader.stopped(seen) is None

        cluster.kill()
        time.sleep(AWAY_S)
        assert reader.stopped(seen) is not None
        cluster.restart()
        publish(cluster.bootstrap, b"after")
        deadline_s = time.monotonic() + BACK_S_MAX
        while reader.stopped(seen) is not None or len(seen.values) < 2:
            assert time.monotonic() < deadline_s, f"still unreadable: {reader.unreadable_s():.0f} s"
            time.sleep(0.2)
            reader.drain(seen)
    finally:
        reader.close()
    assert seen.values == [b"before", b"after"]
