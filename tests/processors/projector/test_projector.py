"""The running projector: crashes, fences, lost logs, halts, and a rebuild beside it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from engine.errors import Exit
from engine.loop.watch import Phase
from processors.projector.feed import LOG_START_LOST, LOG_TAIL_LOST, PARTITIONS_CHANGED
from processors.projector.process import FENCED, STANDS_BY
from readmodel.database.postgres import PROJECTOR
from readmodel.model import Model, open_model
from readmodel.ports import Fenced
from schemas import topology as t
from tests.clock import HeldClock
from tests.postgres import Postgres
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    START_MS,
    MemorySource,
    dump,
    feed_of,
    log_of,
    project,
    run,
    source_of,
)
from tests.processors.projector.running import Running

pytestmark = pytest.mark.slow

END_ITS_CLAIM = """
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND classid = %s AND datname = current_database()
"""


# -- the log has changed ---------------------------------------------------------------------------


def opens(model: Model, source: MemorySource, world: Outside, clock: HeldClock) -> Exit:
    writer, reader = model.writer(), model.reader()
    try:
        with pytest.raises(Exit) as caught:
            feed_of(source, writer, world.codec, clock).open(reader)
    finally:
        writer.close()
        reader.close()
    return caught.value


def test_a_log_that_starts_after_our_offset_requires_a_rebuild(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    source = source_of(log_of(world))
    project(source, model, world.codec, clock)
    source.low[t.OUTCOMES, 0] = 10_000
    end = opens(model, source, world, clock)
    assert end.code == LOG_START_LOST
    assert "npp replay rebuild" in end.detail


def test_a_rebuild_needs_the_journal_from_its_beginning(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    source = source_of(log_of(world))
    source.low[t.EVENTS, 1] = 1
    assert opens(model, source, world, clock).code == LOG_START_LOST


def test_a_topic_shortened_by_retention_is_read_from_its_start(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """Outcomes are kept for ten years: a new model starts with those that exist."""
    log = [r for r in log_of(world) if r.topic != t.OUTCOMES or r.offset >= 5]
    source = source_of(log)
    source.low[t.OUTCOMES, 0] = 5
    project(source, model, world.codec, clock)
    reader = model.reader()
    assert reader.projected()[t.OUTCOMES, 0] == len(world.driver.committed(t.OUTCOMES))
    reader.close()


def test_a_log_that_ends_before_our_offset_halts(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    log = log_of(world)
    project(source_of(log), model, world.codec, clock)
    last = max(r.offset for r in log if r.topic == t.EVENTS and r.partition == 0)
    cut = [r for r in log if (r.topic, r.partition, r.offset) != (t.EVENTS, 0, last)]
    assert opens(model, source_of(cut), world, clock).code == LOG_TAIL_LOST


def test_a_partition_count_other_than_the_recorded_one_is_refused(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    log = log_of(world)
    more = MemorySource(log, {t.EVENTS: 7, t.OPERATOR_COMMANDS: 6, t.CHECKPOINTS: 6})
    project(source_of(log), model, world.codec, clock)
    assert opens(model, more, world, clock).code == PARTITIONS_CHANGED
    fewer = source_of(log)
    del fewer.log[t.EVENTS, 5]
    assert opens(model, fewer, world, clock).code == PARTITIONS_CHANGED


# -- two projectors, halts, and the whole process --------------------------------------------------


def test_of_two_projectors_one_is_fenced_and_nothing_is_doubled(
    world: Outside, model: Model, clock: HeldClock, expected: dict[str, Any]
) -> None:
    writers = [model.writer(), model.writer()]
    reader = model.reader()
    feeds = [
        feed_of(source_of(log_of(world), seed=seed), writer, world.codec, clock)
        for seed, writer in enumerate(writers)
    ]
    for feed in feeds:
        feed.open(reader)
    feeds[0].step(0.0)
    with pytest.raises(Fenced):
        run(feeds[1], clock)
    for writer in writers:
        writer.close()
    reader.close()
    project(source_of(log_of(world)), model, world.codec, clock)
    assert dump(model) == expected


def test_it_is_ready_once_caught_up_and_its_figures_are_the_models(
    world: Outside, model: Model, expected: dict[str, Any]
) -> None:
    """DEP-04."""
    running = Running(source_of(log_of(world), seed=1), model, world)
    running.until(lambda: running.probes.ready()[0] and dump(model) == expected)
    running.until(lambda: running.metric("npp_projector_delay_seconds", topic=t.EVENTS) == 0)
    records_read = len(world.driver.committed(t.EVENTS))
    assert running.metric("npp_projector_records_total", topic=t.EVENTS) == records_read
    settled = expected["counts"].get("state:SETTLED", 0)
    running.until(lambda: running.metric("npp_read_model_payments", state="SETTLED") == settled)
    assert running.probes.started()[0]
    assert running.probes.live()[0]
    running.stop()
    assert running.ended is None


def test_a_fenced_projector_exits_with_an_explanation(world: Outside, model: Model) -> None:
    log = log_of(world)
    running = Running(source := source_of(log[:1]), model, world)
    running.until(lambda: running.probes.ready()[0])
    project(source_of(log), model, world.codec, HeldClock(START_MS))
    for record in log[1:]:
        source.append(record)
    running.until(lambda: running.ended is not None)
    assert running.ended is not None
    assert running.ended.code == FENCED
    assert "another projector writes this read model" in running.ended.detail


def test_a_second_projector_stands_by_and_continues_where_the_first_one_ends(
    world: Outside, empty_url: str, expected: dict[str, Any]
) -> None:
    """DEP-04, one projector per read model: no crash, no fence, nothing doubled or skipped."""
    log = log_of(world)
    cut = len(log) // 2
    models = [open_model(empty_url) for _ in range(2)]
    sources = [source_of(log[:cut], seed=seed) for seed in range(2)]
    first = Running(sources[0], models[0], world)
    first.until(lambda: first.probes.ready()[0])
    second = Running(sources[1], models[1], world)
    second.until(lambda: second.health.reason == STANDS_BY)
    for record in log[cut : cut + 5]:
        for source in sources:
            source.append(record)
    first.until(lambda: first.probes.ready()[0])
    assert (second.probes.live()[0], second.probes.ready()[0]) == (True, False)
    assert second.metric("npp_projector_delay_seconds", topic=t.EVENTS) == 0
    assert second.metric("npp_projector_generation") == 0
    first.stop()
    second.until(lambda: second.probes.ready()[0])
    third = Running(source_of(log), models[0], world)
    third.until(lambda: third.health.reason == STANDS_BY)
    for record in log[cut + 5 :]:
        sources[1].append(record)
    second.until(lambda: dump(models[1]) == expected)
    for running in (third, second):
        running.stop()
    assert (first.ended, second.ended, third.ended) == (None, None, None)
    for model in models:
        model.close()


def test_a_projector_that_lost_the_claim_stands_by_and_does_not_exit(
    world: Outside, postgres: Postgres, expected: dict[str, Any]
) -> None:
    """The server closed the connection that held it, and another projector took the claim."""
    log = log_of(world)
    with postgres.database() as url:
        model = open_model(url)
        first = Running(source := source_of(log[:-40]), model, world)
        first.until(lambda: first.probes.ready()[0])
        assert model.claim() is None
        other = None
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as server:
            while other is None:
                server.execute(END_ITS_CLAIM, [PROJECTOR])
                other = model.claim()
        project(source_of(log), model, world.codec, HeldClock(START_MS))
        for record in log[-40:]:
            source.append(record)
        first.until(lambda: first.health.reason == STANDS_BY)
        other.close()
        first.until(lambda: first.probes.ready()[0])
        assert dump(model) == expected
        first.stop()
        assert first.ended is None
        model.close()


def test_an_inconsistent_journal_halts_it_and_keeps_it_running(
    world: Outside, model: Model
) -> None:
    """It stays live and not ready until an operator has acted."""
    log = log_of(world)
    events = [r for r in log if r.topic == t.EVENTS]
    bad = [r for r in log if (r.partition, r.offset) != (events[0].partition, 1)]
    running = Running(source_of(bad), model, world)
    running.until(lambda: running.health.phase is Phase.HALTED)
    ready, said = running.probes.ready()
    assert not ready
    assert "the event before it hashes to" in said["reason"]
    assert running.probes.live()[0]
    assert running.metric("npp_projector_halted") == 1
    running.stop()
    assert running.ended is None


# -- rebuild ---
