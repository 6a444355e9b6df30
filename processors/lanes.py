"""Bounded lanes: one item of a key at a time, keys side by side on a few threads.

An item may ask to be run again later; what follows it under the same key waits behind it. Work that
raises ends the process (the loop that feeds the lanes re-raises it): nothing is skipped.

    offered ──▶ waiting behind its key ──▶ ready ──▶ running ──▶ done
                                             ▲          │
                                             └─ delayed ◀┘  (run again later)
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from engine.clock import Clock

T = TypeVar("T")

WAIT_S_MAX: Final = 0.5
JOIN_S_MAX: Final = 15.0  # longer than one bounded call to the outside


class LanesFullError(RuntimeError):
    """More was offered than may be held: the feeder did not look at `room`."""


class Lanes(Generic[T]):
    """`work(item)` gives None when the item is done, or the seconds until it is to run again."""

    def __init__(
        self,
        *,
        name: str,
        threads: int,
        held_max: int,
        clock: Clock,
        work: Callable[[T], float | None],
        done: Callable[[T], None],
    ) -> None:
        self._name = name
        self._held_max = held_max
        self._clock = clock
        self._work = work
        self._done = done
        self._lanes: dict[Hashable, deque[T]] = {}
        self._ready: deque[Hashable] = deque()
        self._delayed: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self._held = 0
        self._running = 0
        self._closing = False
        self._holding = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Let the threads begin. Without it, `step` runs the work in the caller's thread."""
        for thread in self._threads:
            thread.start()

    def room(self) -> int:
        """How many more items may be offered now."""
        with self._changed:
            return self._held_max - self._held

    def held(self) -> int:
        """Items offered and not done."""
        with self._changed:
            return self._held

    def check(self) -> None:
        """Raise what the work raised."""
        if self._failure is not None:
            raise self._failure

    def offer(self, key: Hashable, item: T) -> None:
        """Add an item behind those of its key. Raises LanesFullError, and what the work raised."""
        self.check()
        with self._changed:
            if self._held >= self._held_max:
                raise LanesFullError(self._name)
            self._held += 1
            lane = self._lanes.get(key)
            if lane is not None:
                lane.append(item)
                return
            self._lanes[key] = deque((item,))
            self._ready.append(key)
            self._changed.notify()

    def clear(self) -> None:
        """Forget all that waits, when partitions are taken away; what runs is waited for, bounded.

        Raises TimeoutError when something still runs after JOIN_S_MAX.
        """
        deadline_s = self._clock.monotonic_s() + JOIN_S_MAX
        with self._changed:
            self._holding = True
            while self._running:
                if self._clock.monotonic_s() >= deadline_s:
                    raise TimeoutError(f"{self._name}: work still runs after {JOIN_S_MAX:.0f} s")
                self._changed.wait(WAIT_S_MAX)
            self._lanes.clear()
            self._ready.clear()
            self._delayed.clear()
            self._held = 0
            self._holding = False
            self._changed.notify_all()

    def step(self) -> bool:
        """Run one item that is ready, in this thread; False when there is none."""
        with self._changed:
            key = self._next()
            if key is None:
                return False
            item = self._lanes[key][0]
            self._running += 1
        self._finish(key, item, self._work(item))
        return True

    def close(self) -> None:
        """Begin nothing more; wait for what runs, at most JOIN_S_MAX."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        deadline_s = self._clock.monotonic_s() + JOIN_S_MAX
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - self._clock.monotonic_s()))

    # -- inside (the lock is held, but for _run and _finish) ---------------------------------------

    def _next(self) -> Hashable | None:
        if self._holding:
            return None
        now_s = self._clock.monotonic_s()
        while self._delayed and self._delayed[0][0] <= now_s:
            self._ready.append(heapq.heappop(self._delayed)[2])
        return self._ready.popleft() if self._ready else None

    def _run(self) -> None:
        while True:
            with self._changed:
                key = self._next()
                while key is None and not self._closing:
                    self._changed.wait(self._wait_s())
                    key = self._next()
                if self._closing or key is None:
                    return
                item = self._lanes[key][0]
                self._running += 1
            try:
                again_s = self._work(item)
            except BaseException as error:  # noqa: BLE001 - the feeding loop raises it and ends
                with self._changed:
                    self._failure = self._failure or error
                    self._closing = True
                    self._running -= 1
                    self._changed.notify_all()
                return
            self._finish(key, item, again_s)

    def _wait_s(self) -> float:
        if not self._delayed:
            return WAIT_S_MAX
        return min(WAIT_S_MAX, max(0.001, self._delayed[0][0] - self._clock.monotonic_s()))

    def _finish(self, key: Hashable, item: T, again_s: float | None) -> None:
        with self._changed:
            self._running -= 1
            if again_s is not None:
                self._count += 1
                due_s = self._clock.monotonic_s() + again_s
                heapq.heappush(self._delayed, (due_s, self._count, key))
                self._changed.notify_all()
                return
            lane = self._lanes[key]
            lane.popleft()
            self._held -= 1
            if lane:
                self._ready.append(key)
            else:
                del self._lanes[key]
            self._changed.notify_all()
        self._done(item)


class Progress:
    """Which offsets are done: only what lies below all open ones of its partition is committed."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], deque[int]] = {}
        self._finished: dict[tuple[str, int], set[int]] = {}
        self._next: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def begin(self, topic: str, partition: int, offset: int) -> None:
        """An offset was read; they come in order."""
        with self._lock:
            name = (topic, partition)
            self._open.setdefault(name, deque()).append(offset)
            self._finished.setdefault(name, set())

    def finish(self, topic: str, partition: int, offset: int) -> None:
        """All that this offset asked for is done. A partition that was taken away is left out."""
        with self._lock:
            name = (topic, partition)
            open_offsets = self._open.get(name)
            if open_offsets is None:
                return
            finished = self._finished[name]
            finished.add(offset)
            while open_offsets and open_offsets[0] in finished:
                first = open_offsets.popleft()
                finished.discard(first)
                self._next[name] = first + 1

    def forget(self, topic: str, partition: int) -> None:
        """The partition was taken away."""
        with self._lock:
            for kept in (self._open, self._finished, self._next):
                kept.pop((topic, partition), None)

    def take(self) -> dict[tuple[str, int], int]:
        """Offsets to commit now (the next to be read), each given once."""
        with self._lock:
            taken, self._next = self._next, {}
            return taken

    def span(self) -> int:
        """Most offsets open or waiting behind an open one in any partition."""
        with self._lock:
            return max((len(each) for each in self._open.values()), default=0)
