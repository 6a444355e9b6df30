"""How far a reader of several topics is behind; any thread may ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from engine.clients.topics_reader import Reading
from engine.clock import MS_PER_S, Clock
from engine.ports import TopicPartition

READY_DELAY_S_MAX: Final = 30.0  # the read model's alert limit
SILENCE_S_MAX: Final = 5.0  # the brokers are asked every second; after longer it is unknown


class Progress:
    """Written by the loop; `delay_s` and `ready` may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ms: dict[TopicPartition, int] = {}
        self._behind: dict[str, set[TopicPartition]] = {}
        self._unseen: set[TopicPartition] = set()
        self._oldest_ms: dict[str, int | None] = {}
        self._heard_s = clock.monotonic_s()

    def answered(self) -> None:
        """The brokers have answered."""
        self._heard_s = self._clock.monotonic_s()

    def opened(self, places: Iterable[TopicPartition]) -> None:
        """Reading starts: nothing is known to be read to its end yet."""
        now = self._clock.now_ms()
        self._last_ms = dict.fromkeys(places, now)
        behind: dict[str, set[TopicPartition]] = {}
        for place in self._last_ms:
            behind.setdefault(place[0], set()).add(place)
        self._behind = behind
        self._unseen = set(self._last_ms)
        self._oldest_ms = dict.fromkeys(behind, now)

    def read(self, reading: Reading) -> None:
        """Records were read but are not written yet."""
        oldest: dict[str, int] = {}
        for place, found in reading.records.items():
            first = found[0].timestamp_ms
            oldest[place[0]] = min(first, oldest.get(place[0], first))
            self._last_ms[place] = found[-1].timestamp_ms
            self._behind[place[0]].add(place)
        for place in reading.ends:
            self._behind[place[0]].discard(place)
        if self._unseen:
            self._unseen -= reading.records.keys() | reading.ends.keys()
        self._oldest_ms.update(oldest)

    def written(self) -> None:
        """Everything that was read is in the database."""
        for topic, behind in self._behind.items():
            self._oldest_ms[topic] = min((self._last_ms[place] for place in behind), default=None)

    def delay_s(self, topic: str) -> float:
        """Age in seconds of the topic's oldest record that is not written yet; 0 if there is none.

        While the brokers do not answer there may be one: it is then at least the time since their
        last answer.
        """
        oldest = self._oldest_ms.get(topic)
        age_s = 0.0 if oldest is None else (self._clock.now_ms() - oldest) / MS_PER_S
        silent_s = self._clock.monotonic_s() - self._heard_s
        return max(0.0, age_s, silent_s if silent_s > SILENCE_S_MAX else 0.0)

    def delays(self) -> Mapping[str, float]:
        """All delays by topic."""
        return {topic: self.delay_s(topic) for topic in tuple(self._oldest_ms)}

    def within(self, delay_s_max: float) -> bool:
        """Whether something was heard of every partition since `opened`, and no topic is more than
        `delay_s_max` seconds behind.
        """
        if not self._oldest_ms or self._unseen:
            return False
        return max(self.delays().values()) <= delay_s_max
