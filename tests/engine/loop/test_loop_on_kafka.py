"""The real loop on a real Kafka: kills, rebalances, stops, fences, bad inputs."""

from __future__ import annotations

import json
import random
import signal
import statistics
import time
from functools import partial

import pytest
from confluent_kafka import Producer

from engine.clients.membership import RENEWALS_MAX
from engine.clients.producing import MESSAGE_BYTES_MAX
from tests.engine.kafka_rig import Rig
from tests.engine.toy import ADD, ANSWERS, JOURNAL, QUARANTINE

SEED = 20261122
REPLACED = "consumer is replaced"
ANSWERED = 5
QUEUED = 100_000
STOP_SECONDS_MAX = 3.0  # one to read the control topic, and the batch in progress
STOPS_MAX = 3
STOPPED = "engine is stopped"


def test_killed_again_and_again_every_input_is_counted_once(toy: Rig) -> None:
    """Row 1, EV-07: SIGKILL at random instants under load loses nothing and doubles nothing."""
    chance = random.Random(SEED)
    process = toy.start()
    for _ in range(5):
        toy.send(400)
        time.sleep(chance.uniform(0.2, 2.5))
        process.kill()
        process.wait()
        process = toy.start()
    toy.wait_for(2000)
    process.terminate()
    assert process.wait(30) == 0
    toy.check_counted_once(2000)


@pytest.mark.parametrize(
    "point",
    [
        "after_poll",
        "after_decide",
        "after_send_offsets",
        "after_produce",
        "before_commit",
        "commit_sent",
        "after_commit",
        "during_restore",
    ],
)
def test_killed_at_a_named_step_every_input_is_counted_once(toy: Rig, point: str) -> None:
    """Row 2: at each of the eight named points the next process continues correctly."""
    if point == "during_restore":
        first = toy.start()
        toy.send(300)
        toy.wait_for(300)
        first.kill()
        first.wait()
        for old in (toy.folder / "data").rglob("*"):
            if old.is_file():
                old.unlink()
        sent = 600
    else:
        sent = 300
    toy.send(300)
    victim = toy.start(TOY_CRASH=f"{point}:1" if point != "after_poll" else "after_poll:3")
    assert victim.wait(60) == -signal.SIGKILL, toy.log()
    successor = toy.start()
    toy.send(1)  # the victim may have counted all others
    toy.wait_for(sent + 1)
    successor.terminate()
    assert successor.wait(30) == 0
    toy.check_counted_once(sent + 1)


def test_a_second_instance_takes_over_partitions_and_returns_them(toy: Rig) -> None:
    """Row 3: 1 → 2 → 1 instances under load, each partition served by one of them, nothing lost or
    counted twice.
    """
    toy.start("one")
    toy.send(300)
    toy.wait_for(300)
    two = toy.start("two")
    toy.until(lambda: "running" in toy.log("two"), "the second instance runs")
    toy.send(300)
    toy.wait_for(600)
    two.terminate()
    assert two.wait(30) == 0
    toy.send(300)
    started = time.monotonic()
    toy.wait_for(900)
    assert time.monotonic() - started < 10, "a clean leave must not wait for the session's end"
    toy.check_counted_once(900)


def test_a_second_process_of_the_same_instance_ends_and_the_first_continues(toy: Rig) -> None:
    """The folder is locked: the second process exits with STORE_LOCKED."""
    toy.start("one")
    toy.send(100)
    toy.wait_for(100)
    second = toy.start("one")
    assert second.wait(30) == 3
    assert "STORE_LOCKED" in toy.log()
    toy.send(100)
    toy.wait_for(200)
    toy.check_counted_once(200)


def test_a_stop_takes_effect_within_a_second_and_loses_nothing(toy: Rig) -> None:
    """Domain §10: STOP pauses every input at the batch boundary; after the resume everything is
    decided once.
    """
    toy.start()
    toy.send(100)
    toy.wait_for(100)
    took: list[float] = []
    while not took or (took[-1] > STOP_SECONDS_MAX and len(took) < STOPS_MAX):
        if took:  # the machine may have paused: try again
            toy.control(b"go")
            toy.until(lambda: toy.log().count("engine is running") > len(took), "it goes on")
        toy.control(b"stop")
        took.append(toy.until(lambda: toy.log().count(STOPPED) > len(took), "the stop is obeyed"))
    assert min(took) <= STOP_SECONDS_MAX
    toy.send(200)
    time.sleep(1.5)
    assert len(toy.lines()) == 100
    toy.control(b"go")
    toy.wait_for(300)
    toy.check_counted_once(300)


def test_a_partition_that_the_client_does_not_fetch_is_read_by_another_client(toy: Rig) -> None:
    """Row 10, JOB-03: the client stops fetching one partition, here because of a pause that the
    loop does not know. The unread records are noticed, and another client takes over.
    """
    process = toy.start()
    toy.send(100)
    toy.wait_for(100)
    process.send_signal(signal.SIGUSR1)
    toy.until(lambda: '"notFetched"' in toy.log(), "it is not fetched")
    for _ in range(6):
        toy.send(100)  # for the other partitions
        time.sleep(1.0)
    toy.wait_for(700)
    assert "has records that did not arrive" in toy.log()
    toy.check_counted_once(700)


def test_an_answer_is_decided_within_a_second_despite_a_hundred_thousand_queued_commands(
    toy: Rig,
) -> None:
    """Row 29: queued commands do not delay an operator's record."""
    toy.start()
    toy.send(10)
    toy.wait_for(10)
    toy.control(b"stop")
    toy.until(lambda: "stopped" in toy.log(), "the stop is obeyed")
    toy.send(QUEUED)
    toy.control(b"go")
    toy.until(lambda: toy.log().count("engine is running") > 1, "it works on the queue")
    time.sleep(0.5)
    for _ in range(ANSWERED):
        toy.send(1, topic=ANSWERS)
        time.sleep(0.2)
    toy.wait_for(10 + QUEUED + ANSWERED)
    requested = {(r.partition, r.offset): r.timestamp_ms for r in toy.records(ANSWERS)}
    decided, commands = {}, []
    for record in toy.records(JOURNAL):
        value = record.value or b""
        cause = json.loads(value)["cause"] if value.startswith(b"{") else ""
        topic, partition, offset = (cause or "/0/0").rsplit("/", 2)
        if topic == toy.topic(ANSWERS):
            decided[int(partition), int(offset)] = record.timestamp_ms
        elif cause:
            commands.append(record.timestamp_ms)
    assert len(decided) == ANSWERED
    assert max(decided.values()) <= max(commands), "NV: the queue was worked off before"
    # The machine may pause during one of them.
    assert statistics.median(decided[place] - requested[place] for place in decided) < 1000
    toy.check_counted_once(10 + QUEUED + ANSWERED)


def test_timers_are_written_and_read_back_on_a_real_log(toy: Rig) -> None:
    """A due deadline becomes one record on the timers topic, which is decided like any input."""
    toy.start()
    due_ms = int(time.time()) * 1000 + 2500  # a deadline that ends in 999 has a meaning for the toy
    toy.send(20, value=b"at:%d" % due_ms)
    lines = toy.wait_for(40)
    assert sum(".timers" in line["cause"] for line in lines) == 20
    toy.check_counted_once(40)


@pytest.mark.parametrize(
    ("setting", "outcome", "batches"),
    [({"TOY_SLOW_MS": "0"}, "unknown_committed", 5), ({"TOY_END_S": "0.001"}, "unknown_", 60)],
)
def test_after_an_unclear_commit_the_nonce_decides(
    toy: Rig, setting: dict[str, str], outcome: str, batches: int
) -> None:
    """After a commit that timed out or was slow the producer is replaced, and the committed offsets
    tell how it ended. Of 60 commits some take longer than a millisecond.
    """
    process = toy.start(**setting)
    for batch in range(1, batches + 1):
        toy.send(6)
        toy.wait_for(6 * batch)
    process.terminate()
    assert process.wait(30) == 0
    toy.check_counted_once(6 * batches)
    ended = json.loads(toy.log().splitlines()[-1])["transactions"]
    assert sum(count for name, count in ended.items() if name.startswith(outcome)) > 0, ended


def test_a_record_that_cannot_be_produced_is_isolated_and_parked(toy: Rig) -> None:
    """Row 17: the batch is halved down to the one record; the others are counted."""
    toy.start()
    toy.send(100)
    toy.send(1, value=b"big:%d" % (MESSAGE_BYTES_MAX + 1))  # beyond the client's limit
    toy.send(100)
    toy.wait_for(200)
    parked = toy.records(QUARANTINE)
    assert [dict(r.headers)["reason"] for r in parked] == [b"Abort"]
    toy.check_counted_once(200)


def test_an_input_that_raises_is_parked_and_the_others_are_counted(toy: Rig) -> None:
    """Domain §5: its effects are rolled back and its bytes quarantined; its key and its partition
    continue, also after a restart.
    """
    process = toy.start()
    toy.send(50)
    for _ in range(2):
        toy.send(1, value=b"boom")
        toy.send(50)
    toy.wait_for(150)
    process.kill()
    process.wait()
    toy.start()
    toy.send(50)
    toy.wait_for(200)
    parked = toy.records(QUARANTINE)
    assert [(r.value, dict(r.headers)["reason"]) for r in parked] == [
        (b"boom", b"RuntimeError")
    ] * 2
    toy.check_counted_once(200)


def test_a_process_whose_transactional_id_is_taken_over_ends_as_fenced(toy: Rig) -> None:
    """Row 5: it does not take the id back; its successor counts the open batch."""
    process = toy.start()
    toy.send(50)
    toy.wait_for(50)
    thief = Producer({**toy.connection, "transactional.id": f"npp-{toy.application}-one"})
    thief.init_transactions(30)
    toy.send(50)
    assert process.wait(60) == 3
    assert "FENCED" in toy.log()
    toy.start()
    toy.wait_for(100)
    toy.check_counted_once(100)


def said(toy: Rig, what: str, times: int) -> bool:
    """Whether the process has logged it that often."""
    return toy.log().count(what) >= times


def test_a_fenced_member_rejoins_and_counts_everything_once(toy: Rig) -> None:
    """Row 10: a client disconnected for a session's length is fenced by its own late heartbeat and
    reports that once. Unless it is replaced, the process lives on without work.
    """
    process = toy.start()
    toy.send(50)
    toy.wait_for(50)
    thief = toy.take_place(f"npp-{toy.application}-one", [ADD, ANSWERS])
    toy.send(50)
    toy.until(partial(said, toy, REPLACED, 1), "it is fenced")
    thief.close()
    toy.wait_for(100)
    toy.send(50)
    toy.wait_for(150)
    assert "FENCED_INSTANCE_ID" in toy.log() or "_FATAL" in toy.log()
    process.terminate()
    assert process.wait(30) == 0
    toy.check_counted_once(150)


def test_of_two_processes_with_one_instance_id_one_ends(toy: Rig) -> None:
    """The contest is bounded, and nothing is counted twice."""
    process = toy.start()
    toy.send(50)
    toy.wait_for(50)
    for times in range(1, RENEWALS_MAX + 2):
        assert process.poll() is None, toy.log()
        # It must be back in the group first, or the other process would be fenced.
        toy.until(partial(said, toy, "engine is running", times), "it runs again")
        thief = toy.take_place(f"npp-{toy.application}-one", [ADD, ANSWERS])
        toy.until(partial(said, toy, REPLACED, times), "it is fenced")
        thief.close()
    assert process.wait(60) == 3
    assert "CONSUMER_LOST" in toy.log()
    toy.check_counted_once(50)


def test_a_zombie_that_resumes_after_its_session_counts_nothing_twice(toy: Rig) -> None:
    """Row 4: SIGSTOP beyond the session timeout, another process takes over, then CONT."""
    zombie = toy.start("one")
    toy.send(100)
    toy.wait_for(100)
    zombie.send_signal(signal.SIGSTOP)
    toy.start("two")
    toy.send(100)
    toy.wait_for(200)
    zombie.send_signal(signal.SIGCONT)
    for sent in range(250, 501, 50):
        toy.send(50)
        time.sleep(0.5)
        toy.wait_for(sent)
    toy.check_counted_once(500)
