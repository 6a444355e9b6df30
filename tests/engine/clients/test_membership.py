"""A client that no longer reaches a broker is detected and replaced, a bounded number of times."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

import engine.clients.publisher
from engine.clients.membership import (
    ASK_AFTER_S,
    JOIN_S_MAX,
    LOOK_EVERY_S,
    LOST_AFTER_S,
    RENEWALS_MAX,
    RENEWALS_S,
    SEEN_LATE,
    STATISTICS_S,
    BrokerLiveness,
    Membership,
    Renewals,
)
from engine.clients.partition_errors import ReaderErrors
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import PartitionReader
from engine.clients.topics_reader import TopicsReader
from engine.errors import ConsumerLost, Exit
from tests.clock import HeldClock
from tests.engine.clients.doubles import FakeConsumer, FakeProducer, Record


class Cluster:
    """Answers a client's metadata request, or raises `error`."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.requested = 0

    def answer(self, *_: Any, timeout: float) -> None:
        self.requested += 1
        if self.error is not None:
            raise KafkaException(KafkaError(self.error))


def after(clock: HeldClock, seconds: float) -> None:
    clock.sleep(seconds)


class Member:
    """A consumer that is a group member or not."""

    def __init__(self) -> None:
        self.generation = 3
        self.requested = 0

    def consumer_group_metadata(self) -> bytes:
        self.requested += 1
        member = b"me" if self.generation >= 0 else b""
        return b"CGMDv2:" + self.generation.to_bytes(4, "little", signed=True) + b"g\0%s\0" % member


def test_a_consumer_that_never_joins_its_group_is_lost() -> None:
    """JOB-03: it polls and reaches the brokers but gets no partition. A member without a partition
    is healthy, and a rebalance takes time.
    """
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
        assert membership.check(consumer) == second  # not on every turn
    assert member.requested == 100 + int(JOIN_S_MAX) - 1
    after(clock, LOOK_EVERY_S)
    with pytest.raises(ConsumerLost, match="not in its group for 45 s"):
        membership.check(consumer)
    membership.renewed()
    assert membership.check(consumer) == 0.0
    after(clock, 600.0)  # the process itself was paused
    assert membership.check(consumer) == 2 * LOOK_EVERY_S
    member.generation = 4
    after(clock, LOOK_EVERY_S)
    assert membership.check(consumer) == 0.0


@pytest.mark.parametrize("code", sorted(SEEN_LATE))
def test_a_loss_that_takes_long_to_detect_may_repeat_without_limit(code: str) -> None:
    renewals = Renewals(HeldClock(0))
    for _ in range(10 * RENEWALS_MAX):
        renewals.note(ConsumerLost(code, "again"))


def test_a_silent_client_is_lost_only_if_the_broker_does_not_answer() -> None:
    """Silence on an idle topic is not a lost client."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    assert not line.lost(cluster.answer)
    assert cluster.requested == 0  # a broker answered just now
    for _ in range(20):
        after(clock, ASK_AFTER_S)
        assert not line.lost(cluster.answer)
    assert cluster.requested == 20
    cluster.error = KafkaError._TRANSPORT
    after(clock, ASK_AFTER_S)
    assert not line.lost(cluster.answer)  # not yet
    after(clock, ASK_AFTER_S / 2)
    assert not line.lost(cluster.answer)
    assert cluster.requested == 21  # not on every turn
    after(clock, LOST_AFTER_S)
    assert line.lost(cluster.answer)
    line.answered()
    assert not line.lost(cluster.answer)


def test_a_paused_process_asks_twice() -> None:
    """Silence while nothing was polled says nothing about the client."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TRANSPORT
    after(clock, 10 * LOST_AFTER_S)
    assert not line.lost(cluster.answer)
    after(clock, ASK_AFTER_S)
    assert line.lost(cluster.answer)


def report_responses(line: BrokerLiveness, name: str, responses: int) -> None:
    """The client's statistics in librdkafka's format."""
    text = {"name": name, "type": "consumer", "rx": responses, "brokers": {"b/1": {"rx": 1}}}
    line.with_statistics({"x": 1})["stats_cb"](json.dumps(text))


def test_a_late_answer_counts() -> None:
    """The request waits on the connection behind a fetch that the broker holds open, and on a busy
    machine. The client counts every answer.
    """
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    for responses in range(1, 20):
        report_responses(line, "consumer-1", responses)
        after(clock, ASK_AFTER_S)
        assert not line.lost(cluster.answer)
        after(clock, LOST_AFTER_S)
    assert cluster.requested == 19
    report_responses(line, "consumer-1", 19)  # no answer since
    after(clock, ASK_AFTER_S)
    assert line.lost(cluster.answer)


def test_a_client_that_gets_answers_is_never_asked() -> None:
    """The request blocks the polling thread for half a second."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    for responses in range(1, 100):
        after(clock, STATISTICS_S)
        report_responses(line, "consumer-1", responses)
        assert not line.lost(cluster.answer)
    assert cluster.requested == 0


def test_the_answers_of_a_replaced_client_do_not_count_for_its_successor() -> None:
    """The old client keeps counting while it is being closed."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError._TIMED_OUT
    report_responses(line, "consumer-1", 5_000)
    for _ in range(int(LOST_AFTER_S / ASK_AFTER_S)):
        assert not line.lost(cluster.answer)
        after(clock, ASK_AFTER_S)
        report_responses(line, "consumer-2", 0)
        report_responses(line, "consumer-1", 5_000)
    assert line.lost(cluster.answer)


def test_a_client_without_authorisation_ends_the_process() -> None:
    """Neither waiting nor another client helps."""
    clock, cluster = HeldClock(0), Cluster()
    line = BrokerLiveness(clock)
    cluster.error = KafkaError.TOPIC_AUTHORIZATION_FAILED
    after(clock, ASK_AFTER_S)
    with pytest.raises(Exit):
        line.lost(cluster.answer)


def test_a_fenced_member_rejoins_a_few_times_and_not_for_ever() -> None:
    """Of two processes with one instance id, one ends. An occasional fence is not that case."""
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


def test_a_disconnected_reader_continues_with_another_client_at_its_position(
    consumers: tuple[HeldClock, list[FakeConsumer]],
) -> None:
    """Nothing is read twice or skipped, and paused partitions stay paused."""
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


def test_a_disconnected_reader_of_several_topics_continues_with_another_client(
    consumers: tuple[HeldClock, list[FakeConsumer]],
) -> None:
    """The same for the projector's reader."""
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


def test_a_disconnected_publisher_confirms_nothing_and_continues_with_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting callers get an error at once, and a repeated publish is confirmed."""

    class QuickClock(HeldClock):
        def monotonic_s(self) -> float:
            self.sleep(ASK_AFTER_S)  # the duration of each check
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
