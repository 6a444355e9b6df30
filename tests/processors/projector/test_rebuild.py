"""A rebuild while a projector runs: a complete build, or no change."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from core import control_records as records
from engine.clock import SystemClock
from engine.errors import Exit
from engine.records import LogRecord
from processors.projector.feed import PARTITIONS_CHANGED
from processors.projector.rebuild import Rebuild
from readmodel.model import Model
from schemas import topology as t
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    MemorySource,
    carried,
    dump,
    log_of,
    project,
    source_of,
)
from tests.processors.projector.running import SECONDS_MAX, Running

pytestmark = pytest.mark.slow


def rebuild_of(source: MemorySource, model: Model, world: Outside) -> Rebuild:
    return Rebuild(
        source=source,
        model=model,
        codec=world.codec,
        rules_of=carried,
        clock=SystemClock(),
        show=lambda done, total: None,
    )


def test_a_rebuild_beside_a_live_projector_gives_the_same_and_reads_continue(
    world: Outside, model: Model, expected: dict[str, Any]
) -> None:
    """The switch fences the projector, which continues in the new generation by itself."""
    log = log_of(world)
    late = [r for r in log if r.topic == t.OUTCOMES][-20:]
    late_places = {(r.topic, r.partition, r.offset) for r in late}
    early = [r for r in log if (r.topic, r.partition, r.offset) not in late_places]
    live = source_of(early)
    running = Running(live, model, world)
    running.until(lambda: running.probes.ready()[0])
    reader = model.reader()
    reads: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            reads.append(len(reader.attention(200, None).items))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    before = model.current()
    done = rebuild_of(source_of(early, seed=2), model, world).run()
    for record in late:
        live.append(record)
    running.until(lambda: dump(model) == expected)
    stop.set()
    thread.join(SECONDS_MAX)
    running.until(lambda: running.metric("npp_projector_generation") == done.generation)
    running.stop()
    reader.close()
    assert running.ended is None
    assert set(reads) == {len(expected["attention"])}
    assert (done.replaced, done.dropped) == (before, [before])
    assert done.events == len(world.driver.committed(t.EVENTS))
    assert model.generations() == [done.generation]


def test_a_rebuild_on_a_broken_journal_changes_nothing(
    world: Outside, model: Model, clock: HeldClock, expected: dict[str, Any]
) -> None:
    log = log_of(world)
    project(source_of(log), model, world.codec, clock)
    before = model.current()
    bad = [msgspec.structs.replace(r, value=b"x") if r.topic == t.EVENTS else r for r in log]
    with pytest.raises(Exception, match="cannot be read"):
        rebuild_of(source_of(bad), model, world).run()
    assert model.current() == before
    assert model.generations() == [before]
    assert dump(model) == expected


def test_the_first_generation_can_be_made_by_a_rebuild(
    world: Outside, model: Model, expected: dict[str, Any]
) -> None:
    done = rebuild_of(source_of(log_of(world)), model, world).run()
    assert done.replaced == 0
    assert dump(model) == expected


def test_control_records_from_before_a_restart_still_apply(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """The recorded partition count is checked when the journal's first records arrive."""
    record = records.ClusterRecorded(cluster_id="c", partitions=9, recorded_at=1, actor="admin")
    raw = world.codec.encode(t.CONTROL, record)
    source = source_of([LogRecord(t.CONTROL, 0, 0, 1, None, raw, [])])
    with pytest.raises(Exit, match=PARTITIONS_CHANGED):
        project(source, model, world.codec, clock)
