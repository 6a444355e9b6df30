"""The monitor on a real Kafka: killed, with a second worker, with an empty folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.platform.children import tail_of
from core.monitoring import Incident, MonitorTick
from engine.clients.publisher import Outgoing, Publisher
from engine.clients.reader import read_all
from engine.clock import SystemClock
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
    """A monitor's topics, and the test in the projector's place."""

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

    def minute(self, now_ms: int, figures: Figures) -> None:
        minute = minute_of(now_ms)
        raw = self.codec.encode(MINUTES, minutes.record_of(0, minute, figures))
        self.publisher.publish_all([Outgoing(MINUTES, minutes.slot(0, minute), raw, 0)])

    def tick(self, at: int) -> None:
        """As a worker sends it: the test's clock may be ahead of theirs."""
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
        """The one that judges, once there is one."""
        found: list[Process] = []

        def one() -> bool:
            found[:] = [
                each for each in workers if each.alive() and metric(each, "npp_monitor_owner")
            ]
            return len(found) == 1

        until(one, lambda: "\n".join(tail_of(each.log) for each in workers))
        return found[0]


def metric(process: Process, name: str) -> float:
    try:
        text = get(f"http://127.0.0.1:{process.port}/metrics").decode()
    except OSError:
        return 0.0
    lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)


@pytest.fixture
def rig(harness: Harness, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(harness, tmp_path)
    try:
        yield made
    finally:
        made.publisher.close()
        for process in harness.processes:
            if process.name.startswith("monitor") and process.alive():
                process.kill()


def test_an_incident_is_opened_and_resolved_once_whoever_is_killed(rig: Rig) -> None:
    """MET-01: two workers, the judging one killed while the breach lasts and again, on an empty
    folder, before it is resolved."""
    first, second = rig.worker("monitor-1"), rig.worker("monitor-2")
    owner = rig.owner(first, second)
    now = rig.clock.now_ms()
    rig.minute(now, Figures(settled=10, failed={"RAIL/rail": 30}, offset=1))
    until(lambda: metric(owner, "npp_monitor_minutes_total") >= 1, lambda: tail_of(owner.log))

    owner.kill()
    other = second if owner is first else first
    assert rig.owner(other) is other
    rig.tick(rig.clock.now_ms() + 2 * OPEN_AFTER_MS)
    until(lambda: bool(rig.incidents()), lambda: tail_of(other.log))
    opened = rig.incidents()
    assert [(each.rule, each.status, each.part, each.whole) for each in opened] == [
        ("success", "OPEN", 10, 40)
    ]
    assert metric(other, "npp_incident_open") == 1

    other.kill()
    shutil.rmtree(rig.folder)
    third = rig.worker("monitor-3")
    assert rig.owner(third) is third
    until(lambda: metric(third, "npp_incident_open") == 1, lambda: tail_of(third.log))
    rig.minute(now, Figures(settled=1_000, failed={"RAIL/rail": 30}, offset=2))
    # Minutes and ticks are two topics: a tick that is read first is judged on the old minute.
    until(lambda: metric(third, "npp_monitor_minutes_total") >= 1, lambda: tail_of(third.log))
    later = opened[0].opened_at
    rig.tick(later + 1_000)
    rig.tick(later + 1_000 + CLEAR_AFTER_MS)
    until(lambda: len(rig.incidents()) >= 2, lambda: tail_of(third.log))

    assert [(each.incident_id, each.status) for each in rig.incidents()] == [
        (opened[0].incident_id, "OPEN"),
        (opened[0].incident_id, "RESOLVED"),
    ]
