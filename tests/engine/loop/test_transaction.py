"""The transactional producer's rules without a broker: an unclear end replaces the producer, and an
unknown clock is not a good clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
)

import engine.loop.transaction
from engine.errors import Abort, Exit, Fenced, Rebuild, Retry, WrongOrder
from engine.loop.transaction import Status, TransactionalProducer, TransactionSettings
from tests.clock import HeldClock

NOW_MS = 1_767_225_600_000
SETTINGS = TransactionSettings()
OFFSETS = {("t", 0): 5}
TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
REFUSED = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR, txn_requires_abort=True))
FENCED = KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))


class Delivered:
    """A broker's delivery report for a record."""

    def __init__(self, kind: int, at_ms: int) -> None:
        self._timestamp = kind, at_ms

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp


class Client:
    """librdkafka's transactional producer; the test sets what each call does."""

    made: list[Client]
    clock: HeldClock
    does: dict[str, BaseException]  # by call: what it raises
    takes_ms: dict[str, int]  # by call
    delivers: Delivered | KafkaError | None  # None: no answer to a record

    def __init__(self, config: dict[str, Any]) -> None:
        self.made.append(self)
        self.error_cb = config["error_cb"]
        self.calls: list[str] = []
        self.waiting: list[Any] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.clock.advance(self.takes_ms.get(name, 0))
        if name in self.does:
            raise self.does[name]

    def init_transactions(self, wait_s: float) -> None:
        self._called("init")

    def begin_transaction(self) -> None:
        self._called("begin")

    def send_offsets_to_transaction(self, places: list[Any], group: Any, wait_s: float) -> None:
        self.sent = {(p.topic, p.partition): (p.offset, p.metadata) for p in places}
        self._called("send_offsets")

    def produce(self, *arguments: Any) -> None:
        self._called("produce")
        if len(arguments) > 4 and arguments[4] is not None:
            self.waiting.append(arguments[4])

    def flush(self, wait_s: float) -> int:
        self._called("flush")
        if self.delivers is None:
            return len(self.waiting)
        error = self.delivers if isinstance(self.delivers, KafkaError) else None
        for report in self.waiting:
            report(error, Delivered(TIMESTAMP_CREATE_TIME, 0) if error else self.delivers)
        self.waiting.clear()
        return 0

    def commit_transaction(self, wait_s: float) -> None:
        self._called("commit")

    def abort_transaction(self, wait_s: float) -> None:
        self._called("abort")

    def purge(self) -> None:
        self.waiting.clear()


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[TransactionalProducer]:
    Client.made, Client.does, Client.takes_ms = [], {}, {}
    Client.clock = HeldClock(NOW_MS)
    Client.delivers = Delivered(TIMESTAMP_LOG_APPEND_TIME, NOW_MS)
    monkeypatch.setattr(engine.loop.transaction, "Producer", Client)
    made = TransactionalProducer({}, "npp-1", Client.clock, SETTINGS)
    made.init()
    yield made
    made.destroy()


def open_one(producer: TransactionalProducer) -> None:
    producer.begin()
    producer.send_offsets(OFFSETS, b"group")
    producer.produce([("t", b"v", b"k", 0, None)], {("t", 0): 0})


def status(producer: TransactionalProducer) -> Status:
    return producer.status


def whole_one(producer: TransactionalProducer, end: str) -> None:
    open_one(producer)
    getattr(producer, end)()


# -- begin -----------------------------------------------------------------------------------------


def test_every_transaction_starts_at_the_client_with_its_own_nonce(
    producer: TransactionalProducer,
) -> None:
    """engine.md: the nonce is in the committed offsets and identifies the transaction."""
    nonces = set()
    for _ in range(3):
        open_one(producer)
        (client,) = Client.made
        assert client.sent == {("t", 0): (5, producer.nonce)}
        producer.commit()
        nonces.add(producer.nonce)
    assert client.calls == ["init"] + ["begin", "send_offsets", "produce", "flush", "commit"] * 3
    assert len(nonces) == 3


def test_a_transaction_that_could_not_begin_is_not_open(producer: TransactionalProducer) -> None:
    """The previous nonce must not stand for it."""
    open_one(producer)
    producer.commit()
    before = producer.nonce
    Client.does["begin"] = FENCED
    with pytest.raises(Fenced):
        producer.begin()
    assert producer.nonce != before
    assert status(producer) is not Status.OPEN
    for call in (producer.commit, producer.abort):
        with pytest.raises(WrongOrder):
            call()


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["commit", "abort"])
@pytest.mark.parametrize("error", [None, TIMED_OUT], ids=["slow", "no answer"])
def test_a_slow_or_unanswered_end_is_unclear(
    producer: TransactionalProducer, end: str, error: BaseException | None
) -> None:
    """engine.md: after an unclear end never begin another transaction on that producer: a delayed
    EndTxn could end the later one.
    """
    open_one(producer)
    if error is None:
        Client.takes_ms[end] = SETTINGS.slow_ms + 1
    else:
        Client.does[end] = error
    with pytest.raises(Rebuild):
        getattr(producer, end)()
    assert status(producer) is Status.BROKEN
    with pytest.raises(WrongOrder):
        producer.begin()
    Client.takes_ms, Client.does = {}, {}
    producer.rebuild()
    assert len(Client.made) == 2
    assert Client.made[1].calls == ["init"]
    open_one(producer)
    assert producer.commit() == {("t", 0): 7}


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_an_end_within_the_limit_is_certain(producer: TransactionalProducer, end: str) -> None:
    open_one(producer)
    Client.takes_ms[end] = SETTINGS.slow_ms
    getattr(producer, end)()
    assert status(producer) is Status.READY
    assert len(Client.made) == 1


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_client_error_during_a_transaction_makes_its_end_unclear(
    producer: TransactionalProducer, end: str
) -> None:
    """engine.md: `error_cb` during it; an earlier error is forgotten."""
    Client.made[0].error_cb(KafkaError(KafkaError._TRANSPORT))
    open_one(producer)
    getattr(producer, end)()
    assert status(producer) is Status.READY
    open_one(producer)
    Client.made[0].error_cb(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(Rebuild, match="_TRANSPORT"):
        getattr(producer, end)()
    assert status(producer) is Status.BROKEN


def test_after_a_refusal_before_the_end_the_transaction_is_aborted(
    producer: TransactionalProducer,
) -> None:
    """The end is certain, and the same producer continues."""
    open_one(producer)
    Client.does["commit"] = REFUSED
    with pytest.raises(Abort):
        producer.commit()
    assert status(producer) is Status.OPEN
    assert producer.abort_or_rebuild() is False
    assert status(producer) is Status.READY


def test_a_slow_abort_only_replaces_the_producer(producer: TransactionalProducer) -> None:
    open_one(producer)
    Client.takes_ms["abort"] = SETTINGS.slow_ms + 1
    assert producer.abort_or_rebuild() is True
    assert status(producer) is Status.READY
    assert len(Client.made) == 2


def test_a_commit_waits_until_every_record_is_acknowledged(
    producer: TransactionalProducer,
) -> None:
    """Then only the commit itself can be unclear. A client that lost the leader of one partition
    never gets the acknowledgement (decision 13): another one runs the batch again.
    """
    open_one(producer)
    Client.delivers = None
    with pytest.raises(Abort, match="1 records are not acknowledged"):
        producer.commit()
    assert "commit" not in Client.made[0].calls
    assert status(producer) is Status.BROKEN
    assert producer.abort_or_rebuild()
    assert len(Client.made) == 2
    Client.delivers = Delivered(TIMESTAMP_LOG_APPEND_TIME, NOW_MS)
    whole_one(producer, "commit")
    assert status(producer) is Status.READY


@pytest.mark.parametrize("call", ["begin", "send_offsets", "flush", "commit", "abort"])
def test_fencing_ends_the_process_whichever_call_reports_it(
    producer: TransactionalProducer, call: str
) -> None:
    """engine.md: fenced by a newer instance is EXIT, even hidden in a SystemError."""
    hidden = SystemError("returned a result with an exception set")
    hidden.__cause__ = FENCED
    for error in (FENCED, hidden):
        Client.does = {call: error}
        with pytest.raises(Fenced):
            whole_one(producer, "abort" if call == "abort" else "commit")
        Client.does = {}
        producer.rebuild()


def test_a_fatal_error_that_the_client_lost_is_queried(
    producer: TransactionalProducer,
) -> None:
    """engine.md: fenced by a newer instance is EXIT. Seen in the verifier's `flush`: the fence came
    between two callbacks, and the client "returned NULL without setting an exception".
    """
    lost = SystemError("flush returned NULL without setting an exception")
    open_one(producer)
    Client.does = {"flush": lost, "abort": FENCED}
    with pytest.raises(Fenced):
        producer.commit()
    Client.does = {}
    producer.rebuild()
    open_one(producer)
    Client.does = {"flush": lost}
    with pytest.raises(Rebuild, match="_LOST_ERROR"):
        producer.commit()
    assert status(producer) is Status.BROKEN
    assert "commit" not in Client.made[-1].calls


def test_a_coordinator_that_aborted_a_slow_transaction_is_no_newer_instance(
    producer: TransactionalProducer,
) -> None:
    """Its answer looks like a fence, but no newer instance exists; a new producer continues."""
    open_one(producer)
    Client.clock.advance(SETTINGS.timeout_ms)
    Client.does["commit"] = FENCED
    with pytest.raises(Rebuild, match="TRANSACTION_TIMED_OUT"):
        producer.commit()
    assert status(producer) is Status.BROKEN


# -- the clock probe -------------------------------------------------------------------------------


@pytest.mark.parametrize("off_ms", [0, -90_000, 90_000])
def test_the_probe_measures_the_brokers_clock_and_leaves_nothing(
    producer: TransactionalProducer, off_ms: int
) -> None:
    Client.delivers = Delivered(TIMESTAMP_LOG_APPEND_TIME, NOW_MS + off_ms)
    assert producer.probe_clock("t") == off_ms
    assert Client.made[0].calls[-1] == "abort"
    assert status(producer) is Status.READY


@pytest.mark.parametrize(
    "delivers",
    [
        None,
        Delivered(TIMESTAMP_CREATE_TIME, NOW_MS),
        KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not allowed"),
    ],
    ids=["no answer", "the producer's time", "refused"],
)
def test_a_probe_without_the_brokers_time_does_not_count_as_a_good_clock(
    producer: TransactionalProducer, delivers: Delivered | KafkaError | None
) -> None:
    """Domain §8: otherwise the check would be skipped."""
    Client.delivers = delivers
    with pytest.raises(Retry):
        producer.probe_clock("t")
    assert status(producer) is Status.READY


def test_a_probe_does_not_use_the_time_of_the_previous_one(
    producer: TransactionalProducer,
) -> None:
    assert producer.probe_clock("t") == 0
    Client.delivers = Delivered(TIMESTAMP_CREATE_TIME, NOW_MS)
    with pytest.raises(Retry):
        producer.probe_clock("t")


@pytest.mark.parametrize("call", ["begin", "produce", "flush", "abort"])
def test_fencing_found_by_the_probe_ends_the_process(
    producer: TransactionalProducer, call: str
) -> None:
    """The probe's flush raised a SystemError, which no supervisor understands."""
    hidden = SystemError("returned a result with an exception set")
    hidden.__cause__ = FENCED
    Client.does = {call: hidden}
    with pytest.raises(Exit, match="_FENCED"):
        producer.probe_clock("t")
    Client.does = {}
