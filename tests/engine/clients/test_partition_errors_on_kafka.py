"""Batches that no client can unpack, positions outside the log, and late answers: on a real Kafka,
through the loop, an adapter's worker and readers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from engine.clients import membership as liveness
from engine.clients import stall_detection
from engine.clients.partition_errors import PartitionErrors
from engine.clients.publisher import Outgoing
from engine.clients.readable import bad_batch
from engine.clients.reader import LogEnds, PartitionReader, read_all
from engine.clients.topics_reader import TopicsReader
from engine.clock import SystemClock
from engine.errors import Exit
from engine.partitioner import partition_of
from engine.ports import InputRecord
from evidence.log import KafkaEvidenceLog
from tests.broker.source import Kafka
from tests.engine.kafka_rig import Rig, rig
from tests.engine.toy import ADD, ANSWERS
from tests.engine.worker.test_worker_on_kafka import Running, answer, answers

WAIT_S = 40.0
# The client unpacks at most 100,000,000 bytes (receive.message.max.bytes); Kafka counts the 4 KB.
UNPACKED_BYTES = 101_000_000
BAD = 1  # the partition
KEYS = [b"key-%d" % n for n in range(20)]
HERE = [key for key in KEYS if partition_of(key, 3) == BAD]
THERE = [key for key in KEYS if partition_of(key, 3) != BAD]


@pytest.fixture
def toy(kafka: Kafka, tmp_path: Path) -> Iterator[Rig]:
    """Topics of its own on the shared Kafka, with one record of each key before the bad batch."""
    with rig(kafka.bootstrap, tmp_path, f"bad{uuid.uuid4().hex[:8]}") as made:
        made.send(len(KEYS))
        yield made


def spoil(toy: Rig, records: int = 1) -> str:
    """Append a batch that no client can unpack; return its partition and offset as text."""
    placed: list[int | None] = []
    producer = Producer(
        {
            **toy.connection, "compression.type": "zstd", "message.max.bytes": 200_000_000,
            "queue.buffering.max.kbytes": 2_000_000, "batch.size": 200_000_000, "linger.ms": 1_000,
        }
    )  # fmt: skip
    for _ in range(records):
        producer.produce(
            toy.topic(ADD), bytes(UNPACKED_BYTES // records), b"k", BAD,
            on_delivery=lambda error, message: placed.append(None if error else message.offset()),
        )  # fmt: skip
    assert producer.flush(WAIT_S) == 0
    assert placed[0] is not None, "NV: the broker has not taken it"
    return f"{toy.topic(ADD)} partition {BAD} at offset {placed[0]}: _BAD_COMPRESSION"


def test_the_loop_names_a_batch_it_cannot_unpack_and_decides_everything_else(
    toy: Rig,
) -> None:
    """Its consumer used to be replaced every 12 s without end and without an alert."""
    process = toy.start()
    toy.wait_for(len(KEYS))
    where = spoil(toy)
    toy.send(len(KEYS))
    toy.until(lambda: f"cannot read on: {where}" in toy.log(), "it is named")
    toy.wait_for(len(KEYS) + len(THERE))
    time.sleep(stall_detection.NOT_FETCHING_S + 4 * stall_detection.LOOK_EVERY_S)
    toy.send(len(KEYS), topic=ANSWERS)
    toy.wait_for(len(KEYS) + len(THERE) + len(KEYS))
    assert "is replaced" not in toy.log()
    assert toy.log().count("cannot read on") == 1
    process.terminate()
    assert process.wait(30) == 0
    counted = {line["key"].encode() for line in toy.lines() if f"{ADD[3:]}/" in line["cause"]}
    assert counted == set(KEYS)


def test_an_adapter_names_a_batch_it_cannot_unpack_and_handles_everything_else(
    toy: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For the worker and its look-ahead reader."""
    for name, seconds in (("LOOK_EVERY_S", 0.5), ("ELAPSED_S_MAX", 1.0), ("NOT_FETCHING_S", 3.0)):
        monkeypatch.setattr(stall_detection, name, seconds)
    running = Running(toy, lambda record: answer(toy, record), lambda record: None)
    toy.until(lambda: len(answers(toy)) == len(KEYS), "all are answered", WAIT_S)
    where = spoil(toy)
    toy.send(len(KEYS))
    errors = running.health.partition_errors
    toy.until(lambda: len(list(errors)) == 2, "both clients name it", WAIT_S)
    assert {str(error).startswith(where) for _, error in errors} == {True}
    group = f"npp-{toy.application}"
    assert {reader for reader, _ in errors} == {group, f"{group} ahead"}
    toy.until(lambda: len(answers(toy)) == len(KEYS) + len(THERE), "the others are", WAIT_S)
    toy.until(
        lambda: running.health.stalled_s > 6.0, "it is stalled for longer than the limit", WAIT_S
    )
    assert not running.worker.is_fresh(BAD), "what is behind it is not known"
    toy.until(lambda: running.worker.is_fresh(0), "the others are fresh", WAIT_S)
    assert "is replaced" not in caplog.text
    running.stop()


def test_a_reader_with_an_end_fails_at_once_and_names_the_batch(
    toy: Rig,
) -> None:
    """Replay, recovery, restore and evidence used to take a minute and then report that nothing
    moved.
    """
    where = spoil(toy)
    began_s = time.monotonic()
    with pytest.raises(Exit, match=f"UNREADABLE: {where}"):
        for _ in read_all(toy.connection, toy.topic(ADD)):
            pass
    assert time.monotonic() - began_s < WAIT_S / 2


def test_a_reader_without_an_end_names_the_batch_and_reads_the_other_partitions(toy: Rig) -> None:
    """Verifier, control and look-ahead; projector and API."""
    where = spoil(toy)
    toy.send(len(KEYS))
    process = PartitionErrors(SystemClock())
    start = dict.fromkeys(range(toy.partitions), 0)
    one = PartitionReader(toy.connection, toy.topic(ADD), start, errors=process.of("one"))
    places = {(toy.topic(ADD), n): 0 for n in start}
    many = TopicsReader(toy.connection, places, queued_kb=1_000, errors=process.of("many"))
    seen: dict[str, list[int]] = {"one": [], "many": []}

    def read() -> bool:
        batches, _ = one.read(100, 0.1)
        seen["one"] += [r.partition for batch in batches.values() for r in batch]
        reading = many.read(100, 0.1)
        seen["many"] += [r.partition for batch in reading.records.values() for r in batch]
        return len(list(process)) == 2 and min(map(len, seen.values())) == whole

    whole = len(KEYS) + len(THERE)
    toy.until(read, "the others are read, and it is named", WAIT_S)
    assert {str(error).startswith(where) for _, error in process} == {True}
    one.close()
    many.close()


def test_a_reader_of_several_topics_continues_when_the_batch_is_passed_over(toy: Rig) -> None:
    """The projector also reads operators' commands."""
    where = spoil(toy)
    first = int(where.rpartition(" offset ")[2].partition(":")[0])
    toy.send(len(KEYS))
    place, errors = (toy.topic(ADD), BAD), PartitionErrors(SystemClock()).of("one")
    reader = TopicsReader(toy.connection, {place: 0}, queued_kb=1_000, errors=errors)
    seen: list[int] = []

    def read() -> list[int]:
        seen.extend(r.offset for r in reader.read(100, 0.1).records.get(place, []))
        return seen

    toy.until(lambda: len(read()) == first and bool(errors), "it is named", WAIT_S)
    reader.pass_over({place: [(first, first)]})
    end = LogEnds(toy.connection, SystemClock()).high([place])[place]
    toy.until(lambda: read()[-1] == end - 1, "it goes on", WAIT_S)
    assert seen == [*range(first), *range(first + 1, end)]
    assert not errors
    reader.close()


def test_an_adapter_with_a_position_outside_the_log_reports_it_and_starts_at_the_first_record(
    toy: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """After retention or a restored backup. Its instructions carry references, so repeating them
    has no second effect; but it used to happen silently.
    """
    group = f"npp-{toy.application}"
    consumer = Consumer({**toy.connection, "group.id": group})
    consumer.commit(offsets=[TopicPartition(toy.topic(ADD), BAD, 1_000_000)], asynchronous=False)
    consumer.close()
    running = Running(toy, lambda record: answer(toy, record))
    toy.until(lambda: len(answers(toy)) == len(KEYS), "all are answered", WAIT_S)
    said = (
        f"{group} continues with its other partitions: {toy.topic(ADD)} partition {BAD} at offset"
    )
    assert said in caplog.text
    assert [error.partition for _, error in running.health.partition_errors] == [BAD]
    assert "is replaced" not in caplog.text
    running.stop()


class Late:
    """Metadata requests are never answered in time, although the broker is healthy."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requested = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def list_topics(self, *_: Any, timeout: float) -> None:
        self.requested += 1
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


@pytest.mark.parametrize("statistics", [True, False], ids=["as it is", "without statistics"])
def test_a_broker_that_answers_is_not_called_unreachable(
    toy: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, statistics: bool
) -> None:
    """An idle adapter's request waits behind its own fetch and on a busy machine. Without the
    client's own count of answers, a healthy broker was called unreachable five times in 35 minutes.
    """
    for name, value in (("ASK_AFTER_S", 1.0), ("LOST_AFTER_S", 3.0), ("STATISTICS_S", 0.4)):
        monkeypatch.setattr(liveness, name, value)
    if not statistics:
        monkeypatch.setattr(liveness.BrokerLiveness, "note_statistics", lambda *_: None)
    running = Running(toy, lambda record: answer(toy, record))
    client = running.worker._consumer
    client._consumer = Late(client._consumer)  # type: ignore[assignment]
    if statistics:
        time.sleep(12.0)
        assert "is replaced" not in caplog.text
    else:
        toy.until(lambda: "UNREACHABLE" in caplog.text, "NV: it is called silent", WAIT_S)
    running.stop()


def test_hanging_calls_are_no_reason_to_replace_a_client(
    toy: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When such a call ended, its partition used to look stalled for the whole duration."""
    for name, seconds in (("LOOK_EVERY_S", 0.5), ("ELAPSED_S_MAX", 1.0), ("NOT_FETCHING_S", 1.5)):
        monkeypatch.setattr(stall_detection, name, seconds)

    def handler(record: InputRecord) -> Sequence[Outgoing]:
        time.sleep(2.3)
        return answer(toy, record)

    running = Running(toy, handler)
    toy.until(lambda: len(answers(toy)) == len(KEYS), "all are answered", WAIT_S)
    for more in range(4):
        toy.send(1)
        time.sleep(
            2.5 + 0.3 * more
        )  # the ends of the calls fall at every moment between two checks
    toy.until(lambda: len(answers(toy)) == len(KEYS) + 4, "all are answered", WAIT_S)
    assert "is replaced" not in caplog.text
    running.stop()


@pytest.mark.parametrize("records", [1, 7])
def test_a_passed_over_batch_is_found_from_any_offset_in_it_and_skipped(
    toy: Rig, records: int
) -> None:
    """The client names it by its first offset, whatever offset in it one starts from."""
    where = spoil(toy, records)
    first = int(where.rpartition(" offset ")[2].partition(":")[0])
    toy.send(len(KEYS))
    clock, place = SystemClock(), (toy.topic(ADD), BAD)
    end = LogEnds(toy.connection, clock).high([place])[place]
    for offset in {first, first + records // 2, first + records - 1}:
        found = bad_batch(toy.connection, clock, *place, offset, end)
        assert found == (first, first + records - 1)
    assert bad_batch(toy.connection, clock, *place, first - 1, end) is None
    assert bad_batch(toy.connection, clock, *place, first + records, end) is None

    passed = {place: [(first, first + records - 1)]}
    read = [
        (r.partition, r.offset)
        for batch in read_all(toy.connection, toy.topic(ADD), passed=passed)
        for r in batch
    ]
    here = [offset for partition, offset in read if partition == BAD]
    assert here == [*range(first), *range(first + records, end)]
    assert len(read) - len(here) == 2 * len(THERE)
    beside = [first - 1, first + records]
    assert [*KafkaEvidenceLog(toy.connection, clock).at(*place, beside)] == beside
    reader = PartitionReader(toy.connection, toy.topic(ADD), {BAD: 0})
    given: list[int] = []

    def read_on() -> None:
        while True:
            given.extend(r.offset for r in reader.read(100, 1.0)[0].get(BAD, []))

    with pytest.raises(Exit, match="UNREADABLE"):
        read_on()
    assert given == [*range(first)], "what is before it is given first"
    reader.close()
    other = {place: [(first + records, first + records + 5)]}
    with pytest.raises(Exit, match="UNREADABLE"):
        list(read_all(toy.connection, toy.topic(ADD), passed=other))


def test_a_batch_at_the_end_of_the_log_can_be_passed_over(toy: Rig) -> None:
    where = spoil(toy)
    first = int(where.rpartition(" offset ")[2].partition(":")[0])
    place = toy.topic(ADD), BAD
    assert bad_batch(toy.connection, SystemClock(), *place, first, first + 1) == (first, first)
    read = list(read_all(toy.connection, toy.topic(ADD), passed={place: [(first, first)]}))
    assert sum(map(len, read)) == len(KEYS)
