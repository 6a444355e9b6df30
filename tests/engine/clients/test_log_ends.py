"""A partition's end as reported by a broker counts only if it is an offset."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, TopicPartition

from engine.clients import reader
from engine.clients.membership import LOST_AFTER_S
from engine.clients.reader import LogEnds
from engine.errors import Retry
from tests.clock import HeldClock

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
    """A client that knows no leader of the second partition for its first `hollow` answers."""

    hollow = 1
    descriptions: tuple[SimpleNamespace, ...] = (
        SimpleNamespace(brokers={}, topics={}),
        described(KafkaError.LEADER_NOT_AVAILABLE, 0),
        described(None, 2),
    )

    def __init__(self, config: Any) -> None:
        self.requested = self.described = 0

    def list_topics(self, timeout: float) -> SimpleNamespace:
        self.described += 1
        return self.descriptions[min(self.described, len(self.descriptions)) - 1]

    def list_offsets(self, wanted: Any, **_: Any) -> dict[TopicPartition, Future[Any]]:
        self.requested += 1
        answers = {}
        for place in wanted:
            offset = ENDS[place.topic, place.partition]
            if place.partition and self.requested <= self.hollow:
                offset = OFFSET_INVALID
            answer: Future[Any] = Future()
            answer.set_result(SimpleNamespace(offset=offset))
            answers[place] = answer
        return answers


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> LogEnds:
    monkeypatch.setattr(reader, "AdminClient", Admin)
    return LogEnds({}, HeldClock(0))


def test_an_answer_without_an_offset_is_requested_again(ends: LogEnds) -> None:
    """Taken as an end it meant LOG_TAIL_LOST, and stopped everything."""
    assert ends.high(NAMES) == ENDS


def test_a_poll_without_waiting_gives_nothing_until_there_are_offsets(ends: LogEnds) -> None:
    answer = ends.ask_high(NAMES)
    assert [answer(), answer()] == [None, ENDS]


def test_a_single_call_fails_as_retriable(ends: LogEnds) -> None:
    with pytest.raises(Retry):
        ends.stable_once(NAMES)
    assert ends.stable_once(NAMES) == ENDS


def test_cluster_metadata_without_brokers_is_requested_again(ends: LogEnds) -> None:
    """Taken as an answer it meant that the topic does not exist, and a reader read nothing."""
    assert ends.partition_counts(["payments", "other"]) == {"payments": 2, "other": 0}


def test_a_missing_or_unauthorised_topic_has_no_partitions(
    ends: LogEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
        monkeypatch.setattr(Admin, "descriptions", (described(code, 0),))
        assert ends.partition_counts(["payments"]) == {"payments": 0}


def test_a_client_whose_requests_fail_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decision 13: it answers about the cluster, and never finds the leader of one partition."""
    made: list[Admin] = []

    class Stuck(Admin):
        descriptions = (described(None, 2),)

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.hollow = 0 if made else 1_000_000
            made.append(self)

    monkeypatch.setattr(reader, "AdminClient", Stuck)
    clock = HeldClock(0)
    stuck = LogEnds({}, clock)
    for _ in range(int(LOST_AFTER_S)):
        with pytest.raises(Retry):
            stuck.stable_once(NAMES)
        clock.advance(1_000)
        assert len(made) == 1
    with pytest.raises(Retry):
        stuck.stable_once(NAMES)
    assert len(made) == 2
    assert stuck.stable_once(NAMES) == ENDS
    for _ in range(int(LOST_AFTER_S)):  # a failure now and then does not count
        clock.advance(2_000)
        made[1].hollow = made[1].requested + 1
        with pytest.raises(Retry):
            stuck.stable_once(NAMES)
        assert stuck.stable_once(NAMES) == ENDS
    assert len(made) == 2
