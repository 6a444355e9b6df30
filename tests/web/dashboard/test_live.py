"""The ticker: changes are sent once, the tick each time, and one drawing serves every client."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from api.edge.problems import Problem
from api.stream.places import BEGIN_S_MAX
from engine.clock import SystemClock
from readmodel.ports import ReadModelDown
from tests.clock import HeldClock
from web.dashboard.live import WATCHERS_OF_ONE_MAX, Live

pytestmark = pytest.mark.slow


class Drawing:
    """Parts, one of which never changes; `down` while the read model does not answer."""

    def __init__(self) -> None:
        self.count = 0
        self.down = False

    def __call__(self) -> dict[str, str]:
        if self.down:
            raise ReadModelDown("a test")
        self.count += 1
        return {"tick": "<i>same</i>", "still": "same", "moves": str(self.count)}


async def watched(live: Live, seconds: float) -> Counter[str]:
    """The names of the parts that one client receives in that time."""
    names: Counter[str] = Counter()

    async def follow() -> None:
        async for chunk in live.watch(live.admit("vera"), 2**62):
            if chunk.startswith(b"event: "):
                names[chunk.split(b"\n")[0].removeprefix(b"event: ").decode()] += 1

    task = asyncio.create_task(follow())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return names


def test_twenty_clients_cost_one_drawing_per_tick() -> None:
    """An unchanged part is sent once; each tick says that it was checked."""
    drawing = Drawing()
    live = Live(drawing, SystemClock(), lambda: False)

    async def run() -> list[Counter[str]]:
        return await asyncio.gather(*(watched(live, 3.5) for _ in range(20)))

    for names in asyncio.run(run()):
        assert names["still"] == 1
        assert names["tick"] >= 2
        assert names["moves"] == names["tick"]
    assert drawing.count <= 5
    assert live.count == 0


def test_no_tick_is_sent_while_the_read_model_is_unavailable() -> None:
    drawing = Drawing()
    drawing.down = True
    names = asyncio.run(watched(Live(drawing, SystemClock(), lambda: False), 1.5))
    assert names == Counter()


def test_a_client_that_went_away_before_its_stream_began_leaves_its_place() -> None:
    clock = HeldClock(0)
    live = Live(Drawing(), clock, lambda: False)
    for _ in range(WATCHERS_OF_ONE_MAX):
        live.admit("vera")
    clock.advance(int(BEGIN_S_MAX * 1_000))
    with pytest.raises(Problem, match="TOO_MANY_STREAMS"):
        live.admit("vera")
    clock.advance(1)
    live.admit("vera")
    assert live.count == 1


def test_a_stream_that_has_begun_keeps_its_place() -> None:
    clock = HeldClock(0)
    live = Live(Drawing(), clock, lambda: False)

    async def run() -> None:
        streams = [live.watch(live.admit("vera"), 2**62) for _ in range(WATCHERS_OF_ONE_MAX)]
        for each in streams:
            await anext(each)
        clock.advance(int(BEGIN_S_MAX * 2_000))
        with pytest.raises(Problem, match="TOO_MANY_STREAMS"):
            live.admit("vera")

    asyncio.run(run())
