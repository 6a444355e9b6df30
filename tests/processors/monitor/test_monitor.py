"""The monitor: records in, at least once; incidents out, without duplicates."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.monitoring import Incident, MinuteFigures, MonitorTick
from processors.monitor.metrics import MonitorMetrics
from processors.monitor.monitor import Monitor
from readmodel import minutes
from readmodel.minutes import SLOTS, Figures, minute_of
from schemas.topology import MINUTES, TICKS
from tests.processors.payments.world import CODEC

NOW = 1_800_000_030_000
MINUTE = minute_of(NOW)
BAD = Figures(settled=10, failed={"RAIL/rail": 30}, offset=7)
GOOD = Figures(settled=1_000, failed={"RAIL/rail": 30}, offset=8)


class World:
    """Two tables and a list of published records; `restart` keeps them."""

    def __init__(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self.figures: dict[bytes, bytes] = {}
        self.states: dict[bytes, bytes] = {}
        self.published: list[Incident] = []
        self.registry = CollectorRegistry()
        self.fails = False
        self.restart()

    def restart(self) -> None:
        self.registry = CollectorRegistry()
        self.monitor = Monitor(
            figures=self.figures, states=self.states, codec=CODEC, publish=self.publish,
            partitions=self.partitions, metrics=MonitorMetrics(self.registry),
        )  # fmt: skip

    async def publish(self, incident: Incident) -> None:
        if self.fails:
            raise ConnectionError("the process was killed here")
        self.published.append(incident)

    def minute(self, figures: Figures, minute: int = MINUTE, partition: int = 0) -> None:
        raw = CODEC.encode(MINUTES, minutes.record_of(partition, minute, figures))
        asyncio.run(self.monitor.take(MINUTES, raw))

    def tick(self, at: int) -> None:
        raw = CODEC.encode(TICKS, MonitorTick(at=at, worker="w"))
        asyncio.run(self.monitor.take(TICKS, raw))

    def ticks(self, seconds: range) -> None:
        for second in seconds:
            self.tick(NOW + second * 1_000)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def world() -> World:
    return World()


def test_figures_survive_their_encoding(world: World) -> None:
    every: dict[str, Any] = {
        name: number for number, name in enumerate(Figures.__struct_fields__, 1)
    }
    every |= {"failed": {"RAIL/rail": 6, "FRAUD/system": 7}, "histogram": [0] * 11}
    figures = Figures(**every | {"latencies": [minutes.Latency(11, 12)]})
    record = CODEC.decode(MINUTES, CODEC.encode(MINUTES, minutes.record_of(1, MINUTE, figures)))
    assert isinstance(record, MinuteFigures)
    assert minutes.figures_of(record) == figures


def test_a_breach_opens_once_and_recovery_resolves_the_same_incident(world: World) -> None:
    world.minute(BAD)
    world.ticks(range(12))
    assert [(each.rule, each.status) for each in world.published] == [("success", "OPEN")]
    assert world.sample("npp_incident_open", rule="success") == 1

    world.minute(GOOD)
    world.ticks(range(12, 74))
    assert [each.status for each in world.published] == ["OPEN", "RESOLVED"]
    assert len({each.incident_id for each in world.published}) == 1
    assert world.sample("npp_incident_open", rule="success") == 0


def test_records_repeated_after_a_restart_change_nothing(world: World) -> None:
    """At-least-once: minutes and ticks come again, in log order."""
    world.minute(BAD)
    world.ticks(range(12))
    before = dict(world.states)
    world.restart()
    world.minute(BAD)
    world.ticks(range(5, 12))
    assert len(world.published) == 1
    assert world.states == before
    assert world.sample("npp_monitor_skipped_total", reason="older") == 1 + 7 * 5


def test_killed_between_the_incident_and_the_table_it_publishes_the_same_again(
    world: World,
) -> None:
    world.minute(BAD)
    world.ticks(range(10))
    world.fails = True
    with pytest.raises(ConnectionError):
        world.tick(NOW + 10_000)
    world.fails = False
    world.restart()
    world.ticks(range(8, 13))
    assert [each.incident_id for each in world.published] == [f"inc_success_{NOW}"]


def test_a_restarted_worker_shows_the_open_incidents(world: World) -> None:
    world.minute(BAD)
    world.ticks(range(12))
    world.restart()
    assert world.sample("npp_incident_open", rule="success") == 0
    world.monitor.show()
    assert world.sample("npp_incident_open", rule="success") == 1


def test_older_figures_do_not_replace_newer_ones(world: World) -> None:
    world.minute(GOOD)
    world.minute(BAD)
    world.ticks(range(12))
    assert world.published == []
    assert world.sample("npp_monitor_skipped_total", reason="older") == 1


def test_a_minute_25_hours_old_in_the_same_slot_is_not_counted(world: World) -> None:
    world.minute(BAD, MINUTE - SLOTS)
    world.ticks(range(12))
    assert world.published == []
    world.minute(BAD)
    world.ticks(range(12, 24))
    assert [each.status for each in world.published] == ["OPEN"]


def test_the_partitions_are_added_up(world: World) -> None:
    """Neither alone has the minimum count."""
    half = Figures(failed={"RAIL/rail": 10}, offset=1)
    world.minute(half, partition=0)
    world.ticks(range(12))
    assert world.published == []
    world.minute(half, partition=1)
    world.ticks(range(12, 24))
    assert [(each.part, each.whole) for each in world.published] == [(0, 20)]


def test_an_unreadable_record_is_counted_and_stops_nothing(world: World) -> None:
    asyncio.run(world.monitor.take(MINUTES, b"rubbish"))
    asyncio.run(world.monitor.take(TICKS, None))
    assert world.sample("npp_monitor_skipped_total", reason="undecodable") == 2
    world.minute(BAD)
    world.ticks(range(12))
    assert len(world.published) == 1
