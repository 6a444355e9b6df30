"""The stages of a connection: it makes the moves that are drawn, and raises on any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from uvicorn.server import ServerState

from engine.errors import WrongOrder
from engine.serving.protocol import MOVES, BoundedProtocol, Stage
from engine.serving.server import Bounds, config
from tests.drawings import drawn_moves


async def _unused(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request is made")


def _in(stage: Stage, then: Callable[[BoundedProtocol], None]) -> Stage:
    """The stage of a connection put into `stage`, after `then`."""

    async def run() -> Stage:
        settings = config(_unused, Bounds())
        settings.load()
        made: Any = settings.http_protocol_class
        connection: BoundedProtocol = made(settings, ServerState(), {})
        connection._stage = stage
        try:
            then(connection)
        finally:
            connection._stop_clock()
        return connection._stage

    return asyncio.run(run())


def test_the_drawing_has_every_allowed_move_and_no_other() -> None:
    allowed = {(before.name, after.name) for before in Stage for after in MOVES[before]}
    assert drawn_moves(BoundedProtocol.__doc__) == allowed


@pytest.mark.parametrize(("before", "after"), list(product(Stage, Stage)))
def test_only_an_allowed_move_is_made(before: Stage, after: Stage) -> None:
    if after is before or after in MOVES[before]:
        assert _in(before, lambda connection: connection._enter(after)) is after
    else:
        with pytest.raises(WrongOrder, match=f"from {before.name} to {after.name}"):
            _in(before, lambda connection: connection._enter(after))
