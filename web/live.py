"""Live dashboards: one ticker draws, everybody who watches gets the parts that changed.

A watcher holds the hash of each part that it was sent, and nothing else; the ticker runs only
while somebody watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from api.edge.params import in_thread
from api.edge.problems import Problem
from engine.clock import Clock
from readmodel.ports import ReadModelDown

log = structlog.get_logger("npp.web.live")

TICK_S: Final = 1.0
WAIT_S_MAX: Final = 5.0  # then a watcher looks whether the ticker still runs
WATCHERS_MAX: Final = 300
WATCHERS_OF_ONE_MAX: Final = 20
RETRY_MS: Final = 1_000  # what browsers wait before they come back
TICK: Final = "tick"

Parts = Mapping[str, str]  # name → HTML


class Live:
    """Lives on one event loop. `draw` may block; it gives the parts as HTML."""

    def __init__(self, draw: Callable[[], Parts], clock: Clock, stopping: Callable[[], bool]):
        self._draw = draw
        self._clock = clock
        self._stopping = stopping
        self._watchers: dict[object, str] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._parts: Parts = {}
        self._turned = asyncio.Condition()
        self.draws = 0

    @property
    def count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def admit(self, person: str) -> object:
        """A place for a watcher. Raises Problem (429) when there are as many as may be."""
        own = sum(1 for each in self._watchers.values() if each == person)
        if own >= WATCHERS_OF_ONE_MAX or len(self._watchers) >= WATCHERS_MAX:
            raise Problem(
                429,
                "RATE_LIMITED",
                "TOO_MANY_STREAMS",
                "As many live dashboards as there may be are open.",
                headers={"Retry-After": "5"},
            )
        place = object()
        self._watchers[place] = person
        return place

    async def watch(
        self, place: object, until_ms: int, revoked: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[bytes]:
        """Server-sent events until the session ends, is revoked, or the process stops."""
        sent: dict[str, int] = {}
        drawn = -1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._stopping():
                if self._ticker is None or self._ticker.done():
                    self._parts = {}
                    self._ticker = asyncio.create_task(self._tick())
                if self._clock.now_ms() >= until_ms or revoked():
                    yield message("signed-out", "")
                    return
                # The tick says that all was drawn again, also when nothing has changed.
                new, drawn = self.draws != drawn, self.draws
                for name, html in self._parts.items():
                    if sent.get(name) != hash(html) or (name == TICK and new):
                        sent[name] = hash(html)
                        yield message(name, html)
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_S_MAX), self._turned:
                        await self._turned.wait()
        finally:
            self._watchers.pop(place, None)
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


def behind_ms(now_ms: int, made_ms: int, delay_ms: int | None) -> int:
    """How old what is shown is: the read model's delay and the time since it was read."""
    return max(0, now_ms - made_ms) + (delay_ms or 0)
