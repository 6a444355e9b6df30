"""The projector's status machine: it makes the moves that are drawn, and raises on any other."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from engine.clock import SystemClock
from engine.errors import WrongOrder
from engine.loop.watch import Health
from processors.projector import process
from processors.projector.metrics import ProjectorMetrics
from processors.projector.process import MOVES, Projector, State
from tests.drawings import drawn_moves


def test_the_drawing_has_every_allowed_move_and_no_other() -> None:
    allowed = {(before.name, after.name) for before in State for after in MOVES[before]}
    assert drawn_moves(process.__doc__) == allowed


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_an_allowed_move_is_made(before: State, after: State) -> None:
    unused: Any = None
    registry, clock = CollectorRegistry(), SystemClock()
    projector = Projector(
        source=unused, model=unused, codec=unused, rules_of=unused, clock=clock,
        metrics=ProjectorMetrics(registry), health=Health(clock), publish_minutes=unused,
    )  # fmt: skip
    projector._state = before
    if after in MOVES[before]:
        projector._move(after)
        assert projector._state is after
        halted = after is State.HALTED
        assert registry.get_sample_value("npp_projector_halted") == halted
    else:
        with pytest.raises(WrongOrder, match=f"from {before.name} to {after.name}"):
            projector._move(after)
        assert projector._state is before
