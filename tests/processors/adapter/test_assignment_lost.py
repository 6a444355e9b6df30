"""An assignment lost while lanes are working: no lane fails because of it, and nothing remains."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.clock import SystemClock
from engine.ports import InputRecord
from engine.worker.lanes import Lanes, lane_of_key
from engine.worker.settings import TryAgain
from processors.adapter.metrics import AdapterMetrics
from processors.adapter.ports import Work
from processors.adapter.worker import InstructionHandler
from processors.rail.record import SubmissionRecord
from processors.rail.worker import RailHandler
from tests.clock import HeldClock
from tests.processors.rail.harness import CODEC, Harness, MemoryLog, Served

WAIT_S = 10.0
HELD = "npp_adapter_instructions_held"
OLDEST = "npp_adapter_oldest_instruction_seconds"


class Outside:
    """The outside system; a call may hang until it is released."""

    def __init__(self) -> None:
        self.hangs = False
        self.inside, self.go = threading.Event(), threading.Event()
        self.seen: list[Work] = []
        self.again_s: float | None = None

    def handle(self, work: Work) -> float | None:
        self.seen.append(work)
        if self.hangs:
            self.hangs = False
            self.inside.set()
            assert self.go.wait(WAIT_S)
        return self.again_s


class Adapter:
    """A handler over instructions on the log, and the number of its assignment."""

    def __init__(self, make: Callable[[Adapter, dict[str, Any]], InstructionHandler]) -> None:
        self.generation = 1
        self.outside = Outside()
        self.registry = CollectorRegistry()
        served = Served()
        try:
            harness = Harness(served)
            harness.instruct("ENQUIRE")
            harness.clock.advance(1_000)
            harness.instruct("ENQUIRE", number=2)
        finally:
            served.close()
        self.records = [
            InputRecord(r.topic, 0, r.offset, 0, r.key, r.value, r.headers, harness.clock.now_ms())
            for r in harness.log.of("npp.rail.submissions.v1")
        ]
        common = {
            "adapter": self.outside,
            "codec": CODEC,
            "publisher": harness.log,
            "quarantine_partitions": 1,
            "metrics": AdapterMetrics(self.registry),
            "generation": lambda: self.generation,
        }
        self.name = "rail"
        self.handler = make(self, common)

    def held(self) -> float | None:
        return self.registry.get_sample_value(HELD, {"adapter": self.name})

    def oldest(self) -> float | None:
        return self.registry.get_sample_value(OLDEST, {"adapter": self.name})


def rail(adapter: Adapter, common: dict[str, Any]) -> InstructionHandler:
    log = MemoryLog(HeldClock(0))
    return RailHandler(record=SubmissionRecord(), reader=log, clock=SystemClock(), **common)


def other(adapter: Adapter, common: dict[str, Any]) -> InstructionHandler:
    adapter.name = "deposits"
    return InstructionHandler(name="deposits", **common)


BOTH = pytest.mark.parametrize("make", [rail, other])


@BOTH
def test_a_working_lane_survives_the_loss_of_its_assignment(
    make: Callable[[Adapter, dict[str, Any]], InstructionHandler],
) -> None:
    """Meanwhile a lane of the next assignment discards the work in progress."""
    adapter = Adapter(make)
    adapter.outside.hangs = True
    first, second = adapter.records

    def work(record: InputRecord, generation: int) -> float | None:
        adapter.handler(record)
        return None

    lanes = Lanes(work, SystemClock(), threads=2)
    try:
        lanes.put(first, 1, lane_of_key(first))
        assert adapter.outside.inside.wait(WAIT_S)
        lanes.drop_waiting()
        adapter.generation = 3
        adapter.handler(second)  # as a lane of the next assignment does
        adapter.outside.go.set()
        assert lanes.wait_idle(WAIT_S)
        assert lanes.failure is None
    finally:
        lanes.close()
    assert adapter.held() == 0


@BOTH
def test_the_work_of_an_earlier_assignment_is_not_continued(
    make: Callable[[Adapter, dict[str, Any]], InstructionHandler],
) -> None:
    """Its record is read again; when the hanging call ends, it does not discard the new work."""
    adapter = Adapter(make)
    first, second = adapter.records
    adapter.outside.again_s = 5.0
    for record in (first, second):
        with pytest.raises(TryAgain):
            adapter.handler(record)
    with pytest.raises(TryAgain):
        adapter.handler(first)
    before, _, again = adapter.outside.seen
    assert again is before  # the same assignment continues with it
    assert adapter.held() == 2

    adapter.outside.hangs = True
    ended: list[object] = []
    late = threading.Thread(target=lambda: ended.append(adapter.handler(first)))
    late.start()
    assert adapter.outside.inside.wait(WAIT_S)
    adapter.generation = 2
    with pytest.raises(TryAgain):
        adapter.handler(first)
    again = adapter.outside.seen[-1]
    assert again is not before
    assert adapter.held() == 1
    adapter.outside.again_s = None
    adapter.outside.go.set()
    late.join(WAIT_S)
    assert ended == [()]
    assert adapter.held() == 1
    adapter.handler(first)
    assert adapter.outside.seen[-1] is again
    assert adapter.held() == 0


@BOTH
def test_the_oldest_instruction_in_progress_is_reported_until_it_is_done_or_revoked(
    make: Callable[[Adapter, dict[str, Any]], InstructionHandler],
) -> None:
    """INT-09: by decision time, which neither a restart nor later instructions change."""
    adapter = Adapter(make)
    first, second = adapter.records
    decided_s = [
        CODEC.decode(each.topic, each.value or b"").header.decided_at / 1_000
        for each in adapter.records
    ]
    assert str(adapter.oldest()) == "nan"
    adapter.outside.again_s = 5.0
    assert decided_s[0] < decided_s[1]
    for record, oldest in ((second, decided_s[1]), (first, decided_s[0]), (second, decided_s[0])):
        with pytest.raises(TryAgain):
            adapter.handler(record)
        assert adapter.oldest() == oldest
    adapter.outside.again_s = None
    adapter.handler(first)
    assert adapter.oldest() == decided_s[1]
    adapter.generation = 2
    assert str(adapter.oldest()) == "nan"
