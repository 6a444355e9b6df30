"""Taking an assignment: what must hold before a partition is served, and what is shown
meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import engine.loop.assignment_setup
from engine.errors import Retry
from engine.loop.assignment import CLOCK_DIFFERENCE_MS_MAX, Committed
from engine.loop.assignment_setup import CLOCK_TRIES_MAX, AssignmentSetup, Blocked
from engine.loop.watch import Health, Phase
from engine.metrics import EngineMetrics
from engine.ports import TopicPartition
from engine.records import LogRecord
from engine.settings import EngineSettings
from tests.clock import HeldClock
from tests.engine.store.memory import MemoryPartitionStore
from tests.engine.toy import Count, Toy, ToyControl

UNKNOWN = Retry("_TIMED_OUT", "1 records are not acknowledged")


class Producer:
    """Answers the broker's time, or does not."""

    def __init__(self, *answers: int | Retry) -> None:
        self.answers = list(answers)

    def probe_clock(self, topic: str) -> int:
        answer = self.answers.pop(0)
        if isinstance(answer, Retry):
            raise answer
        return answer


class Consumer:
    """A member without commits."""

    epoch = 0

    def __init__(self) -> None:
        self.fetched: Mapping[TopicPartition, int] = {}

    def committed(self, names: Sequence[TopicPartition]) -> dict[TopicPartition, Committed]:
        return {name: Committed(3, "") for name in names}

    def fetch_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.fetched = offsets

    def poll(self, count: int, wait_s: float) -> tuple[list[Any], dict[TopicPartition, int]]:
        return [], {}


class Control:
    def read_to_end(self, state: ToyControl) -> bool:
        return True


class Ends:
    """A log with that many records in the first partition of its journal."""

    def __init__(self) -> None:
        self.journal = 0

    def high(self, names: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {name: self.journal * (name == (Toy(2).topology.journal, 0)) for name in names}

    def low(self, names: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(names, 0)


class Stores:
    """Written states stay, as on disk."""

    def __init__(self) -> None:
        self._held: dict[int, MemoryPartitionStore] = {}

    def partition(self, number: int) -> MemoryPartitionStore:
        return self._held.setdefault(number, MemoryPartitionStore())


class Harness:
    def __init__(self, folder: Path) -> None:
        self.ends, self.stores = Ends(), Stores()
        self.folder = folder
        self.restart()

    def restart(self) -> None:
        """A new process on the same disk."""
        self.clock = HeldClock(1_767_225_600_000)
        self.health = Health(self.clock)
        self.registry = CollectorRegistry()
        self.consumer = Consumer()
        self.alarms: list[str] = []
        self.floors: dict[int, int] = {}
        settings = EngineSettings(
            connection={}, instance_id="i", data_dir=self.folder,
            journal_floors=lambda numbers: self.floors,
        )  # fmt: skip
        ends: Any = self.ends
        stores: Any = self.stores
        self.setup = AssignmentSetup(
            Toy(2), ToyControl(), settings, self.clock, EngineMetrics(self.registry), self.health,
            lambda name, number, sentence: self.alarms.append(name), ends, stores, lambda _: None,
        )  # fmt: skip
        topology = Toy(2).topology
        self.assigned = [(topic, n) for topic in topology.inputs for n in (0, 1)]

    def take(self, *answers: int | Retry) -> Any:
        producer: Any = Producer(*answers)
        consumer: Any = self.consumer
        control: Any = Control()
        return self.setup.take(self.assigned, consumer, control, producer)

    def partitions(self, state: str) -> float | None:
        return self.registry.get_sample_value("npp_engine_partitions", {"state": state})


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(engine.loop.assignment_setup, "read_all", lambda *_, **__: iter(()))
    return Harness(tmp_path)


def test_an_instance_with_an_accurate_clock_takes_its_partitions(harness: Harness) -> None:
    states, offsets = harness.take(CLOCK_DIFFERENCE_MS_MAX)
    assert sorted(states) == [0, 1]
    assert offsets == harness.consumer.fetched == dict.fromkeys(harness.assigned, 3)
    assert harness.health.phase is Phase.RUNNING


@pytest.mark.parametrize("sign", [1, -1])
def test_an_instance_with_a_wrong_clock_takes_no_partition(harness: Harness, sign: int) -> None:
    """Domain §8: 60 s either way."""
    with pytest.raises(Blocked, match="off the broker's"):
        harness.take(sign * (CLOCK_DIFFERENCE_MS_MAX + 1))
    assert harness.alarms == ["CLOCK_OFF"]
    assert harness.consumer.fetched == {}


def test_an_instance_with_an_unchecked_clock_takes_no_partition(harness: Harness) -> None:
    """Domain §8: no answer does not mean that the clock is right. The check is repeated, but not
    for ever.
    """
    with pytest.raises(Blocked, match="did not report its time, 3 times: _TIMED_OUT"):
        harness.take(*[UNKNOWN] * CLOCK_TRIES_MAX)
    assert harness.consumer.fetched == {}
    assert harness.alarms == []


def test_an_answer_at_the_last_try_counts(harness: Harness) -> None:
    harness.take(*[UNKNOWN] * (CLOCK_TRIES_MAX - 1), 0)
    assert harness.consumer.fetched != {}
    with pytest.raises(Blocked, match="off the broker's"):
        harness.take(*[UNKNOWN] * (CLOCK_TRIES_MAX - 1), 2 * CLOCK_DIFFERENCE_MS_MAX)


def test_a_lost_log_tail_shows_as_halted_at_every_check(harness: Harness) -> None:
    """Between two checks it used to show as restoring, and the alert on halted partitions fired
    again.
    """
    harness.floors = {1: 5}
    seen = []
    for _ in range(3):
        with pytest.raises(Blocked, match="LOG_TAIL_LOST") as blocked:
            harness.take(0)
        assert blocked.value.phase is Phase.HALTED
        harness.health.report(blocked.value.phase, blocked.value.reason)  # as the loop does
        seen.append((harness.partitions("halted"), harness.partitions("restoring")))
    assert seen == [(2.0, 0.0)] * 3
    harness.floors = {}
    harness.take(0)
    assert harness.health.phase is Phase.RUNNING
    assert harness.partitions("halted") == 0.0


def test_a_halted_partition_does_not_show_as_restoring_during_a_check(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.floors = {1: 5}
    phases: list[Phase] = []
    monkeypatch.setattr(harness.health, "report", lambda phase, reason: phases.append(phase))
    harness.health.phase = Phase.HALTED
    with pytest.raises(Blocked):
        harness.take(0)
    assert Phase.RESTORING not in phases


def test_a_first_record_without_its_state_is_blocked_and_never_folded(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-03: one transaction writes both. Folded, it would take effect; dropped, the honest input
    would create the key a second time. Its inputs are parked until the state topic has its state.
    """
    forged = LogRecord("journal", 0, 0, 0, b"forged", b'{"key":"forged","n":1,"value":"x"}', [])
    journal = [forged]
    monkeypatch.setattr(
        engine.loop.assignment_setup,
        "read_all",
        lambda *_, start, **__: iter([journal][start[0] :]),
    )
    harness.ends.journal = 1
    for _ in range(2):
        states, _ = harness.take(0)
        with pytest.raises(ValueError):
            states[0].get("forged")
        assert harness.alarms == ["FOREIGN_RECORD"]
        harness.restart()
    good = Toy(2)._encode(Count("forged", 1, None, False))
    states[0].load([("forged", good)], 1, 0)
    assert states[0].get("forged").sequence == 1


@pytest.mark.parametrize("ruled", [True, False])
def test_blocked_inputs_continue_once_the_record_is_ruled_foreign(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, ruled: bool
) -> None:
    """Until then each start reports it again; afterwards the honest input creates the key."""
    journal = [LogRecord("journal", 0, 0, 0, b"forged", b'{"key":"forged","n":1,"value":"x"}', [])]
    monkeypatch.setattr(
        engine.loop.assignment_setup,
        "read_all",
        lambda *_, start, **__: iter([journal[start[0] :]]),
    )
    harness.ends.journal = 1
    harness.take(0)
    harness.restart()
    if ruled:
        journal.clear()
    states, _ = harness.take(0)
    if ruled:
        assert states[0].get("forged") is None
        harness.restart()
        assert harness.take(0)[0][0].get("forged") is None
        assert harness.alarms == []
    else:
        assert harness.alarms == ["FOREIGN_RECORD"]
        with pytest.raises(ValueError):
            states[0].get("forged")
