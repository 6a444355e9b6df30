"""Live events for many watchers: one tailer reads the read model, each watcher has a bounded queue.

An event's id is the vector of journal offsets that come next, one by partition, so a watcher goes
on where it was, at another instance or after a rebuild. A watcher that is too slow is told so and
dropped; it comes back with its last id.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import msgspec
import structlog

from api.edge.params import in_thread
from api.edge.problems import Problem, invalid
from api.edge.views import View, encode, iso
from core.values import attempt_id
from engine.clock import MS_PER_S, Clock
from readmodel.ports import Reader, ReadModelDown
from readmodel.rows import EventRow
from schemas.topology import EVENTS

log = structlog.get_logger("npp.api.stream")

WATCHERS_COUNT_MAX: Final = 200
WATCHERS_OF_ONE_MAX: Final = 10
BUFFER_COUNT_MAX: Final = 2_000  # events that a watcher may be behind
POLL_S: Final = 0.2
BEGIN_S_MAX: Final = 10.0
HEARTBEAT_S: Final = 15.0
BATCH_COUNT: Final = 500
CATCH_UP_COUNT_MAX: Final = 50_000  # further behind, a watcher is told to load again
PARTITIONS_COUNT_MAX: Final = 10_000
RETRY_MS: Final = 2_000  # what browsers wait before they come back
_ID: Final = re.compile(r"[0-9]{1,5}-[0-9]{1,18}(\.[0-9]{1,5}-[0-9]{1,18})*", re.ASCII)

Offsets = dict[int, int]


class StreamEvent(View):
    """What a live event says; its payment and events have the rest."""

    payment_intent_id: str
    sequence: int
    type: str
    timestamp: str
    from_state: str | None
    to_state: str
    attempt_id: str
    partition: int
    offset: int


class Item(msgspec.Struct, frozen=True):
    """A journal place and what is sent for it."""

    payment_intent_id: str
    partition: int
    offset: int
    data: bytes


def to_id(offsets: Mapping[int, int]) -> str:
    """The id of a place in the whole journal."""
    return ".".join(f"{partition}-{offsets[partition]}" for partition in sorted(offsets))


def from_id(text: str, partitions: int) -> Offsets:
    """Raises Problem for what is no id of this journal."""
    if len(text) > PARTITIONS_COUNT_MAX or _ID.fullmatch(text) is None:
        raise invalid("Last-Event-ID", "is not an id of this stream")
    found = {}
    for part in text.split("."):
        partition, _, offset = part.partition("-")
        if int(partition) >= partitions:
            raise invalid("Last-Event-ID", "is not an id of this stream")
        found[int(partition)] = int(offset)
    return found


class Watcher:
    """One who watches: what it waits for, and what it has not been sent yet."""

    def __init__(self, principal_id: str, payment_intent_id: str | None, admitted_s: float) -> None:
        self.principal_id = principal_id
        self.payment_intent_id = payment_intent_id
        self.waiting: asyncio.Queue[Item] = asyncio.Queue(BUFFER_COUNT_MAX)
        self.slow = False
        self.admitted_s = admitted_s
        self.begun = False

    def offer(self, item: Item) -> None:
        """Queue it; a full queue marks the watcher as too slow."""
        if self.payment_intent_id not in (None, item.payment_intent_id):
            return
        try:
            self.waiting.put_nowait(item)
        except asyncio.QueueFull:
            self.slow = True


class Streams:
    """The tailer and its watchers; lives on one event loop."""

    def __init__(self, reader: Reader, clock: Clock, partitions: int) -> None:
        self._reader = reader
        self._clock = clock
        self._partitions = partitions
        self._watchers: set[Watcher] = set()
        self._position: Offsets = {}
        self._tail: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    @property
    def count(self) -> int:
        """How many watch."""
        return len(self._watchers)

    @property
    def closed(self) -> bool:
        """Whether every stream ends now."""
        return self._closed.is_set()

    def close(self) -> None:
        """End every stream soon; safe to call on the loop at any time."""
        self._closed.set()

    def admit(self, principal_id: str, payment_intent_id: str | None) -> Watcher:
        """A place for a watcher. Raises Problem (429) when there are as many as may be."""
        now_s = self._clock.monotonic_s()
        for each in [w for w in self._watchers if not w.begun]:
            if now_s - each.admitted_s > BEGIN_S_MAX:
                self.leave(each)  # it went away before its stream began
        own = sum(1 for each in self._watchers if each.principal_id == principal_id)
        if own >= WATCHERS_OF_ONE_MAX or len(self._watchers) >= WATCHERS_COUNT_MAX:
            raise Problem(
                429,
                "RATE_LIMITED",
                "TOO_MANY_STREAMS",
                "As many live streams as there may be are open.",
                headers={"Retry-After": "5"},
            )
        watcher = Watcher(principal_id, payment_intent_id, now_s)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """It does not watch any more; the last one ends the tailer."""
        self._watchers.discard(watcher)
        if not self._watchers and self._tail is not None:
            self._tail.cancel()
            self._tail = None
            self._position = {}

    async def watch(
        self,
        watcher: Watcher,
        since: Offsets | None,
        until_ms: int,
        revoked: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[bytes]:
        """What is sent to a watcher, until its sign-in ends or is revoked. `since` None: from now
        on."""
        watcher.begun = True
        try:
            start = await self._join()
            sent = dict(start) if since is None else {**start, **since}
            yield f"retry: {RETRY_MS}\n".encode() + _message(sent, "ready", b"{}")
            async for chunk in self._missed(watcher, sent, start):
                yield chunk
            async for chunk in self._live(watcher, sent, until_ms, revoked):
                yield chunk
        finally:
            self.leave(watcher)

    async def _join(self) -> Offsets:
        """Where the tailer is; it is started when there is none."""
        if self._tail is None or self._tail.done():
            projected = await in_thread(self._reader.projected)
            if self._tail is None or self._tail.done():
                self._position = {n: projected.get((EVENTS, n), 0) for n in range(self._partitions)}
                self._tail = asyncio.create_task(self._follow())
        return dict(self._position)

    async def _missed(
        self, watcher: Watcher, sent: Offsets, start: Offsets
    ) -> AsyncIterator[bytes]:
        """Events from its last id up to where the tailer was when it joined."""
        wanted = watcher.payment_intent_id
        for _ in range(CATCH_UP_COUNT_MAX // BATCH_COUNT):
            behind = {n: at for n, at in sent.items() if at < start.get(n, 0)}
            if not behind:
                return
            asked = dict(behind)
            found = await in_thread(lambda: self._reader.events_since(asked, BATCH_COUNT, wanted))  # noqa: B023 awaited within the loop
            for row in found:
                if row.offset < start[row.partition]:
                    sent[row.partition] = row.offset + 1
                    yield _message(sent, "event", _data(row))
                else:
                    sent[row.partition] = max(sent[row.partition], start[row.partition])
            if len(found) < BATCH_COUNT:
                sent.update({n: start[n] for n in behind})
                return
            if self._closed.is_set() or watcher.slow:
                return
        sent.update(start)
        yield _message(sent, "reset", b'{"reason":"too far behind: load again what you show"}')

    async def _live(
        self, watcher: Watcher, sent: Offsets, until_ms: int, revoked: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        while not self._closed.is_set():
            if watcher.slow:
                yield _message(
                    sent, "dropped", b'{"reason":"too slow: come back with the last id"}'
                )
                return
            left_s = (until_ms - self._clock.now_ms()) / MS_PER_S
            if left_s <= 0 or revoked():
                why = b"expired" if left_s <= 0 else b"been revoked"
                yield _message(sent, "signed-out", b'{"reason":"the token has %s"}' % why)
                return
            item = await self._next(watcher, min(HEARTBEAT_S, left_s))
            if item is None:
                yield b": still here\n\n"
            elif item.offset >= sent.get(item.partition, 0):
                sent[item.partition] = item.offset + 1
                yield _message(sent, "event", item.data)
        yield _message(sent, "closing", b'{"reason":"this instance stops: come back"}')

    async def _next(self, watcher: Watcher, wait_s: float) -> Item | None:
        """The next item; None when there is none in time, or the streams are closed."""
        if not watcher.waiting.empty():
            return watcher.waiting.get_nowait()
        got = asyncio.ensure_future(watcher.waiting.get())
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({got, closed}, timeout=wait_s, return_when="FIRST_COMPLETED")
            return got.result() if got.done() else None
        finally:
            got.cancel()
            closed.cancel()

    async def _follow(self) -> None:
        """The one tailer: reads what is new and offers it to everybody."""
        while not self._closed.is_set():
            position = dict(self._position)
            try:
                found = await in_thread(
                    lambda: self._reader.events_since(position, BATCH_COUNT, None)  # noqa: B023 awaited within the loop
                )
            except ReadModelDown as down:
                log.warning("live events wait", reason=str(down))
                found = []
            for row in found:
                self._position[row.partition] = row.offset + 1
                item = Item(row.payment_intent_id, row.partition, row.offset, _data(row))
                for watcher in self._watchers:
                    watcher.offer(item)
            if len(found) < BATCH_COUNT:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), POLL_S)


def _data(row: EventRow) -> bytes:
    return encode(
        StreamEvent(
            payment_intent_id=row.payment_intent_id,
            sequence=row.sequence,
            type=row.type,
            timestamp=iso(row.decided_at),
            from_state=row.from_state,
            to_state=row.state,
            attempt_id=attempt_id(row.attempt),
            partition=row.partition,
            offset=row.offset,
        )
    )


def _message(offsets: Mapping[int, int], name: str, data: bytes) -> bytes:
    """One server-sent event; JSON without line breaks is one data line."""
    return f"id: {to_id(offsets)}\nevent: {name}\ndata: ".encode() + data + b"\n\n"
