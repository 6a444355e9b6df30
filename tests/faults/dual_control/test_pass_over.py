"""An unreadable batch in the whole product: operators skip it under dual control, everything
continues, and the log can be proved.
"""

from __future__ import annotations

import json
import re
import time

from app import cluster as product
from app.config import settings
from app.control import operators
from app.platform.broker import Cluster
from control.acts.act_signature import signed
from core.control_records import RecoverRequested
from engine.clients.reader import read_all
from examples import upstream_load as upstream
from schemas import topology
from tests.auditor.evidence import GROUP
from tests.broker.harness import Harness
from tests.broker.rest import committed_offsets, end_offsets
from tests.faults.test_recovery import delete_group, recover

PART = 4
UNPACKED_BYTES = 101_000_000  # a client unpacks 100,000,000
SECONDS_MAX = 60.0
REFUSED, USAGE = 1, 2
PLACE = (topology.COMMANDS, PART)


def spoil(harness: Harness) -> int:
    """Append a batch that no client can unpack; return its offset."""
    (end,) = end_offsets(harness.bootstrap, [PLACE]).values()
    producer = harness.producer(
        **{"compression.type": "zstd", "message.max.bytes": 200_000_000,
           "queue.buffering.max.kbytes": 2_000_000},
    )  # fmt: skip
    producer.produce(topology.COMMANDS, bytes(UNPACKED_BYTES), b"pi_" + b"d" * 26, PART)
    assert producer.flush(SECONDS_MAX) == 0
    return int(end if isinstance(end, int) else end[0])


def decided(harness: Harness) -> set[str]:
    """The payments that the journal knows."""
    connection = {"bootstrap.servers": harness.bootstrap}
    return {
        (record.key or b"").decode()
        for batch in read_all(connection, topology.EVENTS)
        for record in batch
    }


def until_decided(harness: Harness, payments: list[str]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while left := set(payments) - decided(harness):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def publish(harness: Harness) -> tuple[list[str], list[str]]:
    """Good payments: those on the partition, and the others."""
    load = harness.load()
    records = [load.payment() for _ in range(60)]
    harness.send(records)
    here: list[str] = []
    there: list[str] = []
    for record in records:
        assert record.key is not None
        mine = record.topic == PLACE[0] and upstream.partition_of(record.key, 6) == PART
        (here if mine else there).append(record.key.decode())
    assert here, "NV: none is on the partition"
    return here, there


def publish_request(harness: Harness, offset: int) -> str:
    """A request that the command would refuse to make, because the batch is readable."""
    environment = settings.load(harness.env)
    request = RecoverRequested(
        request_id="rec_good",
        partitions=(PART,),
        reason="t",
        requested_at=1,
        actor="alice",
        topic=PLACE[0],
        first_offset=offset,
        last_offset=offset,
    )
    key = operators.key_of(environment.operators_folder() / "alice.pem", None)
    with product.Cluster(environment) as cluster:
        control, now = cluster.control()[0], cluster.clock.now_ms()
        assert control.cluster is not None
        cluster.publish_control(
            signed(
                request,
                key=key,
                cluster_id=control.cluster.cluster_id,
                number=max(now, control.last_number("alice") + 1),
                signed_at=now,
            )
        )
    return request.request_id


def confirm(harness: Harness, request: str, who: str) -> tuple[int, str]:
    done = harness.npp("control", "recover", "--confirm", request, "--as", who, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_batch_passed_over_under_dual_control_unblocks_the_records_behind_it(
    own: tuple[Cluster, Harness],
) -> None:
    """ERR-07: it is reported at once and the other partitions continue. Readable records are never
    passed over, nor by one person, nor while the processor runs; afterwards the replay proves the
    log.
    """
    _, harness = own
    process = harness.start_payments()
    harness.ready(process)
    harness.publish(20, happy_path=True)
    harness.at_rest()
    at = spoil(harness)
    here, there = publish(harness)
    until_decided(harness, there)
    assert not decided(harness) & set(here)
    assert (
        f"{PLACE[0]} partition {PART} at offset {at}: _BAD_COMPRESSION" in process.log.read_text()
    )
    failed = harness.npp("replay", "verify", check=False)
    assert failed.returncode != 0
    assert "UNREADABLE" in failed.stdout + failed.stderr

    def ask(place: str) -> tuple[int, str]:
        words = ("--pass-over", place, "--as", "alice", "--reason", "ticket 4714")
        requested = harness.npp("control", "recover", "--request", *words, check=False)
        return requested.returncode, requested.stdout + requested.stderr

    assert ask(f"{PLACE[0]}:{PART}:{at - 1}")[0] == REFUSED  # it can be read
    assert ask(f"{PLACE[0]}:{PART}:1000000")[0] == USAGE
    assert (
        ask(f"{topology.EVENTS}:{PART}:0")[0] == REFUSED
    )  # the journal is restored, never skipped
    code, said = ask(f"{PLACE[0]}:{PART}:{at}")
    assert code == 0, said
    request = re.search(r"rec_[0-9a-f]+", said)
    assert request is not None
    assert "running" in confirm(harness, request[0], "bob")[1]
    assert process.stop() == 0
    good = publish_request(harness, at - 1)
    before = committed_offsets(harness.bootstrap)
    code, said = confirm(harness, good, "bob")
    assert code == REFUSED, "a readable batch is decided, whatever was requested"
    assert "can be read" in said
    code, said = confirm(harness, request[0], "Alice ")
    assert code == REFUSED
    assert "second person" in said
    assert committed_offsets(harness.bootstrap) == before
    code, said = confirm(harness, request[0], "bob")
    assert code == 0, said
    assert f"{GROUP}" in said
    assert committed_offsets(harness.bootstrap) == {**before, PLACE: at + 1}
    assert confirm(harness, request[0], "bob")[0] == REFUSED  # it can be used once
    code, said = ask(f"{PLACE[0]}:{PART}:{at}")
    assert code == REFUSED
    assert "is past" in said

    process = harness.start_payments()
    harness.ready(process)
    until_decided(harness, here)
    harness.at_rest()
    proven = harness.npp("replay", "verify", "--json", check=False)
    report = json.loads(proven.stdout)
    assert proven.returncode == 0, proven.stdout[:2000]
    assert f"{PLACE[0]} partition {PART} offsets {at} to {at}" in proven.stdout, report
    doctor = json.loads(harness.npp("doctor", "--json", check=False).stdout)
    assert [each["level"] for each in doctor["findings"] if each["check"] == "reading"] == ["ok"]
    assert process.stop() == 0

    known = committed_offsets(harness.bootstrap)
    delete_group(harness.bootstrap)
    recover(harness)
    found = committed_offsets(harness.bootstrap)
    assert found.keys() == known.keys()
    assert at < found[PLACE] <= known[PLACE], "it does not come to the batch again"
