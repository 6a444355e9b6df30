"""After a ruling that a record of the journal is FOREIGN, the read model is as if the record had
never existed, whenever the ruling comes (domain §10), on SQLite and on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from core.control_records import TAKEN_AS_RECORDED
from core.payment import events as e
from core.payment.state import CorruptHistory
from core.values import ConflictId, external_ref
from engine.loop.watch import Phase
from engine.records import LogRecord
from readmodel import minutes
from readmodel.model import Model, open_model
from readmodel.ports import Fenced
from readmodel.rows import Batch, MinuteRow, Moved
from schemas import topology as t
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.foreign import ask, confirm, forged, rule
from tests.processors.projector.harness import (
    START_MS,
    MemorySource,
    dump,
    feed_of,
    log_of,
    model_in,
    project,
    run,
    source_of,
)
from tests.processors.projector.running import Running
from tests.processors.projector.test_crashes import DyingWriter, Killed

pytestmark = pytest.mark.slow


@pytest.fixture
def world() -> Outside:
    """One payment is with the rail, another beside it settles in the same minute."""
    made = Outside()
    for key in ("beside", "other"):
        made.report(made.create(key), "SETTLED")
    return made


@pytest.fixture
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[list[LogRecord]], Any]]:
    """The model's content of this log alone, as `seen` gives it."""
    models: list[Model] = []

    def said(log: list[LogRecord]) -> Any:
        models.append(model_in(tmp_path_factory.mktemp("clean")))
        project(source_of(log), models[-1], Outside().codec, HeldClock(START_MS))
        return seen(models[-1])

    yield said
    for model in models:
        model.close()


def seen(model: Model) -> Any:
    """Everything that a reader can see. Minutes are given as figures, without empty ones and
    without the offset that only orders them.
    """
    before = dump(model)
    before["minutes"] = [figures(row) for row in before["minutes"] if any(figures(row)[2:])]
    return before


def figures(row: MinuteRow) -> tuple[Any, ...]:
    counted = minutes.unpack(row.figures)
    counted.offset = -1
    histogram = counted.histogram if any(counted.histogram) else []
    fields = msgspec.structs.astuple(msgspec.structs.replace(counted, histogram=histogram))
    return (row.partition, row.minute, *fields[:-1])


def without(log: list[LogRecord], *gone: LogRecord) -> list[LogRecord]:
    return [record for record in log if record not in gone]


def answered(header: Any) -> e.Event:
    """It brings an approval, an identifier and a latency."""
    return e.RailStatusReported(
        header=msgspec.structs.replace(header, state_after="SENT"),
        external_ref=external_ref(header.payment_intent_id, 1), kind="RECEIVED",
        adapter="simulator", code=None, amount=None, currency=None,
        rail_message_id="MSG-FORGED", transaction_id=None, details=None,
        submitted_at=1, answered_at=5_000, technical_result=None, via_enquiry=False,
        adapter_stopped=False, assigned_from=None,
    )  # fmt: skip


def requested(header: Any) -> e.Event:
    return e.OperatorActionRequested(
        header=msgspec.structs.replace(header, state_after="SENT", approval_id="apr_999"),
        action="CANCEL", phase="SENT", requester="ops_666", text="forged", expires_at=2**40,
        failure_reason=None, conflict_id=None, verdict=None, amount=None, frozen_until=None,
    )  # fmt: skip


def in_conflict(header: Any) -> e.Event:
    return e.ReconciliationRequired(
        header=msgspec.structs.replace(header, state_after="SENT"),
        conflict_id=ConflictId("cnf_001"), kind="AMOUNT_DIFFERS", external_ref=None,
        detail="forged",
    )  # fmt: skip


@pytest.mark.parametrize("make", [None, answered, requested, in_conflict])
def test_a_record_projected_before_the_ruling_is_removed_with_all_its_effects(
    world: Outside, model: Model, clock: HeldClock, clean: Callable[..., Any], make: Any
) -> None:
    """State, counts, approvals, conflicts, identifiers and the minute's figures."""
    payment = world.create("k")
    foreign = forged(world, payment, make)
    project(source_of(log_of(world)), model, world.codec, clock)
    before = seen(model)
    rule(world, foreign)
    project(source_of(log_of(world)), model, world.codec, clock)
    assert seen(model) == clean(without(log_of(world), foreign)) | {
        "projected": seen(model)["projected"]
    }
    assert before["events"] != seen(model)["events"]
    assert seen(model) == clean(log_of(world)), "a rebuild says the same"


def test_a_payment_created_only_by_the_foreign_record_disappears(
    world: Outside, model: Model, clock: HeldClock, clean: Callable[..., Any]
) -> None:
    other = Outside()
    payment = other.create("not requested")
    made = next(r for r in other.driver.committed(t.EVENTS) if r.key == payment.encode())
    foreign = world.driver._append(t.EVENTS, made.partition, made.key, made.value, [], None)
    project(source_of(log_of(world)), model, world.codec, clock)
    reader = model.reader()
    assert reader.payment(payment) is not None
    rule(world, foreign)
    project(source_of(log_of(world)), model, world.codec, clock)
    assert reader.payment(payment) is None
    assert reader.events(payment, 0, 10) == []
    assert seen(model) == clean(log_of(world))
    reader.close()


def test_a_projector_halted_by_the_next_event_continues_after_the_ruling(
    world: Outside, model: Model, clean: Callable[..., Any]
) -> None:
    """Without a restart, and not before the second person has confirmed."""
    payment = world.create("k")
    source = source_of(log_of(world))
    taken = {(r.topic, r.partition, r.offset) for r in log_of(world)}

    def append() -> None:
        for record in log_of(world):
            if (record.topic, record.partition, record.offset) not in taken:
                taken.add((record.topic, record.partition, record.offset))
                source.append(record)

    running = Running(source, model, world)
    running.until(lambda: running.probes.ready()[0])
    foreign = forged(world, payment)
    append()
    running.until(lambda: at_sequence(model, payment) == sequence_of(world, foreign))
    world.report(payment, "ACCEPTED", code="ACSP")
    append()
    running.until(lambda: running.health.phase is Phase.HALTED)
    assert running.metric("npp_projector_halted") == 1
    request = ask(world, foreign)
    append()
    running.until(lambda: running.health.phase is Phase.HALTED)
    assert running.metric("npp_projector_halted") == 1
    confirm(world, request)
    append()
    running.until(lambda: running.metric("npp_projector_halted") == 0)
    expected = clean(log_of(world))
    running.until(lambda: seen(model) == expected)
    running.until(lambda: running.probes.ready()[0])
    running.stop()
    assert running.ended is None


def at_sequence(model: Model, payment: str) -> int:
    reader = model.reader()
    try:
        row = reader.payment(payment)
        return 0 if row is None else row.sequence
    finally:
        reader.close()


def sequence_of(world: Outside, record: LogRecord) -> int:
    return int(world.codec.decode(t.EVENTS, record.value).header.sequence)


def test_the_order_of_arrival_makes_no_difference_to_the_model(
    world: Outside, empty_url: str, clock: HeldClock, clean: Callable[..., Any]
) -> None:
    """Topics are read in any order and in portions of any size, rulings and journal too."""
    payment = world.create("k")
    foreign = forged(world, payment)
    world.report(payment, "ACCEPTED", code="ACSP")
    rule(world, foreign)
    world.report(payment, "SETTLED", code="ACSC")
    expected = clean(without(log_of(world), foreign))
    for seed in range(5):
        model = open_model(empty_url)
        new = model.writer(model.new_generation())
        feed = feed_of(source_of(log_of(world), seed=seed), new, world.codec, clock)
        feed.open(None)
        run(feed, clock)
        new.close()
        model.switch_to(model.generations()[-1])
        assert seen(model) == expected
        model.close()


def test_before_the_ruling_the_record_is_not_skipped(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    payment = world.create("k")
    foreign = forged(world, payment)
    world.report(payment, "ACCEPTED", code="ACSP")
    ask(world, foreign)
    rule(world, foreign, TAKEN_AS_RECORDED)  # stays in the chain: later events do not fit
    with pytest.raises(CorruptHistory, match="the event before it hashes to"):
        project(source_of(log_of(world)), model, world.codec, clock)


def test_a_record_taken_as_recorded_stays(world: Outside, model: Model, clock: HeldClock) -> None:
    foreign = forged(world, world.create("k"))
    project(source_of(log_of(world)), model, world.codec, clock)
    before = seen(model)
    rule(world, foreign, TAKEN_AS_RECORDED)
    project(source_of(log_of(world)), model, world.codec, clock)
    for name in ("payments", "events", "minutes", "counts", "found"):
        assert seen(model)[name] == before[name]


@pytest.mark.parametrize("after", [False, True])
def test_killed_before_or_after_the_removing_transaction_nothing_is_lost(
    world: Outside, model: Model, clock: HeldClock, clean: Callable[..., Any], after: bool
) -> None:
    """Two foreign records of two payments; the projector dies at each transaction of the ruling."""
    foreign = [forged(world, world.create(key)) for key in ("k", "l")]
    project(source_of(log_of(world)), model, world.codec, clock)
    for record in foreign:
        rule(world, record)
    deaths = 0
    for at in (1, 1, 2):
        writer, reader = model.writer(), model.reader()
        dying = DyingWriter(writer, at=at, after=after)
        feed = feed_of(source_of(log_of(world)), dying, world.codec, clock)
        feed.open(reader)
        try:
            run(feed, clock)
        except Killed:
            deaths += 1
        writer.close()
        reader.close()
    assert deaths >= 1 + after
    project(source_of(log_of(world)), model, world.codec, clock)
    assert seen(model) == clean(log_of(world))


def test_another_projector_that_writes_meanwhile_fences_this_one(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """Removal is a compare-and-set on the journal's offset, like every other batch."""
    payment = world.create("k")
    foreign = forged(world, payment)
    project(source_of(log_of(world)), model, world.codec, clock)
    rule(world, foreign)
    writer, reader, other = model.writer(), model.reader(), model.writer()
    feed = feed_of(source_of(log_of(world)), writer, world.codec, clock)
    feed.open(reader)
    place = (t.EVENTS, foreign.partition)
    at = other.offsets()[place]
    other.apply(Batch(moved=[Moved(topic=place[0], partition=place[1], before=at, after=at + 1)]))
    with pytest.raises(Fenced):
        feed.step(0.0)
    assert reader.events(payment, 0, 100)[-1].offset == foreign.offset, "nothing was written"
    for each in (writer, reader, other):
        each.close()


def test_the_control_topic_is_read_to_its_end_before_the_first_batch(
    world: Outside, model: Model, clock: HeldClock
) -> None:
    """Wherever its rows are."""
    foreign = forged(world, world.create("k"))
    rule(world, foreign)
    source: MemorySource = source_of(log_of(world))
    writer = model.writer()
    feed = feed_of(source, writer, world.codec, clock)
    feed.open(None)
    assert feed.projection.rulings.obeyed.skips(foreign.partition, foreign.offset, foreign.value)
    writer.close()
