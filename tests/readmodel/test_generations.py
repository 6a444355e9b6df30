"""A rebuild fills a second generation beside the live one, and readers follow the switch, over
SQLite and PostgreSQL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import pytest

from engine.ports import TopicPartition
from readmodel import rows
from readmodel.model import Behind, Model
from readmodel.ports import Fenced, ReadModelDown
from readmodel.reader import FOLLOW_S
from tests.clock import HeldClock
from tests.readmodel.rows import JOURNAL, moved, payment

pytestmark = pytest.mark.slow

FOLLOW_MS = int(FOLLOW_S * 1_000)


def filled(model: Model, generation: int, upto: int, mark: str) -> None:
    """Write a marked payment 1, and move the journal offset from 0."""
    writer = model.writer(generation)
    writer.apply(rows.Batch(moved=[moved(0, upto)], payments=[payment(1, service=mark)]))
    writer.close()


def test_readers_follow_a_switch_within_a_second(
    read_models: Callable[[], Model], held_clock: HeldClock
) -> None:
    here, there = read_models(), read_models()
    filled(here, 1, 5, "old")
    reader = there.reader()
    assert reader.payment("pi_0001") == payment(1, service="old")
    assert here.new_generation() == 2
    filled(here, 2, 5, "new")
    held_clock.advance(10_000)
    assert reader.payment("pi_0001") == payment(1, service="old")
    here.switch_to(2)
    assert (here.current(), there.current()) == (2, 2)
    held_clock.advance(FOLLOW_MS)
    assert reader.payment("pi_0001") == payment(1, service="new")
    assert reader.generation == 2
    assert FOLLOW_S < 1


def test_there_is_no_switch_to_a_generation_that_has_read_less(read_model: Model) -> None:
    filled(read_model, 1, 5, "old")
    filled(read_model, read_model.new_generation(), 4, "new")
    with pytest.raises(Behind, match=r"npp\.payment\.events\.v1/0': 1"):
        read_model.switch_to(2)
    assert read_model.current() == 1
    writer = read_model.writer(1)
    writer.apply(rows.Batch(moved=[moved(5, 6)]))
    assert dict(writer.offsets()) == {(JOURNAL, 0): 6}


def test_during_the_final_catch_up_the_live_generation_is_not_written(
    read_models: Callable[[], Model], held_clock: HeldClock
) -> None:
    here = read_models()
    filled(here, 1, 5, "old")
    new = here.writer(here.new_generation())
    live = read_models().writer(1)
    requested: list[Mapping[TopicPartition, int]] = []
    ended: list[BaseException | None] = []
    started, other = threading.Event(), []

    def live_projector() -> None:
        started.set()
        try:
            live.apply(rows.Batch(moved=[moved(5, 6)]))
            ended.append(None)
        except (Fenced, ReadModelDown) as error:
            ended.append(error)

    def catch_up(offsets: Mapping[TopicPartition, int]) -> None:
        requested.append(dict(offsets))
        other.append(threading.Thread(target=live_projector))
        other[0].start()
        assert started.wait(10)
        new.apply(rows.Batch(moved=[moved(0, 5)]))
        assert ended == []

    here.switch_to(2, catch_up)
    other[0].join(30)
    assert requested == [{(JOURNAL, 0): 5}]
    assert [type(error) for error in ended] == [Fenced]
    assert here.current() == 2


def test_an_error_while_catching_up_leaves_the_live_generation_unchanged(read_model: Model) -> None:
    filled(read_model, 1, 5, "old")
    read_model.new_generation()
    with pytest.raises(ZeroDivisionError):
        read_model.switch_to(2, lambda _: 1 // 0)  # type: ignore[arg-type]
    assert read_model.current() == 1
    read_model.writer(1).apply(rows.Batch(moved=[moved(5, 6)]))


def test_a_replaced_generations_writer_is_fenced_for_ever(read_model: Model) -> None:
    old = read_model.writer(1)
    old.apply(rows.Batch(moved=[moved(0, 1)], payments=[payment(1)]))
    filled(read_model, read_model.new_generation(), 1, "new")
    read_model.switch_to(2)
    with pytest.raises(Fenced, match="generation 1 has been replaced"):
        old.apply(rows.Batch(moved=[moved(1, 2)], payments=[payment(2)]))
    assert set(old.snapshots(["pi_0001", "pi_0002"])) == {"pi_0001"}
    read_model.writer().apply(rows.Batch(moved=[moved(1, 2)], payments=[payment(2)]))
    assert dict(read_model.writer().offsets()) == {(JOURNAL, 0): 2}


def test_generation_numbers_rise_and_are_never_reused(read_model: Model) -> None:
    assert read_model.new_generation() == 2
    assert read_model.generations() == [1, 2]
    read_model.drop_generation(2)
    assert read_model.generations() == [1]
    assert read_model.new_generation() == 3
    assert read_model.generations() == [1, 3]


def test_the_old_generation_is_dropped_once_its_readers_have_left(
    read_model: Model, held_clock: HeldClock
) -> None:
    filled(read_model, 1, 5, "old")
    reader = read_model.reader()
    assert reader.payment("pi_0001") == payment(1, service="old")
    filled(read_model, read_model.new_generation(), 5, "new")
    read_model.switch_to(2)
    before_ms = held_clock.now_ms()
    read_model.drop_generation(1)
    assert held_clock.now_ms() - before_ms >= 2 * FOLLOW_MS
    assert read_model.generations() == [2]
    assert reader.payment("pi_0001") == payment(1, service="new")
    with pytest.raises((ReadModelDown, Exception)):
        filled(read_model, 1, 9, "ghost")
    assert read_model.generations() == [2]


def test_impossible_switches_are_refused(read_model: Model) -> None:
    with pytest.raises(ValueError, match="generation 1 is the current one"):
        read_model.drop_generation(1)
    with pytest.raises(ValueError, match="not newer"):
        read_model.switch_to(1)
    with pytest.raises(ReadModelDown, match="generation 7 of the read model is not there"):
        read_model.switch_to(7)


def test_reopening_finds_the_existing_model(
    read_models: Callable[[], Model], held_clock: HeldClock
) -> None:
    first = read_models()
    filled(first, 1, 5, "old")
    filled(first, first.new_generation(), 5, "new")
    first.switch_to(2)
    again = read_models()
    writer = again.writer()
    assert writer.generation == 2
    assert dict(writer.offsets()) == {(JOURNAL, 0): 5}
    assert again.reader().payment("pi_0001") == payment(1, service="new")
