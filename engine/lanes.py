"""Bounded lanes: a pool of threads, one lane per key, in order per key, bounded in count and bytes.

Only for work that waits for the outside world. The caller owns offsets; a lane only calls back when
a record is done.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from engine.ports import InputRecord

LANES_COUNT: Final = 16
RECORDS_MAX: Final = 1_000
BYTES_MAX: Final = 16 * 1024 * 1024
JOIN_S_MAX: Final = 5.0

Work = Callable[[InputRecord], None]


class Lanes:
    """Hands records to threads. `work` must end by itself; what it raises ends the worker."""

    def __init__(
        self,
        work: Work,
        *,
        threads: int = LANES_COUNT,
        records_max: int = RECORDS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._work = work
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._waiting: dict[bytes, deque[InputRecord]] = {}
        self._ready: deque[bytes] = deque()
        self._count = 0
        self._bytes = 0
        self._busy: set[bytes] = set()
        self._closing = False
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"npp-lane-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, record: InputRecord) -> None:
        """Queue a record behind those of its key. The bound is the caller's to keep (`full`)."""
        lane = record.key if record.key is not None else b""
        with self._changed:
            queue = self._waiting.get(lane)
            if queue is None:
                queue = self._waiting[lane] = deque()
                if lane not in self._busy:
                    self._ready.append(lane)
            queue.append(record)
            self._count += 1
            self._bytes += _size(record)
            self._changed.notify_all()

    def full(self) -> bool:
        """No more should be read for now."""
        return self._count >= self._records_max or self._bytes >= self._bytes_max

    def count(self) -> int:
        """Records waiting or being worked on."""
        return self._count

    def drop_waiting(self) -> None:
        """Forget what has not been started; what is under way goes on."""
        with self._changed:
            for queue in self._waiting.values():
                self._count -= len(queue)
                self._bytes -= sum(map(_size, queue))
            self._waiting.clear()
            self._ready.clear()
            self._changed.notify_all()

    def wait_idle(self, wait_s: float) -> bool:
        """True when nothing is waiting or under way, at the latest after `wait_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, wait_s)

    def close(self) -> None:
        """End the threads; records not started are forgotten."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(JOIN_S_MAX / len(self._threads))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or bool(self._ready))
                if self._closing:
                    return
                lane = self._ready.popleft()
                queue = self._waiting[lane]
                record = queue.popleft()
                if not queue:
                    del self._waiting[lane]
                self._busy.add(lane)
            try:
                self._work(record)
            except BaseException as error:  # noqa: BLE001 handed to the worker, which ends by it
                self.failure = self.failure or error
            with self._changed:
                self._busy.discard(lane)
                self._count -= 1
                self._bytes -= _size(record)
                if lane in self._waiting:
                    self._ready.append(lane)
                self._changed.notify_all()


def _size(record: InputRecord) -> int:
    return len(record.value or b"") + len(record.key or b"")
