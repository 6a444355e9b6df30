"""Live events for many watchers: one tailer reads the read model, each watcher has a bounded queue.

An event's id is the vector of next journal offsets, one for each partition, so a watcher can resume
at another instance or after a rebuild. A client that is too slow is notified and disconnected; it
reconnects with its last id.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from api.edge.params import in_thread
from api.edge.problems import invalid
from api.edge.views import View, encode, iso
from api.stream.places import Place, Places
from core.values import attempt_id
from engine.clock import MS_PER_S, Clock
from engine.partitioner import partition_of
from readmodel.ports import Reader, ReadModelDown
from readmodel.rows import EventRow
from schemas.topology import EVENTS

log = structlog.get_logger("npp.api.stream")

WATCHERS_COUNT_MAX: Final = 200
WATCHERS_OF_ONE_MAX: Final = 10
BUFFER_COUNT_MAX: Final = 2_000  # events that a watcher may be behind
POLL_S: Final = 0.2
HEARTBEAT_S: Final = 15.0
BATCH_COUNT: Final = 500
CATCH_UP_COUNT_MAX: Final = 50_000  # further behind, a watcher must reload
PARTITIONS_COUNT_MAX: Final = 10_000
RETRY_MS: Final = 2_000  # what browsers wait before they reconnect
_ID: Final = re.compile(r"[0-9]{1,5}-[0-9]{1,18}(\.[0-9]{1,5}-[0-9]{1,18})*", re.ASCII)

Offsets = dict[int, int]


class StreamEvent(View):
    """A live event. GET the payment and its events for the rest."""

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
    """A journal offset and the message sent for it."""

    payment_intent_id: str
    partition: int
    offset: int
    data: bytes


def to_id(offsets: Mapping[int, int]) -> str:
    """The event id for these next offsets."""
    return ".".join(f"{partition}-{offsets[partition]}" for partition in sorted(offsets))


def from_id(text: str, partitions: int) -> Offsets:
    """The next offsets in an event id. Raises Problem for anything but an id of this journal."""
    if len(text) > PARTITIONS_COUNT_MAX or _ID.fullmatch(text) is None:
        raise invalid("Last-Event-ID", "is not an id of this stream")
    found = {}
    for part in text.split("."):
        partition, _, offset = part.partition("-")
        if int(partition) >= partitions:
            raise invalid("Last-Event-ID", "is not an id of this stream")
        found[int(partition)] = int(offset)
    return found


class Watcher(Place):
    """One watcher: its filter, and the events not sent to it yet."""

    def __init__(self, person: str, payment_intent_id: str | None) -> None:
        super().__init__(person)
        self.payment_intent_id = payment_intent_id
        self.waiting: asyncio.Queue[Item] = asyncio.Queue(BUFFER_COUNT_MAX)
        self.slow = False

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
        self._watchers = Places[Watcher](
            clock, "streams", count_max=WATCHERS_COUNT_MAX, of_one_max=WATCHERS_OF_ONE_MAX
        )
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
        """Add a watcher. Raises Problem (429) when the maximum number of streams is open."""
        return self._watchers.take(Watcher(principal_id, payment_intent_id))

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher; the last one stops the tailer."""
        self._watchers.leave(watcher)
        if not self._watchers and self._tail is not None:
            self._tail.cancel()
            self._tail = None
            self._position = {}

    async def id_of_now(self, payment_intent_id: str) -> str:
        """The id from which a watcher misses nothing of this payment that is projected after this
        call: take it before the payment is read. Raises ReadModelDown.
        """
        partition = partition_of(payment_intent_id.encode(), self._partitions)
        position = self._position if self._is_tailing() else await self._projected()
        return to_id({partition: position.get(partition, 0)})

    async def watch(
        self,
        watcher: Watcher,
        since: Offsets | None,
        until_ms: int,
        revoked: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator[bytes]:
        """What is sent to a watcher, until its sign-in ends or is revoked. `since` None: from now
        on.
        """
        self._watchers.begin(watcher)
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
        """The tailer's position; starts the tailer when there is none."""
        if not self._is_tailing():
            projected = await self._projected()
            if not self._is_tailing():
                self._position = projected
                self._tail = asyncio.create_task(self._follow())
        return dict(self._position)

    def _is_tailing(self) -> bool:
        return self._tail is not None and not self._tail.done()

    async def _projected(self) -> Offsets:
        projected = await in_thread(self._reader.projected)
        return {n: projected.get((EVENTS, n), 0) for n in range(self._partitions)}

    async def _missed(
        self, watcher: Watcher, sent: Offsets, start: Offsets
    ) -> AsyncIterator[bytes]:
        """Events from the watcher's last id up to the tailer's position when it joined."""
        wanted = watcher.payment_intent_id
        for _ in range(CATCH_UP_COUNT_MAX // BATCH_COUNT):
            behind = {n: at for n, at in sent.items() if at < start.get(n, 0)}
            if not behind:
                return
            positions = dict(behind)
            read = partial(self._reader.events_since, positions, BATCH_COUNT, wanted)
            found = await in_thread(read)
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
        """The single tailer: reads new events and offers them to all watchers."""
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
