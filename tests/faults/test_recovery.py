"""Fault rows 13 and 16, the parts that need people: offsets lost, and the end of the log lost.

Two persons recover. The cut is made in the files of a killed broker, at the end of a transaction.
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app import settings
from app.cluster import Cluster as CommandLine
from app.platform.broker import Cluster
from tests.auditor.evidence import EVENTS, GROUP, LIFECYCLE, QUARANTINE
from tests.broker.harness import Harness
from tests.broker.processes import Process
from tests.broker.rest import committed_offsets

BATCH = struct.Struct(">qiibIh")  # base offset, length, leader epoch, magic, checksum, attributes
BEFORE_LENGTH_BYTES = 12
CONTROL_BATCH = 0x20
# What a lost tail leaves behind for good, see docs/decisions/0011: an input without effect whose
# outcome (or quarantined record) survived the events before it is decided again,
NO_EFFECT = r"'(DUPLICATE|REJECTED|NO_EFFECT)'"
AGAIN = rf"2 outcomes: \[{NO_EFFECT}, {NO_EFFECT}\]|quarantined 2 times"
# and what was instructed then may not be instructed again: the payment's time is over meanwhile.
VANISHED = r".*(without its event: torn|on one side only: torn|never committed)"
# Where the journal alone was cut, a record of the compacted topic from before tells of the history
# that is gone; the sequence it names is another event now.
OUTDATED = r"called at rest, and .*"
# Where the state went with the journal, answers of Deposits Core come to a payment that has not
# asked yet: people are told, see below.
FORGOTTEN = r".*the history has not heard"
UNMATCHED = b"UNMATCHED"
SETTLE_SECONDS_MAX = 60.0
EMPTY_SECONDS_MAX = 40.0
REFUSED = 1


def delete_group(bootstrap: str) -> None:
    """The payments group and all its committed offsets are gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + EMPTY_SECONDS_MAX
    while True:
        try:
            admin.delete_consumer_groups([GROUP], request_timeout=5.0)[GROUP].result()
        except KafkaException:  # a killed member is in it until its session ends
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def recover(harness: Harness, *partitions: int) -> str:
    """Asked by alice, refused to alice, confirmed by bob; what was printed in the end."""
    named = [word for number in partitions for word in ("--partition", str(number))]
    asked = harness.npp(
        "control", "recover", "--request", *named, "--as", "alice", "--reason", "drill 4713"
    )
    request = re.search(r"rec_[0-9a-f]+", asked.stdout)
    assert request is not None, asked.stdout
    alone = harness.npp(
        "control", "recover", "--confirm", request[0], "--as", "Alice ", check=False
    )
    assert alone.returncode == REFUSED
    assert "second person" in alone.stderr
    deadline = time.monotonic() + EMPTY_SECONDS_MAX
    while True:
        done = harness.npp(
            "control", "recover", "--confirm", request[0], "--as", "bob", check=False
        )
        if done.returncode == 0:
            return done.stdout
        # A process that ended at its start is a member until its session ends.
        assert "Payments processors are running" in done.stderr, done.stderr
        assert time.monotonic() < deadline
        time.sleep(1.0)


def test_row_16_lost_offsets_stop_the_start_and_two_persons_recover_them(harness: Harness) -> None:
    """EV-07, OP-33: nothing is decided twice, and what was not decided yet is."""
    process = harness.start_payments()
    harness.ready(process)
    harness.publish(40, happy_path=True)
    before, _ = harness.outcome_of_run()
    assert process.stop() == 0
    known = committed_offsets(harness.bootstrap)
    harness.publish(15, happy_path=True)  # nobody decides these yet
    delete_group(harness.bootstrap)
    assert committed_offsets(harness.bootstrap) == {}

    process = harness.start_payments()
    assert process.exited() != 0
    said = process.log.read_text()
    assert "OFFSETS_LOST" in said
    assert "npp control recover" in said
    assert committed_offsets(harness.bootstrap) == {}, "it made offsets up"

    printed = recover(harness)
    found = committed_offsets(harness.bootstrap)
    assert found.keys() == known.keys()
    assert all(0 <= found[place] <= at for place, at in known.items()), "it skips an input"
    assert f"→ {max(found.values())}" in printed
    assert harness.waiting() >= 15, "NV: nothing was undecided"

    process = harness.start_payments()
    harness.ready(process)
    report, moved = harness.outcome_of_run()
    process.stop()
    assert moved["PaymentIntentCreated"] == 15
    assert moved["rail settled"] == 15
    assert moved["CreatePayment DUPLICATE"] == 0, "an input was decided twice"
    assert report.counters["settled twice"] == before.counters["settled twice"] == 0


def batches(log: bytes) -> Iterator[tuple[int, bool]]:
    """Where each record batch of a segment ends, and whether it is a transaction's marker."""
    at = 0
    while at + BATCH.size <= len(log):
        _, length, _, _, _, attributes = BATCH.unpack_from(log, at)
        at += BEFORE_LENGTH_BYTES + length
        yield at, bool(attributes & CONTROL_BATCH)


def cut(cluster: Cluster, topic: str, partition: int, transactions: int) -> int:
    """Take the last transactions off a killed broker's files; how many bytes that was."""
    folder = Path(cluster.data) / "node1" / f"{topic}-{partition}"
    (segment,) = folder.glob("*.log")
    log = segment.read_bytes()
    markers = [end for end, is_marker in batches(log) if is_marker]
    keep = markers[-transactions - 1]
    segment.write_bytes(log[:keep])
    for name in ("*.index", "*.timeindex", "*.snapshot", "*.txnindex"):
        for file in folder.glob(name):
            file.unlink()
    return len(log) - keep


def fullest(cluster: Cluster) -> tuple[int, int]:
    """The journal partition with the most transactions, and how many."""
    counts = {}
    for folder in (Path(cluster.data) / "node1").glob(f"{EVENTS}-*"):
        (segment,) = folder.glob("*.log")
        markers = sum(is_marker for _, is_marker in batches(segment.read_bytes()))
        counts[int(folder.name.rpartition("-")[2])] = markers
    return max(counts.items(), key=lambda each: each[1])


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def open_stops(harness: Harness) -> list[str]:
    """Ids of the stops that are open."""
    with CommandLine(settings.load(harness.env)) as client:
        return sorted(stop.stop_id for stop in client.control()[0].stops())


def told_of(harness: Harness) -> set[str | None]:
    """Payments that wait for people: a report of theirs is in quarantine, or a conflict is open."""
    rest = harness.at_rest()
    held = {
        (record.key or b"").decode()
        for record in harness.evidence().records[QUARANTINE]
        if any(value == UNMATCHED for _, value in record.headers)
    }
    return {*held, *(name for name in rest.known() if rest.head(name)["openConflicts"])}


def signed_all(verifier: Process) -> bool:
    shown = verifier.metrics()
    return (
        shown["npp_verifier_unsigned_events"] == 0
        and shown["npp_verifier_events_total"] > 0
        and shown["npp_verifier_checkpoints_total"] > 0
    )


@pytest.mark.timeout(600)  # some twenty processes one after the other
@pytest.mark.parametrize(
    "also_lifecycle",
    [pytest.param(False, id="journal", marks=pytest.mark.release), True],
    ids={True: "journal and lifecycle"}.get,
)
def test_row_13_a_lost_tail_halts_stops_and_goes_on_by_two_persons(
    own: tuple[Cluster, Harness], also_lifecycle: bool
) -> None:
    """OP-33, JOB-02: nobody goes on alone, no payment is settled twice, every input is decided.

    The cut of the journal alone runs before a release only: it takes minutes, and is the same but
    for the states, which then survive.
    """
    cluster, harness = own
    process, verifier = harness.start_payments(), harness.start_verifier()
    harness.ready(process, verifier)
    harness.publish(60, rate=30.0)
    harness.at_rest()
    until(lambda: signed_all(verifier), "the journal is not signed")
    assert process.stop() == verifier.stop() == 0
    harness.publish(5, happy_path=True)
    before = harness.judge(drained=False)

    partition, transactions = fullest(cluster)
    written = {record.place for record in harness.evidence().records[LIFECYCLE]}
    cluster.kill()
    lost = cut(cluster, EVENTS, partition, transactions // 2)
    assert lost > 0
    if also_lifecycle:
        cut(cluster, LIFECYCLE, partition, transactions // 2)
    cluster.restart()
    harness.forget_rest()

    process = harness.start_payments()
    until(lambda: "LOG_TAIL_LOST" in process.log.read_text(), "the loss is not seen")
    until(lambda: open_stops(harness) == [f"payments-LOG_TAIL_LOST-{partition}"], "no STOP")
    assert process.alive()
    verifier = harness.start_verifier()
    until(lambda: len(open_stops(harness)) == 2, "the verifier does not stop")
    waiting = harness.waiting()
    assert waiting >= 5, "NV: no input was waiting"
    refused = harness.npp("control", "resume", "--request", "--as", "alice", "--reason", "r",
                        "--stop", f"payments-LOG_TAIL_LOST-{partition}", check=False)  # fmt: skip
    assert refused.returncode == REFUSED
    assert harness.npp("replay", "verify", check=False).returncode == REFUSED
    assert process.stop() == 0

    printed = recover(harness, partition)
    assert re.search("instructions to pay without their event: [1-9]", printed), "NV: none found"
    process = harness.start_payments()
    time.sleep(2.0)
    assert harness.waiting() >= waiting, "it went on under a STOP"
    proof = harness.npp("replay", "verify", "--from-checkpoint", "--publish", "--json")
    assert json.loads(proof.stdout)["scope"]["fromCheckpoint"]
    for stop in open_stops(harness):
        harness.npp(
            "control", "resume", "--request", "--as", "alice", "--reason", "ok", "--stop", stop
        )
        harness.npp("control", "resume", "--confirm", "--as", "bob", "--stop", stop)
    harness.ready(process)
    harness.at_rest()
    until(lambda: signed_all(verifier), "the verifier does not sign on")
    assert open_stops(harness) == []
    harness.automatic_stops = 2
    gone = f"{VANISHED}|{FORGOTTEN if also_lifecycle else OUTDATED}"
    report = harness.judge(allow=f"{AGAIN}|{gone}")
    outdated = [e for e in report.violations if re.fullmatch(OUTDATED, e.sentence)]
    assert {e.place for e in outdated} <= written, "a payment is called at rest and is not"
    gone = f"{VANISHED}|{FORGOTTEN}"
    vanished = {e.payment for e in report.violations if re.fullmatch(gone, e.sentence)}
    assert vanished <= told_of(harness), "the rail has what nobody is told of"
    assert report.counters["settled twice"] == 0
    assert report.counters["void checkpoints"] > 0, "NV: no checkpoint covered what was lost"
    assert report.counters["payments"] == before.counters["payments"] + 5
    assert process.stop() == verifier.stop() == 0
