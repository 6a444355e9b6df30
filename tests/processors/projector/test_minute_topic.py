"""What the projector publishes for the monitor: changed minutes, until they are confirmed."""

from __future__ import annotations

from collections.abc import Sequence

from core.monitoring import MinuteFigures
from engine.clients.publisher import NotConfirmed, Outgoing
from processors.projector.minute_topic import MinuteTopic
from readmodel.minutes import Figures
from schemas.topology import MINUTES
from tests.processors.payments.world import CODEC

MINUTE = 30_000_000


class Kafka:
    """Keeps the records, or does not confirm them."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.away = False

    def publish_all(self, records: Sequence[Outgoing], *, timeout_s: float) -> None:
        if self.away:
            raise NotConfirmed("TIMED_OUT", "not acknowledged")
        self.records += records

    def taken(self) -> list[tuple[int, int, int, int]]:
        found = []
        for each in self.records:
            record = CODEC.decode(MINUTES, each.value)
            assert isinstance(record, MinuteFigures)
            found.append((record.partition, record.minute, record.offset, record.created))
        self.records = []
        return found


def test_only_changed_minutes_are_published_and_always_whole() -> None:
    kafka = Kafka()
    topic = MinuteTopic(kafka, CODEC)
    buckets = {
        (0, MINUTE): Figures(created=1, offset=4),
        (1, MINUTE): Figures(created=2, offset=9),
        (1, MINUTE - 1): Figures(),  # nothing was decided in it
    }
    assert topic.publish(buckets) == 2
    assert kafka.taken() == [(0, MINUTE, 4, 1), (1, MINUTE, 9, 2)]
    assert topic.publish(buckets) == 0

    buckets[1, MINUTE] = Figures(created=3, offset=12)
    topic.publish(buckets)
    assert kafka.taken() == [(1, MINUTE, 12, 3)]


def test_a_key_is_used_again_after_25_hours() -> None:
    kafka = Kafka()
    topic = MinuteTopic(kafka, CODEC)
    topic.publish({(3, MINUTE): Figures(offset=1), (3, MINUTE + 1_500): Figures(offset=2)})
    assert {each.key for each in kafka.records} == {b"3/0"}


def test_an_unconfirmed_minute_is_published_again_a_second_later() -> None:
    kafka = Kafka()
    topic = MinuteTopic(kafka, CODEC)
    kafka.away = True
    assert topic.publish({(0, MINUTE): Figures(created=1, offset=4)}) == 0
    kafka.away = False
    assert topic.publish({(0, MINUTE): Figures(created=1, offset=4)}) == 1
    assert kafka.taken() == [(0, MINUTE, 4, 1)]
