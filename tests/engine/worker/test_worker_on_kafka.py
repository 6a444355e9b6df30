"""Worker, publisher, look-ahead reader, reader and topic administration on a real Kafka."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from engine.clients import stall_detection
from engine.clients.groups import GroupAdmin
from engine.clients.publisher import Outgoing, Publisher
from engine.clients.reader import LogEnds, read_all
from engine.clock import SystemClock
from engine.loop.watch import Health, Phase
from engine.partitioner import partition_of
from engine.ports import InputRecord
from engine.records import LogRecord
from engine.topics import TopicAdmin, TopicSpec
from engine.worker import consumer as worker_consumer
from engine.worker.settings import Handler, TryAgain, WorkerSettings
from engine.worker.worker import Worker
from tests.broker.source import Kafka
from tests.engine.kafka_rig import Rig, rig
from tests.engine.toy import ADD, ANSWERS, CONTROL, ToyControl

WAIT_S = 40.0
AHEAD_MAX = 50  # records read and not done


@pytest.fixture
def toy(kafka: Kafka, tmp_path: Path) -> Iterator[Rig]:
    """Topics of its own on the shared Kafka."""
    with rig(kafka.bootstrap, tmp_path, f"wrk{uuid.uuid4().hex[:8]}") as made:
        yield made


class Running:
    """A worker in a thread of this process."""

    def __init__(
        self, toy: Rig, handler: Handler, observe: object = None, instance: str = "one"
    ) -> None:
        clock = SystemClock()
        self.health = Health(clock)
        self.publisher = Publisher(toy.connection, "test", clock)
        self.worker = Worker(
            WorkerSettings(
                connection=toy.connection,
                group=f"npp-{toy.application}",
                topics=(toy.topic(ADD),),
                control_topic=toy.topic(CONTROL),
                records_max=AHEAD_MAX,
                session_timeout_ms=6_000,
                instance_id=instance,
            ),
            handler,
            self.publisher,
            ToyControl(),
            clock,
            self.health,
            observe=observe,  # type: ignore[arg-type]
        )
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.worker.request_stop()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        self.publisher.close()


def answer(toy: Rig, record: InputRecord) -> Sequence[Outgoing]:
    """One answer per record, naming it."""
    cause = f"{record.partition}/{record.offset}".encode()
    return [Outgoing(toy.topic(ANSWERS), record.key, cause)]


def answers(toy: Rig) -> list[LogRecord]:
    return [r for batch in read_all(toy.connection, toy.topic(ANSWERS)) for r in batch]


def test_every_record_is_answered_in_order_per_key_and_never_skipped(toy: Rig) -> None:
    """Lanes keep the order of a key, and all answers exist after a clean stop and a restart. The
    stop drops what waits; what was done behind it in its partition is not committed and done again.
    """
    toy.send(300)
    first = Running(toy, lambda record: answer(toy, record))
    toy.until(lambda: len(answers(toy)) >= 100, "some are answered", WAIT_S)
    first.stop()
    second = Running(toy, lambda record: answer(toy, record))
    toy.send(100)
    toy.until(lambda: len({r.value for r in answers(toy)}) >= 400, "all are answered", WAIT_S)
    second.stop()
    found = answers(toy)
    assert len(found) - len({r.value for r in found}) <= AHEAD_MAX
    for key in {r.key for r in found}:
        mine = [int((r.value or b"").split(b"/")[1]) for r in found if r.key == key]
        firsts = list(dict.fromkeys(mine))
        assert firsts == sorted(firsts)


def test_a_record_without_an_answer_from_outside_is_retried_and_blocks_its_key_only(
    toy: Rig,
) -> None:
    """TryAgain blocks the lane, not the others; nothing behind it is committed."""
    down = threading.Event()
    tries: list[int] = []

    def handler(record: InputRecord) -> Sequence[Outgoing]:
        if record.key == b"key-0" and not down.is_set():
            tries.append(record.offset)
            raise TryAgain("not now", 0.1)
        return answer(toy, record)

    toy.send(20, keys=5)
    running = Running(toy, handler)
    toy.until(lambda: len(answers(toy)) >= 16, "the other keys are answered", WAIT_S)
    assert len(answers(toy)) == 16
    down.set()
    toy.until(lambda: len(answers(toy)) >= 20, "the held key is answered", WAIT_S)
    running.stop()
    assert len(tries) >= 1
    assert len(set(tries)) == 1


def test_a_fenced_worker_rejoins_and_skips_nothing(
    toy: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 10: fenced by its own late heartbeat, the client is replaced, and the new one still waits
    for what the look-ahead must have read.
    """
    running = Running(toy, lambda record: answer(toy, record), observe=lambda record: None)
    toy.send(20)
    toy.until(lambda: len(answers(toy)) == 20, "all are answered", WAIT_S)
    thief = toy.take_place(f"npp-{toy.application}-one", [ADD])
    toy.until(lambda: "is replaced" in caplog.text, "it is fenced", WAIT_S)
    thief.close()
    toy.send(20)
    toy.until(lambda: len({r.value for r in answers(toy)}) == 40, "all are answered", WAIT_S)
    running.stop()


def test_a_stop_on_control_pauses_the_handlers(toy: Rig) -> None:
    """Domain §10: adapters obey STOP too; work waits in its topic."""
    toy.control(b"stop")
    toy.send(10)
    running = Running(toy, lambda record: answer(toy, record))
    time.sleep(3)
    assert answers(toy) == []
    toy.control(b"go")
    toy.until(lambda: len(answers(toy)) == 10, "all are answered", WAIT_S)
    running.stop()


def test_a_partition_reassigned_after_a_stop_is_read(toy: Rig) -> None:
    """JOB-03: the client keeps a partition's pause until it is assigned again; the
    worker must not.
    """
    every = tuple(range(toy.partitions))
    toy.control(b"stop")
    first = Running(toy, lambda record: answer(toy, record))
    toy.until(lambda: first.health.partitions == every, "the first has all", WAIT_S)
    time.sleep(1)  # by now it has paused them
    second = Running(toy, lambda record: answer(toy, record), instance="two")
    toy.until(lambda: second.health.partitions != (), "the second has some", WAIT_S)
    toy.control(b"go")
    toy.until(lambda: first.health.phase is Phase.RUNNING, "the stop is lifted", WAIT_S)
    second.stop()
    toy.until(lambda: first.health.partitions == every, "the first has all again", WAIT_S)
    toy.send(30)
    toy.until(lambda: len(answers(toy)) == 30, "all are answered", WAIT_S)
    first.stop()


def test_it_reads_from_committed_offsets_that_it_requested_itself(
    toy: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 10: the client's own request for them is lost if a coordinator that recovers refuses it,
    and a partition assigned without an offset is then never read.
    """
    begun: list[TopicPartition] = []

    class Watched(Consumer):
        def assign(self, partitions: list[TopicPartition]) -> None:
            begun.extend(partitions)
            super().assign(partitions)

    monkeypatch.setattr(worker_consumer, "Consumer", Watched)
    toy.send(30)
    first = Running(toy, lambda record: answer(toy, record))
    toy.until(lambda: len(answers(toy)) == 30, "all are answered", WAIT_S)
    first.stop()
    assert {p.offset for p in begun} == {OFFSET_BEGINNING}
    begun.clear()
    toy.send(30)
    second = Running(toy, lambda record: answer(toy, record))
    toy.until(lambda: len(answers(toy)) == 60, "all are answered", WAIT_S)
    second.stop()
    assert len(begun) == toy.partitions
    assert sum(p.offset for p in begun) == 30


def test_a_partition_that_the_client_does_not_fetch_is_read_by_another_client(
    toy: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """JOB-03: the client stops fetching, here because of a pause that the worker does not know. The
    unread records are noticed, and another client takes over.
    """
    for name, seconds in (("LOOK_EVERY_S", 0.5), ("ELAPSED_S_MAX", 1.0), ("NOT_FETCHING_S", 3.0)):
        monkeypatch.setattr(stall_detection, name, seconds)
    running = Running(toy, lambda record: answer(toy, record))
    toy.send(20)
    toy.until(lambda: len(answers(toy)) == 20, "all are answered", WAIT_S)
    assert "is replaced" not in caplog.text
    consumer = running.worker._consumer._consumer
    consumer.pause(consumer.assignment())
    toy.send(20)
    toy.until(lambda: running.health.stalled_s > 0, "it is seen to stand", WAIT_S)
    toy.until(lambda: len({r.value for r in answers(toy)}) == 40, "all are answered", WAIT_S)
    assert "has records that did not arrive" in caplog.text
    toy.until(lambda: running.health.stalled_s == 0, "nothing is stalled any more", WAIT_S)
    running.stop()


def test_commits_reach_the_end_of_a_log_written_by_transactions(toy: Rig) -> None:
    """Markers and aborted records are nothing left to read, for any tool."""
    running = Running(toy, lambda record: answer(toy, record))
    producer = Producer({**toy.connection, "transactional.id": f"{toy.application}-one"})
    producer.init_transactions(WAIT_S)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for number in range(toy.partitions):
            producer.produce(toy.topic(ADD), b"add", b"key", number)
        assert producer.flush(WAIT_S) == 0
        end(WAIT_S)
    ends = {(toy.topic(ADD), n): 4 for n in range(toy.partitions)}  # two records, two markers
    log, groups = LogEnds(toy.connection), GroupAdmin(toy.connection)
    toy.until(lambda: log.stable(list(ends)) == ends, "both have ended", WAIT_S)
    toy.until(lambda: groups.committed(f"npp-{toy.application}") == ends, "committed", WAIT_S)
    assert len(answers(toy)) == toy.partitions
    running.stop()


def test_a_handler_that_waits_until_fresh_knows_the_records_behind_its_own(
    toy: Rig,
) -> None:
    """Ruling 8: an instruction with its withdrawal behind it counts as withdrawn before its
    submission.
    """
    withdrawn: set[bytes] = set()
    submitted: list[bytes] = []

    def observe(record: LogRecord) -> None:
        if record.value == b"withdraw" and record.key is not None:
            withdrawn.add(record.key)

    def handler(record: InputRecord) -> Sequence[Outgoing]:
        if not running.worker.is_fresh(record.partition):
            raise TryAgain("what is behind the record is not known", 0.05)
        if record.value == b"add" and record.key is not None and record.key not in withdrawn:
            submitted.append(record.key)
        return answer(toy, record)

    toy.send(500, keys=50)
    toy.send(10, keys=10, value=b"withdraw")
    running = Running(toy, handler, observe)
    toy.until(lambda: len(answers(toy)) >= 510, "all are handled", WAIT_S)
    running.stop()
    gone = {b"key-%d" % n for n in range(10)}
    assert withdrawn == gone
    assert not gone & set(submitted)
    assert len(set(submitted)) == 40


def test_a_published_record_is_confirmed_at_the_java_clients_partition(toy: Rig) -> None:
    """Partitioned by murmur2 of the key; the confirmed offset holds the record."""
    publisher = Publisher(toy.connection, "test")
    placed = publisher.publish_all(
        [Outgoing(toy.topic(ADD), b"key-%d" % n, b"%d" % n) for n in range(50)]
    )
    publisher.close()
    on_log = {
        (r.partition, r.offset): r
        for batch in read_all(toy.connection, toy.topic(ADD))
        for r in batch
    }
    for n, place in enumerate(placed):
        record = on_log[place.partition, place.offset]
        assert (record.key, record.value) == (b"key-%d" % n, b"%d" % n)
        assert place.partition == partition_of(b"key-%d" % n, toy.partitions)
        assert place.timestamp_ms == record.timestamp_ms


def test_topics_are_planned_applied_and_compared(toy: Rig) -> None:
    """EV-08: a missing topic and a wrong configuration are corrected, a partition count
    never is.
    """
    admin = TopicAdmin(toy.connection)
    name = f"{toy.application}.planned"
    spec = TopicSpec(name, 2, 1, {"retention.ms": "-1", "cleanup.policy": "delete"})
    assert [d.kind for d in admin.plan([spec])] == ["missing"]
    assert [d.kind for d in admin.apply([spec])] == ["missing"]
    assert admin.drift([spec]) == []

    other = msgspec.structs.replace(spec, partitions=3, config={"retention.ms": "1000"})
    assert [(d.kind, d.fixable) for d in admin.drift([other])] == [
        ("partitions", False),
        ("config", True),
    ]
    assert [d.kind for d in admin.apply([other])] == ["config"]
    # The controller has it; the queried broker gets it a moment later.
    toy.until(lambda: [d.kind for d in admin.drift([other])] == ["partitions"], "put right", WAIT_S)
