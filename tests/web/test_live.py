"""The ticker: what changed is sent once, the tick each time, and one drawing serves everybody."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from engine.clock import SystemClock
from readmodel.ports import ReadModelDown
from web.live import Live

pytestmark = pytest.mark.slow


class Drawing:
    """Parts of which one never changes; `down` while the read model does not answer."""

    def __init__(self) -> None:
        self.count = 0
        self.down = False

    def __call__(self) -> dict[str, str]:
        if self.down:
            raise ReadModelDown("a test")
        self.count += 1
        return {"tick": "<i>same</i>", "still": "same", "moves": str(self.count)}


async def watched(live: Live, seconds: float) -> Counter[str]:
    """The names of what one watcher gets in that time."""
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


def test_twenty_watchers_cost_one_drawing_a_tick() -> None:
    """What does not change is sent once; the tick says each time that it was looked at."""
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


def test_no_tick_is_sent_while_nothing_can_be_read() -> None:
    drawing = Drawing()
    drawing.down = True
    names = asyncio.run(watched(Live(drawing, SystemClock(), lambda: False), 1.5))
    assert names == Counter()
