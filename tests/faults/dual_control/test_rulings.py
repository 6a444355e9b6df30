"""A foreign writer appends events, and operators follow the runbook's page to its end.

UnauthorizedStateMutation (docs/runbook.md): a STOP, a ruling under dual control, a replay proof, a
resume; engine, verifier and replay continue. SEC-03, EP-12.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import Any

import msgspec
import pytest

from app import cluster as product
from app.config import settings
from app.platform.broker import Cluster
from core.payment import state as payment_state
from core.payment.evolve import evolve
from core.payment.lifecycle_record import lifecycle_record
from schemas import topology
from tests.broker.harness import Harness
from tests.broker.processes import Process

GO_ON_SECONDS_MAX = 90.0
REFUSED = 1

pytestmark = pytest.mark.broker


def forge(cluster: product.Cluster, payment: str, *, lifecycle: bool) -> tuple[int, int]:
    """An event that was never decided, with the right sequence and previousHash, optionally with
    its lifecycle record; return its place in the journal.
    """
    history = cluster.history(payment)
    before = history[-1]
    header = msgspec.structs.replace(
        before.record.header,
        sequence=before.record.header.sequence + 1,
        previous_hash=hashlib.sha256(before.at.value or b"").digest(),
    )
    event = msgspec.structs.replace(before.record, header=header)
    raw = cluster.codec.encode(topology.EVENTS, event)
    partition, key = cluster.partition(payment), payment.encode()
    placed = cluster.publisher.publish(topology.EVENTS, key, raw, partition=partition)
    if lifecycle:
        known = cluster.lifecycle(payment)
        assert known is not None
        state = payment_state.unpack(known.snapshot)
        state = msgspec.structs.replace(state, sequence=state.sequence + 1, amount=1)
        value = cluster.codec.encode(
            topology.LIFECYCLE, lifecycle_record(state, hashlib.sha256(raw).digest())
        )
        cluster.publisher.publish(topology.LIFECYCLE, key, value, partition=partition)
    return partition, placed.offset


def stops(harness: Harness) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(harness.npp("control", "show", "--json").stdout)[
        "stops"
    ]
    return shown


def rule(harness: Harness, place: tuple[int, int], way: str) -> None:
    """Requested by alice, refused to alice, confirmed by bob."""
    where = [str(number) for number in place]
    requested = harness.npp(
        "control", "ruling", *where, way, "--as", "alice", "--reason", "drill 4719", "--json"
    )
    at = str(json.loads(requested.stdout)["controlOffset"])
    alone = harness.npp("control", "confirm", at, "--as", "alice", check=False)
    assert alone.returncode == REFUSED
    assert "second person" in alone.stderr
    until(
        lambda: harness.npp("control", "confirm", at, "--as", "bob", check=False).returncode == 0,
        "the ruling was not confirmed",
    )


def resume(harness: Harness) -> None:
    """End every open STOP under dual control, with a replay of the whole log."""
    harness.npp("replay", "verify", "--publish")
    for stop in stops(harness):
        named = ["--stop", stop["stopId"]]
        harness.npp(
            "control", "resume", "--request", *named, "--reason", "drill 4719", "--as", "alice"
        )
        harness.npp("control", "resume", "--confirm", *named, "--as", "bob")
    assert stops(harness) == []


def until(holds: Any, why: str, seconds: float = GO_ON_SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, why
        time.sleep(0.3)


def signed_all(verifier: Process) -> bool:
    shown = verifier.metrics()
    return (
        shown["npp_verifier_unsigned_events"] == 0
        and shown["npp_verifier_broken_partitions"] == 0
        and shown["npp_verifier_checkpoints_total"] > 0
    )


@pytest.mark.timeout(600)  # some thirty commands in sequence
def test_after_a_ruling_on_a_foreign_event_everything_continues(
    own: tuple[Cluster, Harness],
) -> None:
    """One at the end of a payment, and one with a forged lifecycle record, after which the engine
    restarts without its disk.
    """
    _, harness = own
    payments, verifier = harness.start_payments(), harness.start_verifier()
    harness.ready(payments, verifier)
    load = harness.load()
    records = [load.payment() for _ in range(20)]
    harness.send(records)
    harness.at_rest()
    until(lambda: signed_all(verifier), "not everything was signed")
    first, second = sorted({(each.key or b"").decode() for each in records})[:2]

    with product.Cluster(settings.load(harness.env)) as cluster:
        place = forge(cluster, first, lifecycle=False)
        until(lambda: stops(harness), "no STOP")
        (stop,) = stops(harness)
        where = re.search(r"partition (\d+) offset (\d+)", stop["reason"])
        assert where is not None, stop
        assert (int(where[1]), int(where[2])) == place
        assert harness.npp("replay", "verify", check=False).returncode == REFUSED
        rule(harness, place, "--foreign")
        resume(harness)
        until(lambda: signed_all(verifier), "it did not sign again")

        place = forge(cluster, second, lifecycle=True)
        until(lambda: stops(harness), "no STOP")
        payments.kill()
        harness.lose_disk()
        starts = payments.log.read_text().count("engine is stopped")
        payments = harness.start_payments()  # it is not ready while the STOP is open
        until(
            lambda: payments.log.read_text().count("engine is stopped") > starts,
            "it does not start",
        )
        requested = harness.npp(
            "control", "ruling", *map(str, place), "--foreign", "--as", "alice",
            "--reason", "drill 4719", "--json",
        )  # fmt: skip
        at = str(json.loads(requested.stdout)["controlOffset"])
        running = harness.npp("control", "confirm", at, "--as", "bob", check=False)
        assert running.returncode == REFUSED
        assert "processors are running" in running.stderr
        payments.kill()
        until(
            lambda: (
                harness.npp("control", "confirm", at, "--as", "bob", check=False).returncode == 0
            ),
            "the ruling was not confirmed",
        )
        resume(harness)
        payments = harness.start_payments()
        harness.ready(payments)
        until(lambda: signed_all(verifier), "it did not sign again")

        for payment in (first, second):
            known = cluster.lifecycle(payment)
            assert known is not None
            honest = [
                each
                for each in cluster.history(payment)
                if not cluster.control()[0].dispositions.skips(
                    each.at.partition, each.at.offset, each.at.value
                )
            ]
            state = None
            for each in honest:
                state = evolve(state, each.record)
            assert state is not None
            assert (known.sequence, known.amount) == (state.sequence, state.amount)

    harness.send([load.payment() for _ in range(10)])
    harness.forget_rest()
    harness.at_rest()
    harness.npp("replay", "verify")
