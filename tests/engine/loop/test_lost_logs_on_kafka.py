"""The real loop on a Kafka that lost or changed offsets, states or partitions."""

from __future__ import annotations

import time

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.engine.kafka_rig import Rig
from tests.engine.toy import ADD, JOURNAL, STATE


def test_lost_offsets_end_the_process_and_nothing_is_decided_again(toy: Rig) -> None:
    """OFFSETS_LOST: with a non-empty journal, missing offsets are never guessed."""
    process = toy.start()
    toy.send(50)
    toy.wait_for(50)
    process.terminate()
    assert process.wait(30) == 0
    _forget_offsets(toy)
    again = toy.start()
    assert again.wait(60) == 3
    assert "OFFSETS_LOST" in toy.log()
    toy.check_counted_once(50)


def test_a_store_ahead_of_the_log_halts_and_is_kept(toy: Rig) -> None:
    """LOG_TAIL_LOST: committed states that the log no longer has raise an alert and are never
    overwritten.
    """
    process = toy.start()
    toy.send(200)
    toy.wait_for(200)
    process.terminate()
    assert process.wait(30) == 0
    _recreate(toy, STATE)
    toy.start()
    toy.until(lambda: '"alarm": "LOG_TAIL_LOST"' in toy.log(), "the loss is alarmed")
    toy.send(50)
    time.sleep(1.5)
    assert len(toy.lines()) == 200


def test_states_missing_from_the_state_topic_are_not_rebuilt_from_the_journal(toy: Rig) -> None:
    """At start the journal's tail is compared with the states. A record without a state was not
    written by us, or the topic has lost the state. Operators decide; meanwhile its inputs are
    parked.
    """
    process = toy.start()
    toy.send(60, keys=3)
    toy.wait_for(60)
    process.terminate()
    assert process.wait(30) == 0
    _recreate(toy, STATE)
    for old in (toy.folder / "data").rglob("*"):
        if old.is_file():
            old.unlink()
    toy.start()
    toy.until(lambda: '"alarm": "FOREIGN_RECORD"' in toy.log(), "the loss is alarmed")
    assert "folded again" not in toy.log()
    assert len(toy.lines()) == 60


def test_a_record_without_its_state_raises_an_alert_and_is_never_folded(toy: Rig) -> None:
    """SEC-03: someone else wrote to the journal; one transaction writes both."""
    process = toy.start()
    toy.send(60, keys=3)
    toy.wait_for(60)
    process.terminate()
    assert process.wait(30) == 0
    last = [r for r in toy.records(JOURNAL) if r.key is not None][-1]
    line = msgspec.json.decode(last.value or b"")
    forger = Producer(toy.connection)
    forged = msgspec.json.encode({**line, "n": line["n"] + 1})
    forger.produce(toy.topic(JOURNAL), forged, last.key, last.partition)
    forger.flush(10)
    toy.start()
    toy.until(lambda: '"alarm": "FOREIGN_RECORD"' in toy.log(), "the record is alarmed")
    assert '"alarm": "STATE_DIFFERS"' not in toy.log()


def test_unreadable_states_are_folded_again_and_block_nothing(toy: Rig) -> None:
    """SEC-03: a foreign write to the state topic raises an alert, and the state is folded from the
    journal. A key without a history, or one that is not text, keeps its state.
    """
    process = toy.start()
    toy.send(60, keys=3)
    toy.wait_for(60)
    process.terminate()
    assert process.wait(30) == 0
    known = next(r for r in toy.records(STATE) if r.key is not None)
    forger = Producer(toy.connection)
    for key in (known.key, b"nobody", b"\xff\xfe"):
        forger.produce(toy.topic(STATE), b"\xc1 no state", key, known.partition)
    forger.flush(10)
    for old in (toy.folder / "data").rglob("*"):
        if old.is_file():
            old.unlink()
    toy.start()
    toy.until(lambda: "the journal has no event of it" in toy.log(), "what has no history is named")
    toy.until(lambda: "folded again from the journal" in toy.log(), "what has one is folded again")
    toy.send(30, keys=3)
    toy.wait_for(90)
    toy.check_counted_once(90)


def test_a_wrong_partition_count_stops_the_start(toy: Rig) -> None:
    """Row 19, OP-33: more partitions would map known keys to partitions without their states."""
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient(toy.connection)
    for future in admin.create_partitions([NewPartitions(toy.topic(ADD), 5)]).values():
        future.result()
    deadline = time.monotonic() + 60  # the brokers' metadata follows: a start in between sees both
    while len(admin.list_topics(toy.topic(ADD)).topics[toy.topic(ADD)].partitions) < 5:
        assert time.monotonic() < deadline, "the new partitions do not show"
        time.sleep(0.1)
    assert toy.start().wait(60) == 3
    assert "PARTITION_COUNT" in toy.log()


def test_a_member_with_another_assignor_is_refused(toy: Rig) -> None:
    """Row 28: inputs of one partition on two members end the process with the reason."""
    stranger = Consumer(
        {
            **toy.connection,
            "group.id": f"npp-{toy.application}",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 10_000,
        }
    )
    stranger.subscribe([toy.topic(ADD)])
    try:
        process = toy.start()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            stranger.poll(0.1)
        assert process.returncode == 3
        assert "ASSIGNMENT_SPLIT" in toy.log()
    finally:
        stranger.close()


def _forget_offsets(toy: Rig) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(toy.connection)
    group = f"npp-{toy.application}"
    for future in admin.delete_consumer_groups([group]).values():
        future.result()
    probe = Consumer({**toy.connection, "group.id": group})
    assert probe.committed([TopicPartition(toy.topic(ADD), 0)], 10)[0].offset < 0
    probe.close()


def _recreate(toy: Rig, name: str) -> None:
    from confluent_kafka.admin import AdminClient

    from engine.topics import TopicAdmin, TopicSpec

    admin = AdminClient(toy.connection)
    for future in admin.delete_topics([toy.topic(name)]).values():
        future.result()
    spec = TopicSpec(
        toy.topic(name), toy.partitions, 1, {"message.timestamp.type": "LogAppendTime"}
    )
    toy.until(lambda: toy.topic(name) not in admin.list_topics(timeout=5).topics, "deleted")
    TopicAdmin(toy.connection).apply([spec])
