"""The connections of a port: limited in total and for each address. A new connection replaces the
one that has kept us waiting longest. Used from one event loop.

A connection with a complete request is never closed to make room; an incomplete one may be.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from engine.serving.addresses import block_of
from engine.serving.metrics import Closed


class Waits(IntEnum):
    """What we are waiting for from a connection; the first kind is closed first."""

    HEAD = 0  # of a request: it is silent, or slow
    BODY = 1
    IDLE = 2  # its requests are answered


class Connection(Protocol):
    """A connection that can be closed at once."""

    def evict(self, reason: Closed) -> None: ...


class _Group:
    """Some connections, and the waiting ones among them, oldest first."""

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
        proxies, which carry many clients.
        """
        self._count_max: Final = count_max
        self._of_one_max: Final = of_one_max
        self._exempt = exempt
        self._all = _Group()
        self._blocks: dict[str, _Group] = {}
        self._known: dict[Connection, tuple[str, Waits | None]] = {}

    def __len__(self) -> int:
        return self._all.count

    def enter(self, one: Connection, host: str) -> bool:
        """Admit it, closing another one if necessary. False: all existing ones are busy."""
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
        """What we now wait for from it; None: it is busy."""
        found = self._known.get(one)
        if found is None or found[1] is waits:
            return
        block, before = found
        for group in (self._all, self._blocks[block]):
            group.move(one, before, waits)
        self._known[one] = (block, waits)

    def leave(self, one: Connection) -> None:
        """It is closed; may be called twice."""
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
