"""Waiters are notified when the read model advances; without waiters it is not polled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from api.actions.projection_watcher import LOOK_S, ProjectionWatcher
from readmodel.ports import ReadModelDown
from schemas import topology

pytestmark = pytest.mark.slow

SECONDS_MAX = 5.0
QUIET_SECONDS = 20 * LOOK_S


class Offsets:
    """The part of a Reader used here."""

    def __init__(self) -> None:
        self.now = {(topology.EVENTS, 0): 3, (topology.EVENTS, 1): 5, (topology.OUTCOMES, 1): 1}
        self.looks = 0
        self.down = False

    def projected(self) -> dict[tuple[str, int], int]:
        self.looks += 1
        if self.down:
            raise ReadModelDown("away")
        return dict(self.now)


@pytest.fixture
def model() -> Offsets:
    return Offsets()


@pytest.fixture
def movement(model: Offsets) -> Iterator[ProjectionWatcher]:
    reader: Any = model
    made = ProjectionWatcher(reader)
    yield made
    made.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(LOOK_S)


def test_only_waiters_on_the_partition_that_advanced_are_notified(
    model: Offsets, movement: ProjectionWatcher
) -> None:
    with movement.of(0) as other, movement.of(1) as first, movement.of(1) as second:
        until(lambda: model.looks > 2)
        for each in (other, first, second):
            each.clear()
        model.now[topology.OUTCOMES, 1] += 1  # not an event
        assert not first.wait(QUIET_SECONDS)
        model.now[topology.EVENTS, 1] += 2
        assert first.wait(SECONDS_MAX)
        assert second.wait(SECONDS_MAX)
        assert not other.wait(QUIET_SECONDS)


def test_the_read_model_is_not_polled_without_waiters(
    model: Offsets, movement: ProjectionWatcher
) -> None:
    with movement.of(0):
        until(lambda: model.looks > 2)
    time.sleep(2 * LOOK_S)
    looks = model.looks
    time.sleep(QUIET_SECONDS)
    assert model.looks == looks
    with movement.of(1):
        until(lambda: model.looks > looks)


def test_progress_before_the_wait_is_noticed_at_the_first_poll(
    model: Offsets, movement: ProjectionWatcher
) -> None:
    """A waiter reads first and waits then: what happened in between must not be missed."""
    with movement.of(0):
        until(lambda: model.looks > 2)
    model.now[topology.EVENTS, 1] += 1
    with movement.of(1) as moved:
        assert moved.wait(SECONDS_MAX)


def test_all_waiters_are_notified_when_the_read_model_is_unavailable(
    model: Offsets, movement: ProjectionWatcher
) -> None:
    """They are woken to see it themselves, and again when it is back."""
    with movement.of(0) as moved:
        until(lambda: model.looks > 2)
        moved.clear()
        model.down = True
        assert moved.wait(SECONDS_MAX)
        moved.clear()
        model.down = False
        assert moved.wait(SECONDS_MAX)
