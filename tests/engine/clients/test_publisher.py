"""What a record that the client itself refuses means to the caller of a publisher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import engine.clients.publisher
from engine.clients.publisher import NotConfirmed, Publisher, Refused
from engine.errors import Exit


class Refusing:
    """A client that accepts no record."""

    code = 0

    def __init__(self, config: dict[str, Any]) -> None:
        pass

    def produce(self, *record: object, on_delivery: Callable[..., None], headers: object) -> None:
        raise KafkaException(KafkaError(self.code, "refused here"))

    def poll(self, seconds: float) -> int:
        return 0

    def flush(self, seconds: float) -> int:
        return 0

    def close(self) -> None:
        pass

    def list_topics(self, *topic: str, timeout: float) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr(engine.clients.publisher, "Producer", Refusing)
    made = Publisher({}, "test")
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (KafkaError._UNKNOWN_PARTITION, NotConfirmed),
        (KafkaError._TIMED_OUT, NotConfirmed),
        (KafkaError._INVALID_ARG, NotConfirmed),
        (KafkaError.MSG_SIZE_TOO_LARGE, Refused),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Exit),
    ],
)
def test_the_callers_know_every_error(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, code: int, raised: type[Exception]
) -> None:
    """Abort, which is for transactions, used to leave this class; nobody expected it."""
    monkeypatch.setattr(Refusing, "code", code)
    with pytest.raises((NotConfirmed, Exit)) as found:
        publisher.publish("t", b"k", b"v", partition=0)
    assert type(found.value) is raised
