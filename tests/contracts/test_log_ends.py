"""What brokers say of where partitions end is believed only when it is an offset."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from engine import reader
from engine.clock import HeldClock
from engine.errors import Retry
from engine.reader import LogEnds

NAMES = [("payments", 0), ("payments", 1)]
ENDS = {("payments", 0): 7, ("payments", 1): 9}


class Admin:
    """A client that for its first `hollow` answers knows no leader of the second partition."""

    hollow = 1

    def __init__(self, config: Any) -> None:
        self.asked = 0

    def list_topics(self, timeout: float) -> None:
        pass

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
