"""Bounded lanes: a pool of threads that works on records concurrently, bounded in count and bytes.
A thread is started when a record waits for one, and stays.

Only for work that waits for outside systems. The caller owns offsets; a lane only calls back when a
record is done. A record to be retried later releases its thread until then.

A lane is a name and a rank. Four rules, and no others:

1. A lane has one record in progress at a time, in order of arrival; a sleeping record blocks only
   its own lane.
2. A name has one lane in progress at a time: work that must never run concurrently has one name.
3. Among ready lanes the lowest rank goes first; within a rank, the lane that is ready longest.
4. At most `room[r]` threads work on rank r and above together, so that slow calls of a
   high rank leave threads to the lower ones.

    put ──▶ waiting ──▶ ready ──▶ in progress ──done──▶ (next of the lane, and lanes of its name)
               ▲                      │ again in … s
               └──release_due── asleep ◀
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from engine.clock import Clock
from engine.ports import InputRecord

LANES_COUNT: Final = 16
RECORDS_MAX: Final = 1_000
BYTES_MAX: Final = 16 * 1024 * 1024
JOIN_S_MAX: Final = 5.0

Work = Callable[[InputRecord, int], float | None]
"""Called with the record and the generation it was put with; returns the seconds until the next
try, or None if the record is done.
"""

_Item = tuple[InputRecord, int]


class Lane(NamedTuple):
    """Where a record waits. Rank 0 goes first."""

    name: bytes
    rank: int = 0


LaneOf = Callable[[InputRecord], Lane]


def lane_of_key(record: InputRecord) -> Lane:
    """One lane per key, all of one rank."""
    return Lane(record.key if record.key is not None else b"")


class Lanes:
    """Passes records to threads. `work` must have its own time limit; an exception from it ends the
    worker.
    """

    def __init__(
        self,
        work: Work,
        clock: Clock,
        *,
        threads: int = LANES_COUNT,
        room: tuple[int, ...] = (),
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """`room`: threads by rank (rule 4), one entry for each rank; without it there is only rank
        0, with all threads. Raises ValueError if a rank has more room than the one before.
        """
        self._room = room or (threads,)
        if list(self._room) != sorted(self._room, reverse=True) or self._room[-1] < 1:
            raise ValueError("room falls from rank to rank and is never 0")
        self._work = work
        self._clock = clock
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._wake = threading.Condition(self._lock)  # one thread wakes for one lane
        self._waiting: dict[Lane, deque[_Item]] = {}
        self._ready: tuple[deque[Lane], ...] = tuple(deque() for _ in self._room)
        self._queued: set[Lane] = set()  # ready, behind their name, or asleep
        self._behind: dict[bytes, list[Lane]] = {}  # ready but for another lane of their name
        self._asleep: list[tuple[float, int, Lane]] = []  # by the time they are due
        self._at_work: dict[bytes, Lane] = {}  # by name
        self._at_work_of = [0] * len(self._room)  # threads by rank
        self._naps = 0
        self._drops = 0
        self._closed = False
        self._count = 0
        self._bytes = 0
        self.failure: BaseException | None = None
        self._threads_max = threads
        self._threads: list[threading.Thread] = []
        self._idling = 0  # threads that wait for a lane, or are about to look for one

    def put(self, record: InputRecord, generation: int, lane: Lane) -> None:
        """Queue a record at the end of its lane. The caller must respect the limit (`full`)."""
        with self._lock:
            self._waiting.setdefault(lane, deque()).append((record, generation))
            self._count += 1
            self._bytes += _size(record)
            if lane not in self._queued and self._at_work.get(lane.name) != lane:
                self._make_ready(lane)
            self._staff()

    def full(self) -> bool:
        """Whether reading should pause."""
        return self._count >= self._records_max or self._bytes >= self._bytes_max

    def count(self) -> int:
        """Records waiting, asleep or being worked on."""
        return self._count

    def release_due(self) -> None:
        """Resume the lanes whose time has come; the caller does so several times a second."""
        if not self._asleep and not any(self._ready):
            return
        now_s = self._clock.monotonic_s()
        with self._lock:
            while self._asleep and self._asleep[0][0] <= now_s:
                self._make_ready(heapq.heappop(self._asleep)[2])
            self._staff()

    def drop_waiting(self) -> None:
        """Drop records that are not in progress; those in progress finish and are not retried."""
        with self._lock:
            self._drops += 1
            for items in self._waiting.values():
                self._count -= len(items)
                self._bytes -= sum(_size(record) for record, _ in items)
            for ready in self._ready:
                ready.clear()
            self._waiting.clear()
            self._queued.clear()
            self._behind.clear()
            self._asleep.clear()
            self._idle.notify_all()

    def wait_idle(self, wait_s: float) -> bool:
        """True if nothing is waiting or in progress, at the latest after `wait_s`."""
        with self._lock:
            return self._idle.wait_for(lambda: self._count == 0, wait_s)

    def close(self) -> None:
        """End the threads; records not started are dropped."""
        self.drop_waiting()
        with self._lock:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(JOIN_S_MAX / len(self._threads))

    def _staff(self) -> None:
        """Start threads for ready lanes that have none. Only the polling thread does so: an error
        in starting one ends the worker.
        """
        wanted = sum(map(len, self._ready)) - self._idling
        for _ in range(min(wanted, self._threads_max - len(self._threads))):
            name = f"npp-lane-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
            self._idling += 1

    def _make_ready(self, lane: Lane) -> None:
        self._queued.add(lane)
        self._ready[lane.rank].append(lane)
        self._wake.notify()

    def _run(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                return
            lane, item, drops = taken
            again_s: float | None = None
            try:
                again_s = self._work(*item)
            except BaseException as error:  # noqa: BLE001 handed to the worker, which ends by it
                self.failure = self.failure or error
            self._worked(lane, item, again_s, drops)

    def _take(self) -> tuple[Lane, _Item, int] | None:
        """Wait for the next record; None when the lanes are closed."""
        with self._lock:
            while not self._closed:
                lane = self._next()
                if lane is not None:
                    self._queued.discard(lane)
                    self._at_work[lane.name] = lane
                    self._at_work_of[lane.rank] += 1
                    self._idling -= 1
                    return lane, self._waiting[lane].popleft(), self._drops
                self._wake.wait()
            return None

    def _next(self) -> Lane | None:
        """The lane that goes first by rules 2 to 4, or None while none may."""
        for rank, ready in enumerate(self._ready):
            if sum(self._at_work_of[rank:]) >= self._room[rank]:
                return None
            while ready:
                lane = ready.popleft()
                if lane.name not in self._at_work:
                    return lane
                self._behind.setdefault(lane.name, []).append(lane)
        return None

    def _worked(self, lane: Lane, item: _Item, again_s: float | None, drops: int) -> None:
        with self._lock:
            del self._at_work[lane.name]
            self._at_work_of[lane.rank] -= 1
            self._idling += 1
            for other in self._behind.pop(lane.name, ()):
                self._make_ready(other)
            if again_s is not None and drops == self._drops:
                self._waiting.setdefault(lane, deque()).appendleft(item)
                due_s = self._clock.monotonic_s() + again_s
                self._naps += 1
                self._queued.add(lane)
                heapq.heappush(self._asleep, (due_s, self._naps, lane))
            else:
                self._count -= 1
                self._bytes -= _size(item[0])
                if self._waiting.get(lane):
                    self._make_ready(lane)
                else:
                    self._waiting.pop(lane, None)
                if self._count == 0:
                    self._idle.notify_all()
            if any(self._ready):
                self._wake.notify()  # this thread may now serve another rank


def _size(record: InputRecord) -> int:
    return len(record.value or b"") + len(record.key or b"")
