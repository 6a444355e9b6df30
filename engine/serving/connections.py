"""Who is connected to a port: bounded in all and for one address, and who keeps us waiting longest
makes room for who comes. Used from one event loop.

A connection that has sent a whole request is never closed to make room; one that has not is only
worth what it has sent.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from engine.serving.addresses import block_of
from engine.serving.metrics import Closed


class Waits(IntEnum):
    """What a connection keeps us waiting for; the first is closed first."""

    HEAD = 0  # of a request: it is silent, or slow
    BODY = 1
    IDLE = 2  # its requests are answered


class Connection(Protocol):
    """Closes at once when it is told to."""

    def evict(self, reason: Closed) -> None: ...


class _Group:
    """Some connections, and those of them that keep us waiting, the oldest first."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: tuple[dict[Connection, None], ...] = tuple({} for _ in Waits)

    def move(self, one: Connection, before: Waits | None, now: Waits | None) -> None:
        if before is not None:
            self._waiting[before].pop(one, None)
        if now is not None:
            self._waiting[now][one] = None

    def oldest(self) -> Connection | None:
        for waiting in self._waiting:
            if waiting:
                return next(iter(waiting))
        return None


class Connections:
    """The connections of one port."""

    def __init__(
        self, count_max: int, of_one_max: int, exempt: Callable[[str], bool] = lambda _: False
    ) -> None:
        """`of_one_max`: from one address block (`block_of`); `exempt` says which addresses are
        proxies: they stand for many."""
        self._count_max: Final = count_max
        self._of_one_max: Final = of_one_max
        self._exempt = exempt
        self._all = _Group()
        self._blocks: dict[str, _Group] = {}
        self._known: dict[Connection, tuple[str, Waits | None]] = {}

    def __len__(self) -> int:
        return self._all.count

    def enter(self, one: Connection, host: str) -> bool:
        """Take it in, closing another one if need be. False: all that are there are at work."""
        block = block_of(host)
        own = self._blocks.get(block)
        if (
            own is not None
            and own.count >= self._of_one_max
            and not self._exempt(host)
            and not self._make_room(own)
        ):
            return False
        if self._all.count >= self._count_max and not self._make_room(self._all):
            return False
        own = self._blocks.setdefault(block, _Group())
        own.count += 1
        self._all.count += 1
        self._known[one] = (block, None)
        return True

    def set_waiting(self, one: Connection, waits: Waits | None) -> None:
        """What it keeps us waiting for from now on; None: it is at work."""
        found = self._known.get(one)
        if found is None or found[1] is waits:
            return
        block, before = found
        for group in (self._all, self._blocks[block]):
            group.move(one, before, waits)
        self._known[one] = (block, waits)

    def leave(self, one: Connection) -> None:
        """It is closed; may be said twice."""
        self.set_waiting(one, None)
        found = self._known.pop(one, None)
        if found is None:
            return
        own = self._blocks[found[0]]
        own.count -= 1
        self._all.count -= 1
        if not own.count:
            del self._blocks[found[0]]

    def _make_room(self, group: _Group) -> bool:
        oldest = group.oldest()
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.evict(Closed.MADE_ROOM)
        return True
