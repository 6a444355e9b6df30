"""Fault rows 13 and 16 under dual control: offsets lost, and the end of the log lost.

The end is cut off in the files of a killed broker, at a transaction boundary.
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

from app.cluster import Cluster as CommandLine
from app.config import settings
from app.platform.broker import Cluster
from tests.auditor.evidence import EVENTS, GROUP, LIFECYCLE, QUARANTINE
from tests.broker.harness import Harness
from tests.broker.processes import Process
from tests.broker.rest import committed_offsets

BATCH = struct.Struct(">qiibIh")  # base offset, length, leader epoch, magic, checksum, attributes
BEFORE_LENGTH_BYTES = 12
CONTROL_BATCH = 0x20
# What a lost tail leaves behind for good, see docs/decisions/0011: an input without effect whose
# outcome or quarantine record survived the events before it is decided again.
NO_EFFECT = r"'(DUPLICATE|REJECTED|NO_EFFECT|QUARANTINED)'"
AGAIN = rf"2 outcomes: \[{NO_EFFECT}, {NO_EFFECT}\]|quarantined 2 times"
# Instructions of that time may not be repeated, because the payment's time is over.
VANISHED = r".*(without its event: torn|on one side only: torn|never committed)"
# Where only the journal was cut, an older record of the compacted topic refers to history that is
# gone; the sequence it names is another event now.
OUTDATED = r"called at rest, and .*"
# Where the state was lost with the journal, answers of Deposits Core reach a payment that has made
# no request yet; operators see them, see below.
FORGOTTEN = r".*but not in the history"
UNMATCHED = b"UNMATCHED"
SETTLE_SECONDS_MAX = 60.0
EMPTY_SECONDS_MAX = 40.0
REFUSED = 1


def delete_group(bootstrap: str) -> None:
    """Delete the payments group with all its committed offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + EMPTY_SECONDS_MAX
    while True:
        try:
            admin.delete_consumer_groups([GROUP], request_timeout=5.0)[GROUP].result()
        except KafkaException:  # a killed member stays in it until its session ends
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def recover(harness: Harness, *partitions: int) -> str:
    """Requested by alice, refused to alice, confirmed by bob; return the final output."""
    named = [word for number in partitions for word in ("--partition", str(number))]
    requested = harness.npp(
        "control", "recover", "--request", *named, "--as", "alice", "--reason", "drill 4713"
    )
    request = re.search(r"rec_[0-9a-f]+", requested.stdout)
    assert request is not None, requested.stdout
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


def test_row_16_lost_offsets_stop_the_start_and_are_recovered_under_dual_control(
    harness: Harness,
) -> None:
    """EV-07, OP-33: nothing is decided twice, and undecided inputs are decided."""
    process = harness.start_payments()
    harness.ready(process)
    harness.publish(40, happy_path=True)
    before, _ = harness.outcome_of_run()
    assert process.stop() == 0
    known = committed_offsets(harness.bootstrap)
    harness.publish(15, happy_path=True)  # not decided yet
    delete_group(harness.bootstrap)
    assert committed_offsets(harness.bootstrap) == {}

    process = harness.start_payments()
    assert process.exited() != 0
    output = process.log.read_text()
    assert "OFFSETS_LOST" in output
    assert "npp control recover" in output
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
    """Where each record batch of a segment ends, and whether it is a transaction marker."""
    at = 0
    while at + BATCH.size <= len(log):
        _, length, _, _, _, attributes = BATCH.unpack_from(log, at)
        at += BEFORE_LENGTH_BYTES + length
        yield at, bool(attributes & CONTROL_BATCH)


def cut(cluster: Cluster, topic: str, partition: int, transactions: int) -> int:
    """Cut the last transactions off a killed broker's files; return the number of bytes."""
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
    """The journal partition with the most transactions, and their number."""
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
    """The ids of the open stops."""
    with CommandLine(settings.load(harness.env)) as client:
        return sorted(stop.stop_id for stop in client.control()[0].stops())


def waiting_for_a_person(harness: Harness) -> set[str | None]:
    """Payments that wait for a person: a report in quarantine or an open conflict."""
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


@pytest.mark.timeout(600)  # some twenty processes in sequence
@pytest.mark.parametrize(
    "also_lifecycle",
    [pytest.param(False, id="journal", marks=pytest.mark.release), True],
    ids={True: "journal and lifecycle"}.get,
)
def test_row_13_a_lost_tail_halts_stops_and_continues_under_dual_control(
    own: tuple[Cluster, Harness], also_lifecycle: bool
) -> None:
    """OP-33, JOB-02: no process continues by itself, no payment is settled twice, every input is
    decided.

    The cut of the journal alone runs only before a release: it takes minutes, and differs only in
    that the states survive.
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
    assert re.search("payment instructions without an event: [1-9]", printed), "NV: none found"
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
    assert vanished <= waiting_for_a_person(harness), "the rail has a payment that no operator sees"
    assert report.counters["settled twice"] == 0
    assert report.counters["void checkpoints"] > 0, "NV: no checkpoint covered what was lost"
    assert report.counters["payments"] == before.counters["payments"] + 5
    assert process.stop() == verifier.stop() == 0
