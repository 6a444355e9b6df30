"""Live dashboards: one task renders the parts every TICK_S, all watchers get those that changed.

A watcher keeps only the hash of each part that it was sent. The task runs only while there are
watchers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from api.edge.params import in_thread
from api.stream.places import Place, Places
from engine.clock import Clock
from readmodel.ports import ReadModelDown

log = structlog.get_logger("npp.web.live")

TICK_S: Final = 1.0
WAIT_S_MAX: Final = 5.0  # then a watcher checks that the task still runs
WATCHERS_MAX: Final = 300
WATCHERS_OF_ONE_MAX: Final = 20
RETRY_MS: Final = 1_000  # what browsers wait before they reconnect
TICK: Final = "tick"

Parts = Mapping[str, str]  # name → HTML


class Live:
    """For one event loop. `draw` gives the parts as HTML; it may block, and runs in a thread."""

    def __init__(self, draw: Callable[[], Parts], clock: Clock, stopping: Callable[[], bool]):
        self._draw = draw
        self._clock = clock
        self._stopping = stopping
        self._watchers = Places[Place](
            clock, "dashboards", count_max=WATCHERS_MAX, of_one_max=WATCHERS_OF_ONE_MAX
        )
        self._ticker: asyncio.Task[None] | None = None
        self._parts: Parts = {}
        self._turned = asyncio.Condition()
        self.draws = 0

    @property
    def count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def admit(self, person: str) -> Place:
        """Add a watcher. Raises Problem (429) when the maximum number of dashboards is open."""
        return self._watchers.take(Place(person))

    async def watch(
        self, place: Place, until_ms: int, revoked: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[bytes]:
        """Server-sent events until the session ends (`until_ms`, epoch ms), is revoked, or the
        process stops.
        """
        sent: dict[str, int] = {}
        drawn = -1
        self._watchers.begin(place)
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._stopping():
                if self._ticker is None or self._ticker.done():
                    self._parts = {}
                    self._ticker = asyncio.create_task(self._tick())
                if self._clock.now_ms() >= until_ms or revoked():
                    yield message("signed-out", "")
                    return
                # The tick is sent after every rendering, also when nothing has changed.
                new, drawn = self.draws != drawn, self.draws
                for name, html in self._parts.items():
                    if sent.get(name) != hash(html) or (name == TICK and new):
                        sent[name] = hash(html)
                        yield message(name, html)
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_S_MAX), self._turned:
                        await self._turned.wait()
        finally:
            self._watchers.leave(place)
            if not self._watchers and self._ticker is not None:
                self._ticker.cancel()
                with suppress(asyncio.CancelledError):
                    await self._ticker
                self._ticker = None

    async def _tick(self) -> None:
        while not self._stopping():
            begun = self._clock.monotonic_s()
            try:
                self._parts = await in_thread(self._draw)
                self.draws += 1
            except ReadModelDown as down:
                log.warning("dashboards wait", reason=str(down))
            async with self._turned:
                self._turned.notify_all()
            await asyncio.sleep(max(0.05, TICK_S - (self._clock.monotonic_s() - begun)))
        async with self._turned:
            self._turned.notify_all()


def message(name: str, html: str) -> bytes:
    """One server-sent event; each line of the HTML is a data line."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()


def behind_ms(now_ms: int, made_ms: int, delay_ms: int | None) -> int | None:
    """The age of the shown data in ms: the read model's delay plus the time since it was read. None
    if the delay is unknown, because Kafka does not answer.
    """
    return None if delay_ms is None else max(0, now_ms - made_ms) + delay_ms
