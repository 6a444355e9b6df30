"""The projector is killed, or its database fails, at every instant: every record is there, once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from readmodel import rows
from readmodel.model import Model, open_model
from readmodel.ports import ReadModelDown
from readmodel.writer import DatabaseWriter
from tests.clock import HeldClock
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    START_MS,
    dump,
    feed_of,
    history,
    log_of,
    model_in,
    project,
    run,
    source_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> Outside:
    return history(2)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(START_MS)


@pytest.fixture
def model(empty_url: str) -> Iterator[Model]:
    """Over SQLite and over PostgreSQL."""
    made = open_model(empty_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def expected(world: Outside, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model's content when nothing has gone wrong."""
    made = model_in(tmp_path_factory.mktemp("expected"))
    project(source_of(log_of(world)), made, world.codec, HeldClock(START_MS))
    before = dump(made)
    made.close()
    return before


class Killed(Exception):
    """The process was killed: none of its code runs any more."""


class DyingWriter:
    """A real writer whose process dies before or after one of its transactions."""

    def __init__(self, writer: DatabaseWriter, *, at: int, after: bool) -> None:
        self._writer = writer
        self._left = at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def apply(self, batch: rows.Batch) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        self._writer.apply(batch)
        if self._left == 0:
            raise Killed


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_batch_before_or_after_its_transaction_it_doubles_and_skips_nothing(
    world: Outside, model: Model, clock: HeldClock, expected: dict[str, Any], after: bool
) -> None:
    """A crash between apply and the next batch: the offsets in the database are the truth."""
    deaths = 0
    for at in (1, 2, 1, 3, 1, 1, 5, 2, 1, 1):
        writer, reader = model.writer(), model.reader()
        feed = feed_of(
            source_of(log_of(world), seed=at),
            DyingWriter(writer, at=at, after=after),
            world.codec,
            clock,
        )
        feed.open(reader)
        try:
            run(feed, clock)
        except Killed:
            deaths += 1
        writer.close()
        reader.close()
    assert deaths >= 5
    project(source_of(log_of(world), seed=3), model, world.codec, clock)
    assert dump(model) == expected


class MuteWriter:
    """A real writer whose answer is lost each time, before or after the transaction."""

    def __init__(self, writer: DatabaseWriter) -> None:
        self._writer = writer
        self.lost = 0
        self._tries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def apply(self, batch: rows.Batch) -> None:
        self._tries += 1
        if self._tries % 3 == 1:
            self.lost += 1
            raise ReadModelDown("gone before")
        if self._tries % 3 == 2:
            self._writer.apply(batch)
            self.lost += 1
            raise ReadModelDown("gone after")
        self._writer.apply(batch)


def test_a_lost_transaction_answer_is_no_repeat_and_no_second_projector(
    world: Outside, model: Model, clock: HeldClock, expected: dict[str, Any]
) -> None:
    writer, reader = model.writer(), model.reader()
    mute = MuteWriter(writer)
    feed = feed_of(source_of(log_of(world), seed=6), mute, world.codec, clock)
    feed.open(reader)
    quiet = 0
    while quiet < 3:
        try:
            quiet = quiet + 1 if feed.step(0.0) is None else 0
            clock.advance(600)
        except ReadModelDown:
            quiet = 0
    writer.close()
    reader.close()
    assert mute.lost > 5
    assert dump(model) == expected


def test_a_failed_lookup_leaves_the_fold_unchanged(
    world: Outside, model: Model, clock: HeldClock, expected: dict[str, Any]
) -> None:
    """The database fails between reading and folding: the same records are folded again."""

    class Failing:
        def __init__(self, writer: DatabaseWriter) -> None:
            self._writer = writer
            self.failures = 0
            self._chance = random.Random(7)

        def __getattr__(self, name: str) -> Any:
            answer = getattr(self._writer, name)
            if name not in {"snapshots", "approvals_of", "conflicts_of", "minutes"}:
                return answer

            def requested(*given: Any) -> Any:
                if self._chance.random() < 0.4:
                    self.failures += 1
                    raise ReadModelDown("away")
                return answer(*given)

            return requested

    half = log_of(world)
    project(source_of(half[: len(half) // 4]), model, world.codec, clock)
    writer, reader = model.writer(), model.reader()
    failing = Failing(writer)
    feed = feed_of(source_of(half, seed=1), failing, world.codec, clock)
    feed.open(reader)
    quiet = 0
    while quiet < 3:
        try:
            quiet = quiet + 1 if feed.step(0.0) is None else 0
            clock.advance(600)
        except ReadModelDown:
            quiet = 0
    writer.close()
    reader.close()
    assert failing.failures > 5
    assert dump(model) == expected
