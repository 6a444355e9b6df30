"""Whether the owner reads everything that its topics hold: Faust reports no partition it lost.

Seen once on faust-streaming 0.15 with aiokafka 0.14: a worker read its own ticks every second and
never got a record of the other partition, without an error in its log.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from engine.clock import Clock


class Reading:
    """Per topic of one partition: when it was last read to its end, or brought a record.

    A record may wait `wait_s_max` seconds. Threads may share this.
    """

    def __init__(self, topics: Iterable[str], clock: Clock, wait_s_max: float) -> None:
        self.wait_s_max = wait_s_max
        self._topics = tuple(topics)
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, int] = {}
        self._at_s: dict[str, float] = {}

    def begin(self) -> None:
        """The partitions were assigned to this worker. Faust may call `start_at` before."""
        with self._lock:
            self._at_s = dict.fromkeys(self._topics, self._clock.monotonic_s())

    def end(self) -> None:
        """They were taken away."""
        with self._lock:
            self._next.clear()
            self._at_s.clear()

    def start_at(self, offsets: Mapping[str, int]) -> None:
        """The offsets at which this worker begins to read."""
        with self._lock:
            for topic, offset in offsets.items():
                self._next[topic] = max(offset, self._next.get(topic, 0))

    def record(self, topic: str, offset: int) -> None:
        """A record was processed."""
        with self._lock:
            self._next[topic] = offset + 1
            if topic in self._at_s:
                self._at_s[topic] = self._clock.monotonic_s()

    def ends(self, ends: Mapping[str, int]) -> None:
        """What Kafka answered: the offset after the last record of each topic."""
        with self._lock:
            for topic, end in ends.items():
                known = self._next.get(topic)
                if topic in self._at_s and known is not None and known >= end:
                    self._at_s[topic] = self._clock.monotonic_s()

    def unread(self) -> str | None:
        """The topic of which nothing was read for too long though records may wait, or None."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            late = [topic for topic, at_s in self._at_s.items() if now_s - at_s > self.wait_s_max]
        return late[0] if late else None
