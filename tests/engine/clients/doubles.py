"""librdkafka's clients, where a test decides what they answer."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from engine.clients.membership import BrokerLiveness


class Record:
    """A message of the client."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self._place = topic, partition, offset

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def timestamp(self) -> tuple[int, int]:
        return 2, 0

    def key(self) -> bytes:
        return b"k"

    value = key

    def headers(self) -> None:
        return None


class FakeConsumer:
    """Returns what the test queued; the first instance may be disconnected."""

    made: list[FakeConsumer]

    def __init__(self, config: dict[str, Any]) -> None:
        self.made.append(self)
        self.line: BrokerLiveness = config["stats_cb"].__self__
        self.waiting: list[Record] = []
        self.start: dict[tuple[str, int], int] = {}
        self.cut_off = False
        self.closed = False

    def assign(self, places: list[Any]) -> None:
        self.start = {(p.topic, p.partition): p.offset for p in places}

    def incremental_unassign(self, places: list[Any]) -> None:
        for place in places:
            del self.start[place.topic, place.partition]

    def consume(self, count: int, wait_s: float) -> list[Record]:
        given, self.waiting = ([], self.waiting) if self.cut_off else (self.waiting, [])
        return given

    def list_topics(self, *_: Any, timeout: float) -> None:
        if self.cut_off:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def close(self) -> None:
        self.closed = True


class FakeProducer:
    """Acknowledges at once unless it is disconnected."""

    made: list[FakeProducer]

    def __init__(self, config: dict[str, Any]) -> None:
        self.cut_off = not self.made
        self.made.append(self)
        self.waiting: list[Any] = []
        self.purged = False

    def produce(self, *_: Any, on_delivery: Any, headers: Any) -> None:
        self.waiting.append(on_delivery)

    def poll(self, wait_s: float) -> None:
        if not self.cut_off:
            self._report(None)

    def _report(self, error: KafkaError | None) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each(error, Record("t", 0, 3))

    def list_topics(self, *_: Any, timeout: float) -> None:
        if self.cut_off:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def purge(self) -> None:
        self.purged = True

    def flush(self, wait_s: float) -> int:
        self._report(KafkaError(KafkaError._PURGE_QUEUE) if self.purged else None)
        return 0

    def close(self) -> None:
        return None
