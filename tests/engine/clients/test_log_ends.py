"""What brokers say of where partitions end is believed only when it is an offset."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, TopicPartition

from engine.clients import reader
from engine.clients.reader import LogEnds
from engine.clock import HeldClock
from engine.errors import Retry

NAMES = [("payments", 0), ("payments", 1)]
ENDS = {("payments", 0): 7, ("payments", 1): 9}


def described(error: int | None, partitions: int) -> SimpleNamespace:
    """A cluster of one broker with the topic `payments`."""
    topic = SimpleNamespace(
        error=None if error is None else KafkaError(error),
        partitions=dict.fromkeys(range(partitions)),
    )
    return SimpleNamespace(brokers={1: None}, topics={"payments": topic})


class Admin:
    """A client that for its first `hollow` answers knows no leader of the second partition."""

    hollow = 1
    descriptions = (
        SimpleNamespace(brokers={}, topics={}),
        described(KafkaError.LEADER_NOT_AVAILABLE, 0),
        described(None, 2),
    )

    def __init__(self, config: Any) -> None:
        self.asked = self.described = 0

    def list_topics(self, timeout: float) -> SimpleNamespace:
        self.described += 1
        return self.descriptions[min(self.described, len(self.descriptions)) - 1]

    def list_offsets(self, wanted: Any, **_: Any) -> dict[TopicPartition, Future[Any]]:
        self.asked += 1
        answers = {}
        for place in wanted:
            offset = ENDS[place.topic, place.partition]
            if place.partition and self.asked <= self.hollow:
                offset = OFFSET_INVALID
            answer: Future[Any] = Future()
            answer.set_result(SimpleNamespace(offset=offset))
            answers[place] = answer
        return answers


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> LogEnds:
    monkeypatch.setattr(reader, "AdminClient", Admin)
    return LogEnds({}, HeldClock(0))


def test_an_answer_without_an_offset_is_asked_again(ends: LogEnds) -> None:
    """Believed, it said that the journal had lost its tail, and stopped everything."""
    assert ends.high(NAMES) == ENDS


def test_who_does_not_wait_is_told_nothing_until_there_are_offsets(ends: LogEnds) -> None:
    answer = ends.ask_high(NAMES)
    assert [answer(), answer()] == [None, ENDS]


def test_who_asks_once_hears_that_it_may_ask_again(ends: LogEnds) -> None:
    with pytest.raises(Retry):
        ends.stable_once(NAMES)
    assert ends.stable_once(NAMES) == ENDS


def test_a_cluster_described_without_its_brokers_is_asked_again(ends: LogEnds) -> None:
    """Believed, it said that the topic is not there, and a reader read nothing."""
    assert ends.partition_counts(["payments", "other"]) == {"payments": 2, "other": 0}


def test_a_topic_that_is_not_there_or_not_ours_to_see_has_no_partitions(
    ends: LogEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
        monkeypatch.setattr(Admin, "descriptions", (described(code, 0),))
        assert ends.partition_counts(["payments"]) == {"payments": 0}
