"""The auditor asks again until it knows: what it is not told must not pass for an empty topic."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_INVALID,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from tests.auditor import evidence
from tests.auditor.evidence import EVENTS, Unanswered, ends, places, positions

PLACE = (EVENTS, 0)
LEVEL = IsolationLevel.READ_COMMITTED


class Client:
    """An admin client and a consumer whose first `hollow` answers say nothing; each question has a
    client of its own, so they are counted together."""

    hollow = 1
    asked = 0

    def __init__(self, config: Any) -> None:
        type(self).asked += 1
        self._knows = self.asked > self.hollow

    def list_topics(self, timeout: float) -> SimpleNamespace:
        topic = SimpleNamespace(partitions={0: None} if self.asked > 2 * self.hollow else {})
        return SimpleNamespace(brokers={1: None} if self._knows else {}, topics={EVENTS: topic})

    def list_offsets(self, wanted: Any, **_: Any) -> dict[TopicPartition, Future[Any]]:
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=7 if self._knows else OFFSET_INVALID))
        return dict.fromkeys(wanted, answer)

    def committed(self, asked: Any, timeout: float) -> list[Any]:
        if not self._knows:
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        late = self.asked <= 2 * self.hollow
        error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT) if late else None
        return [SimpleNamespace(topic=p.topic, partition=0, offset=5, error=error) for p in asked]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = type("Client", (Client,), {})
    monkeypatch.setattr(evidence, "AdminClient", made)
    monkeypatch.setattr(evidence, "Consumer", made)
    monkeypatch.setattr(evidence, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(evidence, "CALL_SECONDS_MAX", 0.2)
    return made


def test_an_end_without_an_offset_is_asked_again(client: type[Client]) -> None:
    assert ends({}, [PLACE], LEVEL) == {PLACE: 7}
    assert client.asked == 2


def test_a_cluster_without_brokers_or_partitions_is_asked_again(client: type[Client]) -> None:
    assert places({}, [EVENTS]) == [PLACE]
    assert client.asked == 3


def test_a_coordinator_that_is_none_yet_is_asked_again(client: type[Client]) -> None:
    assert positions({}, [PLACE]) == {PLACE: 5}
    assert client.asked == 3


def test_what_is_never_told_is_an_error_and_nothing_empty(client: type[Client]) -> None:
    client.hollow = 10**9
    with pytest.raises(Unanswered, match="no end"):
        ends({}, [PLACE], LEVEL)
    with pytest.raises(Unanswered, match="not complete"):
        places({}, [EVENTS])
    with pytest.raises(KafkaException, match="NOT_COORDINATOR"):
        positions({}, [PLACE])
