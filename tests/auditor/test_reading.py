"""The auditor repeats a request until it has an answer: a missing answer must not count as an empty
topic.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from tests.auditor.accounting import check_liveness
from tests.auditor.auditor import Case
from tests.auditor.evidence import EVENTS, Evidence, Unanswered, ends, places, positions, settled
from tests.auditor.wire import Decoder

PLACE = (EVENTS, 0)
LEVEL = IsolationLevel.READ_COMMITTED


class Client:
    """An admin client and a consumer whose first `hollow` answers are empty. Each request has its
    own client, so they are counted together.
    """

    hollow = 1
    requested = 0
    stable: Sequence[int] = (7,)  # the answer to each request for one; the last one is repeated

    def __init__(self, config: Any) -> None:
        type(self).requested += 1
        self._knows = self.requested > self.hollow

    def list_topics(self, timeout: float) -> SimpleNamespace:
        topic = SimpleNamespace(partitions={0: None} if self.requested > 2 * self.hollow else {})
        return SimpleNamespace(brokers={1: None} if self._knows else {}, topics={EVENTS: topic})

    def list_offsets(
        self, wanted: Any, isolation_level: IsolationLevel, **_: Any
    ) -> dict[TopicPartition, Future[Any]]:
        answer: Future[Any] = Future()
        offset = 7
        if isolation_level is LEVEL and self._knows:
            offset, *later = self.stable
            type(self).stable = later or [offset]
        answer.set_result(SimpleNamespace(offset=offset if self._knows else OFFSET_INVALID))
        return dict.fromkeys(wanted, answer)

    def committed(self, requested: Any, timeout: float) -> list[Any]:
        if not self._knows:
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        late = self.requested <= 2 * self.hollow
        error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT) if late else None
        return [
            SimpleNamespace(topic=p.topic, partition=0, offset=5, error=error) for p in requested
        ]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = type("Client", (Client,), {})
    monkeypatch.setattr(evidence, "AdminClient", made)
    monkeypatch.setattr(evidence, "Consumer", made)
    monkeypatch.setattr(evidence, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(evidence, "CALL_SECONDS_MAX", 0.2)
    monkeypatch.setattr(evidence, "OPEN_SECONDS_MAX", 0.2)
    return made


def test_an_end_without_an_offset_is_requested_again(client: type[Client]) -> None:
    assert ends({}, [PLACE], LEVEL) == {PLACE: 7}
    assert client.requested == 2


def test_metadata_without_brokers_or_partitions_is_requested_again(client: type[Client]) -> None:
    assert places({}, [EVENTS]) == [PLACE]
    assert client.requested == 3


def test_a_missing_coordinator_is_requested_again(client: type[Client]) -> None:
    assert positions({}, [PLACE]) == {PLACE: 5}
    assert client.requested == 3


def test_a_missing_answer_is_an_error_and_not_an_empty_topic(client: type[Client]) -> None:
    client.hollow = 10**9
    with pytest.raises(Unanswered, match="no end"):
        ends({}, [PLACE], LEVEL)
    with pytest.raises(Unanswered, match="not complete"):
        places({}, [EVENTS])
    with pytest.raises(KafkaException, match="NOT_COORDINATOR"):
        positions({}, [PLACE])


def hangs(stable: dict[tuple[str, int], tuple[int, int]]) -> bool:
    """Invariant L's findings about these ends."""
    looked = Evidence(records={}, schemas={}, stable=stable)
    case = Case(looked, Decoder({}), drained=True)
    check_liveness(case)
    return bool(case.violations)


@pytest.mark.parametrize("answers", [[7], [5, 5, 7], [5, 9], [9]])
def test_a_transaction_that_ends_during_the_audit_does_not_hang(
    client: type[Client], answers: list[int]
) -> None:
    client.stable = answers
    stable = settled({}, [PLACE])
    assert stable == {PLACE: (answers[-1], answers[-1])}
    assert not hangs(stable)


def test_a_transaction_that_stays_open_hangs(client: type[Client]) -> None:
    client.stable = [5]
    stable = settled({}, [PLACE])
    assert stable == {PLACE: (5, 7)}
    assert hangs(stable)
