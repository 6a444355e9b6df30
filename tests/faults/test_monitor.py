"""The monitor on a real Kafka: killed, with a second worker, with an empty folder, and when its
client loses a partition.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import processors.monitor.faust_app as faust_app
from app.platform.broker import Cluster
from app.platform.children import tail_of
from core.monitoring import Incident, MonitorTick
from engine.clients.publisher import Outgoing, Publisher
from engine.clients.reader import read_all
from engine.clock import SystemClock
from processors.monitor.faust_app import SOURCES, MonitorApp
from processors.monitor.metrics import MonitorMetrics
from processors.monitor.rules import CLEAR_AFTER_MS, OPEN_AFTER_MS
from readmodel import minutes
from readmodel.minutes import Figures, minute_of
from schemas import catalogue
from schemas.codec import Codec
from schemas.registry import setup
from schemas.topology import INCIDENTS, MINUTES, TICKS
from tests.broker.harness import Harness
from tests.broker.processes import Process, get

SECONDS_MAX = 90.0

pytestmark = pytest.mark.broker


class Rig:
    """A monitor's topics; the test takes the projector's part."""

    def __init__(self, harness: Harness, folder: Path) -> None:
        self.harness, self.folder = harness, folder
        self.clock = SystemClock()
        self.connection = {"bootstrap.servers": harness.bootstrap}
        self.publisher = Publisher(self.connection, "test", self.clock, compression="gzip")
        self.codec: Codec = setup.open_codec(
            harness.registry, catalogue.load(), Path(harness.env["NPP_DATA_DIR"]) / "ids.lock",
            setup.Options(monotonic_seconds=time.monotonic),
        )  # fmt: skip

    def worker(self, name: str) -> Process:
        env = {"NPP_INSTANCE_ID": name, "NPP_DATA_DIR": str(self.folder / name)}
        env["NPP_IDS_LOCK"] = str(Path(self.harness.env["NPP_DATA_DIR"]) / "ids.lock")
        return self.harness._run("monitor", name, env)

    def minute(self, now_ms: int, figures: Figures, partition: int = 0) -> None:
        """`partition`: of the journal."""
        minute = minute_of(now_ms)
        raw = self.codec.encode(MINUTES, minutes.record_of(partition, minute, figures))
        self.publisher.publish_all([Outgoing(MINUTES, minutes.slot(partition, minute), raw, 0)])

    def tick(self, at: int) -> None:
        """As a worker sends it; the test's clock may be ahead of the worker's."""
        raw = self.codec.encode(TICKS, MonitorTick(at=at, worker="test"))
        self.publisher.publish(TICKS, b"tick", raw, partition=0)

    def incidents(self) -> list[Incident]:
        found: list[Incident] = []
        for batch in read_all(self.connection, INCIDENTS, partitions=[0], clock=self.clock):
            for record in batch:
                incident = self.codec.decode(INCIDENTS, record.value, record.headers)
                assert isinstance(incident, Incident)
                found.append(incident)
        return found

    def owner(self, *workers: Process) -> Process:
        """The worker that evaluates the rules, once there is one."""
        found: list[Process] = []

        def one() -> bool:
            found[:] = [
                each for each in workers if each.alive() and metric(each, "npp_monitor_owner")
            ]
            return len(found) == 1

        until(one, lambda: "\n".join(state_of(each) for each in workers))
        return found[0]


def metric(process: Process, name: str) -> float:
    try:
        text = get(f"http://127.0.0.1:{process.port}/metrics").decode()
    except OSError:
        return 0.0
    lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def state_of(process: Process) -> str:
    """Whether a worker lives, what it said and what it counted: for a failure."""
    lives = process.alive()
    text = get(f"http://127.0.0.1:{process.port}/metrics").decode() if lives else ""
    own = [line for line in text.splitlines() if line.startswith(("npp_monitor", "npp_incid"))]
    ended = "alive" if lives else f"ended: {process.child.returncode}"
    return "\n".join([f"{process.name} {ended}", tail_of(process.log), *own])


def until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)


@pytest.fixture
def rig(fresh_cluster: Callable[..., Cluster], registry: str, tmp_path: Path) -> Iterator[Rig]:
    """On a Kafka of its own: a real projector's minutes would replace or outdate the test's."""
    harness = Harness(fresh_cluster().bootstrap, registry, tmp_path / "harness")
    try:
        harness.apply()
        made = Rig(harness, tmp_path / "workers")
        try:
            yield made
        finally:
            made.publisher.close()
    finally:
        harness.close()


def test_an_incident_opens_and_resolves_once_whichever_worker_is_killed(rig: Rig) -> None:
    """MET-01: two workers. The active one is killed during the breach, and again, on an empty
    folder, before the incident is resolved.
    """
    first, second = rig.worker("monitor-1"), rig.worker("monitor-2")
    owner = rig.owner(first, second)
    now = rig.clock.now_ms()
    rig.minute(now, Figures(settled=10, failed={"RAIL/rail": 30}, offset=1))
    until(lambda: metric(owner, "npp_monitor_minutes_total") >= 1, lambda: state_of(owner))

    owner.kill()
    other = second if owner is first else first
    assert rig.owner(other) is other
    rig.tick(rig.clock.now_ms() + 2 * OPEN_AFTER_MS)
    until(lambda: bool(rig.incidents()), lambda: state_of(other))
    opened = rig.incidents()
    assert [(each.rule, each.status, each.part, each.whole) for each in opened] == [
        ("success", "OPEN", 10, 40)
    ]
    assert metric(other, "npp_incident_open") == 1

    other.kill()
    shutil.rmtree(rig.folder)
    third = rig.worker("monitor-3")
    assert rig.owner(third) is third
    until(lambda: metric(third, "npp_incident_open") == 1, lambda: state_of(third))
    rig.minute(now, Figures(settled=1_000, failed={"RAIL/rail": 30}, offset=2))
    # Minutes and ticks are two topics: a tick that is read first is evaluated on the old minute.
    until(lambda: metric(third, "npp_monitor_minutes_total") >= 1, lambda: state_of(third))
    # One of these or of the worker's own begins the clearing; a minute later than any ends it.
    later = max(opened[0].opened_at, rig.clock.now_ms()) + 1_000
    rig.tick(later)
    rig.tick(later + CLEAR_AFTER_MS + 60_000)
    until(lambda: len(rig.incidents()) >= 2, lambda: state_of(third))

    assert [(each.incident_id, each.status) for each in rig.incidents()] == [
        (opened[0].incident_id, "OPEN"),
        (opened[0].incident_id, "RESOLVED"),
    ]


def test_a_worker_that_loses_one_partition_ends(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It reads its own ticks and no minute: the figures would stand still and nobody would know."""
    ended: list[str] = []
    monkeypatch.setattr(faust_app, "UNREAD_S_MAX", 4.0)
    monkeypatch.setattr(faust_app, "LOOK_S", 0.5)
    monkeypatch.setattr(MonitorApp, "_end", lambda app, why: ended.append(why))
    registry = CollectorRegistry()
    metrics = MonitorMetrics(registry)
    app = MonitorApp(
        brokers=rig.harness.bootstrap, credentials=None, instance="monitor-lost",
        data_dir=tmp_path / "lost", partitions=1, codec=rig.codec, clock=rig.clock,
        metrics=metrics,
    )  # fmt: skip
    running = threading.Thread(target=app.run)
    running.start()

    def taken() -> float:
        counted = [sample.value for each in metrics.minutes.collect() for sample in each.samples]
        return counted[0]

    try:
        rig.minute(rig.clock.now_ms(), Figures(settled=1, offset=1), partition=1)
        until(lambda: taken() >= 1, lambda: generate_latest(registry).decode())
        time.sleep(2 * faust_app.UNREAD_S_MAX)
        assert ended == []  # nothing waits

        before = taken()
        app.faust.consumer.pause_partitions({SOURCES[0]})
        rig.minute(rig.clock.now_ms(), Figures(settled=2, offset=2), partition=1)
        until(lambda: bool(ended), lambda: "the worker went on")
        assert ended[0] == "no record of npp.monitoring.minutes.v1 was read for 4 s"
        assert taken() == before
    finally:
        app.stop()
        running.join(SECONDS_MAX)
    assert not running.is_alive()
