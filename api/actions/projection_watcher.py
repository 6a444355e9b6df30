"""Notifies waiting requests that the read model has advanced in a payment's partition.

One thread polls for all of them, and only while a request waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from engine.ports import TopicPartition
from readmodel.ports import Reader, ReadModelDown
from schemas import topology

LOOK_S: Final = 0.008
DOWN_PAUSE_S: Final = 0.1
CLOSE_S_MAX: Final = 5.0


class ProjectionWatcher:
    """Safe for many threads; the polling thread starts with the first waiter."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: dict[int, set[threading.Event]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    @contextmanager
    def of(self, partition: int) -> Iterator[threading.Event]:
        """An event that is set when the read model advances in this journal partition, and when it
        cannot be read. The caller clears the event before it reads, then waits.
        """
        moved = threading.Event()
        with self._changed:
            self._waiting.setdefault(partition, set()).add(moved)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="npp-movement", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield moved
        finally:
            with self._changed:
                waiting = self._waiting[partition]
                waiting.discard(moved)
                if not waiting:
                    del self._waiting[partition]

    def close(self) -> None:
        """Stop polling."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S_MAX)

    def _run(self) -> None:
        seen: Mapping[TopicPartition, int] = {}
        while self._somebody_waits():
            try:
                now = self._reader.projected()
                pause_s = LOOK_S
            except ReadModelDown:
                now, pause_s = {}, DOWN_PAUSE_S
            with self._changed:
                for partition, waiting in self._waiting.items():
                    place = (topology.EVENTS, partition)
                    if not now or now.get(place) != seen.get(place):
                        for each in waiting:
                            each.set()
                self._changed.wait_for(lambda: self._closing, pause_s)
            seen = now

    def _somebody_waits(self) -> bool:
        """Wait until a request waits; False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return not self._closing
