"""A client that reaches no broker any more is found out and replaced, and how often that may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import engine.clients.publisher
import engine.clients.reader
import engine.clients.topics_reader
from engine.clients.membership import (
    ASK_AFTER_S,
    JOIN_S_MAX,
    LOOK_EVERY_S,
    LOST_AFTER_S,
    RENEWALS_MAX,
    RENEWALS_S,
    SEEN_LATE,
    STATISTICS_MS,
    BrokerLiveness,
    Membership,
    Renewals,
)
from engine.clients.partition_errors import ReaderErrors
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import PartitionReader
from engine.clients.topics_reader import TopicsReader
from engine.clock import HeldClock
from engine.errors import ConsumerLost, Exit


class Cluster:
    """What a client asks; `error` None: it answers."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.asked = 0

    def answer(self, *_: Any, timeout: float) -> None:
        self.asked += 1
        if self.error is not None:
            raise KafkaException(KafkaError(self.error))


def after(clock: HeldClock, seconds: float) -> None:
    clock.sleep(seconds)


class Member:
    """A consumer that is in its group, or is not."""

    def __init__(self) -> None:
        self.generation = 3
        self.asked = 0

    def consumer_group_metadata(self) -> bytes:
        self.asked += 1
        member = b"me" if self.generation >= 0 else b""
        return b"CGMDv2:" + self.generation.to_bytes(4, "little", signed=True) + b"g\0%s\0" % member


def test_a_consumer_that_never_joins_its_group_is_lost() -> None:
    """JOB-03: it polls and reaches the brokers, and no partition is given to it. A member without
    one is well, and a rebalance takes its time."""
    clock, member = HeldClock(0), Member()
    membership = Membership(clock)
    consumer: Any = member
    for _ in range(100):
        after(clock, LOOK_EVERY_S)
        assert membership.check(consumer) == 0.0
    member.generation = -1
    for second in range(1, int(JOIN_S_MAX)):
        after(clock, LOOK_EVERY_S)
        assert membership.check(consumer) == second
        assert membership.check(consumer) == second  # not at every turn
    assert member.asked == 100 + int(JOIN_S_MAX) - 1
    after(clock, LOOK_EVERY_S)
    with pytest.raises(ConsumerLost, match="not in its group for 45 s"):
        membership.check(consumer)
    membership.renewed()
    assert membership.check(consumer) == 0.0
    after(clock, 600.0)  # it stood still itself
    assert membership.check(consumer) == 2 * LOOK_EVERY_S
    member.generation = 4
    after(clock, LOOK_EVERY_S)
    assert membership.check(consumer) == 0.0


@pytest.mark.parametrize("code", sorted(SEEN_LATE))
def test_what_takes_its_time_to_be_seen_may_come_as_often_as_it_likes(code: str) -> None:
    renewals = Renewals(HeldClock(0))
    for _ in range(10 * RENEWALS_MAX):
        renewals.note(ConsumerLost(code, "again"))


def test_a_client_that_hears_nothing_asks_and_is_lost_only_without_an_answer() -> None:
    """Silence on an idle topic is not a lost client."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    assert not line.lost(cluster.answer)
    assert cluster.asked == 0  # somebody was heard just now
    for _ in range(20):
        after(clock, ASK_AFTER_S)
        assert not line.lost(cluster.answer)
    assert cluster.asked == 20
    cluster.error = KafkaError._TRANSPORT
    after(clock, ASK_AFTER_S)
    assert not line.lost(cluster.answer)  # not yet
    after(clock, ASK_AFTER_S / 2)
    assert not line.lost(cluster.answer)
    assert cluster.asked == 21  # not at every turn
    after(clock, LOST_AFTER_S)
    assert line.lost(cluster.answer)
    line.answered()
    assert not line.lost(cluster.answer)


def test_a_process_that_stood_still_asks_twice() -> None:
    """Silence while nobody listened says nothing about the client."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TRANSPORT
    after(clock, 10 * LOST_AFTER_S)
    assert not line.lost(cluster.answer)
    after(clock, ASK_AFTER_S)
    assert line.lost(cluster.answer)


def told(line: BrokerLiveness, name: str, responses: int) -> None:
    """The client's statistics, as librdkafka writes them."""
    text = {"name": name, "type": "consumer", "rx": responses, "brokers": {"b/1": {"rx": 1}}}
    line.told_by({"x": 1})["stats_cb"](json.dumps(text))


def test_an_answer_that_comes_late_is_an_answer() -> None:
    """The question waits on the connection behind a fetch that the broker holds open,
    and behind the load of a busy machine; the client counts whatever it is answered."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    for responses in range(1, 20):
        told(line, "consumer-1", responses)
        after(clock, ASK_AFTER_S)
        assert not line.lost(cluster.answer)
        after(clock, LOST_AFTER_S)
    assert cluster.asked == 19
    told(line, "consumer-1", 19)  # none since
    after(clock, ASK_AFTER_S)
    assert line.lost(cluster.answer)


def test_a_client_that_is_answered_all_the_time_is_never_asked() -> None:
    """A question blocks the polling thread for half a second."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    for responses in range(1, 100):
        after(clock, STATISTICS_MS / 1000)
        told(line, "consumer-1", responses)
        assert not line.lost(cluster.answer)
    assert cluster.asked == 0


def test_a_client_that_was_replaced_does_not_speak_for_the_one_that_replaced_it() -> None:
    """Its count is its own; it is still being closed."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    told(line, "consumer-1", 5_000)
    for _ in range(int(LOST_AFTER_S / ASK_AFTER_S)):
        assert not line.lost(cluster.answer)
        after(clock, ASK_AFTER_S)
        told(line, "consumer-2", 0)
        told(line, "consumer-1", 5_000)
    assert line.lost(cluster.answer)


def test_a_client_that_may_not_ask_ends_the_process() -> None:
    """No waiting and no other client cures it."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError.TOPIC_AUTHORIZATION_FAILED
    after(clock, ASK_AFTER_S)
    with pytest.raises(Exit):
        line.lost(cluster.answer)


def test_a_place_in_the_group_is_taken_back_a_few_times_and_not_for_ever() -> None:
    """Two processes with one instance id: one of them ends. Now and then is no fight."""
    clock = HeldClock(0)
    renewals = Renewals(clock)
    error = ConsumerLost("FENCED_INSTANCE_ID", "fenced")
    for _ in range(10):
        renewals.note(error)
        after(clock, RENEWALS_S / RENEWALS_MAX)
    after(clock, RENEWALS_S)
    for _ in range(RENEWALS_MAX):
        renewals.note(error)
    with pytest.raises(Exit, match="CONSUMER_LOST") as end:
        renewals.note(error)
    assert "FENCED_INSTANCE_ID" in str(end.value)


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
    """Gives what the test has put there; the first of them may be cut off."""

    made: list[FakeConsumer]

    def __init__(self, config: dict[str, Any]) -> None:
        self.made.append(self)
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


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> tuple[HeldClock, list[FakeConsumer]]:
    clock = HeldClock(0)
    FakeConsumer.made = []
    for module in (engine.clients.reader, engine.clients.topics_reader):
        monkeypatch.setattr(module, "Consumer", FakeConsumer)
        monkeypatch.setattr(module, "SystemClock", lambda: clock)
    return clock, FakeConsumer.made


def test_a_reader_that_is_cut_off_goes_on_with_another_client_where_it_stood(
    consumers: tuple[HeldClock, list[FakeConsumer]],
) -> None:
    """Nothing is read twice or left out, and what was stopped stays stopped."""
    clock, made = consumers
    reader = PartitionReader({}, "t", {0: 5, 1: 7, 2: 9})
    made[0].waiting = [Record("t", 0, 5), Record("t", 0, 8), Record("t", 2, 9)]
    reader.stop(2)
    batches, _ = reader.read(10, 0.0)
    assert {n: [r.offset for r in batch] for n, batch in batches.items()} == {0: [5, 8], 2: [9]}
    made[0].cut_off = True
    for _ in range(int(LOST_AFTER_S / ASK_AFTER_S)):
        assert len(made) == 1
        after(clock, ASK_AFTER_S)
        assert reader.read(10, 0.0) == ({}, {})
    assert made[0].closed
    assert made[1].start == {("t", 0): 9, ("t", 1): 7}
    made[1].waiting = [Record("t", 1, 7)]
    assert list(reader.read(10, 0.0)[0]) == [1]


def test_a_reader_that_is_cut_off_of_several_topics_goes_on_with_another_client(
    consumers: tuple[HeldClock, list[FakeConsumer]],
) -> None:
    """As above, for the projector's."""
    clock, made = consumers
    reader = TopicsReader(
        {}, {("a", 0): 1, ("b", 0): 2}, queued_kb=1, errors=ReaderErrors("r", clock)
    )
    made[0].waiting = [Record("b", 0, 4)]
    assert list(reader.read(10, 0.0).records) == [("b", 0)]
    made[0].cut_off = True
    for _ in range(int(LOST_AFTER_S / ASK_AFTER_S)):
        after(clock, ASK_AFTER_S)
        reader.read(10, 0.0)
    assert made[0].closed
    assert made[1].start == {("a", 0): 1, ("b", 0): 5}


class FakeProducer:
    """Acknowledges at once, unless it is cut off."""

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


def test_a_publisher_that_is_cut_off_confirms_nothing_and_goes_on_with_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waits is told at once, and publishing again is confirmed."""

    class QuickClock(HeldClock):
        def monotonic_s(self) -> float:
            self.sleep(ASK_AFTER_S)  # each look at it takes so long
            return super().monotonic_s()

    FakeProducer.made = []
    monkeypatch.setattr(engine.clients.publisher, "Producer", FakeProducer)
    monkeypatch.setattr(engine.clients.publisher, "POLL_S", 0.01)
    publisher = Publisher({}, "test", QuickClock(0))
    try:
        with pytest.raises(NotConfirmed, match="PURGE"):
            publisher.publish("t", b"k", b"v", partition=0, timeout_s=1e9)
        assert publisher.publish("t", b"k", b"v", partition=0, timeout_s=1e9).offset == 3
    finally:
        publisher.close()
    assert [each.purged for each in FakeProducer.made] == [True, False]
