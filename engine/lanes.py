"""Bounded lanes: a pool of threads, one lane per key, in order per key, bounded in count and bytes.

Only for work that waits for the outside world. The caller owns offsets; a lane only calls back when
a record is done. A record that must come again later gives its thread back until then.

    put ──▶ waiting ──▶ ready ──▶ under way ──done──▶ (next of the key)
               ▲                      │ again in … s
               └──release_due── asleep ◀
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from engine.clock import Clock
from engine.ports import InputRecord

LANES_COUNT: Final = 16
RECORDS_MAX: Final = 1_000
BYTES_MAX: Final = 16 * 1024 * 1024
JOIN_S_MAX: Final = 5.0

Work = Callable[[InputRecord, int], float | None]
"""Called with the record and the generation it was put with; gives the seconds until it comes
again, or None when it is done."""

_Item = tuple[InputRecord, int]


class Lanes:
    """Hands records to threads. `work` must end by itself; what it raises ends the worker."""

    def __init__(
        self,
        work: Work,
        clock: Clock,
        *,
        threads: int = LANES_COUNT,
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._work = work
        self._clock = clock
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: dict[bytes, deque[_Item]] = {}
        self._taken: set[bytes] = set()  # keys that are ready, under way or asleep
        self._asleep: list[tuple[float, int, bytes]] = []  # by the time they are due
        self._naps = 0
        self._drops = 0
        # One thread wakes for one key: a condition would wake all of them for each record.
        self._ready: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._count = 0
        self._bytes = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"npp-lane-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, record: InputRecord, generation: int) -> None:
        """Queue a record behind those of its key. The bound is the caller's to keep (`full`)."""
        lane = record.key if record.key is not None else b""
        with self._lock:
            self._waiting.setdefault(lane, deque()).append((record, generation))
            self._count += 1
            self._bytes += _size(record)
            if lane not in self._taken:
                self._taken.add(lane)
                self._ready.put(lane)

    def full(self) -> bool:
        """No more should be read for now."""
        return self._count >= self._records_max or self._bytes >= self._bytes_max

    def count(self) -> int:
        """Records waiting, asleep or being worked on."""
        return self._count

    def release_due(self) -> None:
        """Let those go on whose time has come; the caller does so several times a second."""
        if not self._asleep:
            return
        now_s = self._clock.monotonic_s()
        with self._lock:
            while self._asleep and self._asleep[0][0] <= now_s:
                self._ready.put(heapq.heappop(self._asleep)[2])

    def drop_waiting(self) -> None:
        """Forget what is not under way at this moment; what is goes on, and does not come again."""
        with self._lock:
            self._drops += 1
            for items in self._waiting.values():
                self._count -= len(items)
                self._bytes -= sum(_size(record) for record, _ in items)
            self._waiting.clear()
            for _, _, lane in self._asleep:
                self._taken.discard(lane)
            self._asleep.clear()
            self._idle.notify_all()

    def wait_idle(self, wait_s: float) -> bool:
        """True when nothing is waiting or under way, at the latest after `wait_s`."""
        with self._lock:
            return self._idle.wait_for(lambda: self._count == 0, wait_s)

    def close(self) -> None:
        """End the threads; records not started are forgotten."""
        self.drop_waiting()
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join(JOIN_S_MAX / len(self._threads))

    def _run(self) -> None:
        while True:
            lane = self._ready.get()
            if lane is None:
                return
            taken = self._first_of(lane)
            if taken is None:
                continue
            item, drops = taken
            again_s: float | None = None
            try:
                again_s = self._work(*item)
            except BaseException as error:  # noqa: BLE001 handed to the worker, which ends by it
                self.failure = self.failure or error
            self._worked(lane, item, again_s, drops)

    def _first_of(self, lane: bytes) -> tuple[_Item, int] | None:
        with self._lock:
            items = self._waiting.get(lane)
            if not items:
                self._taken.discard(lane)  # dropped meanwhile
                return None
            return items.popleft(), self._drops

    def _worked(self, lane: bytes, item: _Item, again_s: float | None, drops: int) -> None:
        with self._lock:
            if again_s is not None and drops == self._drops:
                self._waiting.setdefault(lane, deque()).appendleft(item)
                due_s = self._clock.monotonic_s() + again_s
                self._naps += 1
                heapq.heappush(self._asleep, (due_s, self._naps, lane))
                return
            self._count -= 1
            self._bytes -= _size(item[0])
            if self._waiting.get(lane):
                self._ready.put(lane)
            else:
                self._waiting.pop(lane, None)
                self._taken.discard(lane)
            if self._count == 0:
                self._idle.notify_all()


def _size(record: InputRecord) -> int:
    return len(record.value or b"") + len(record.key or b"")
