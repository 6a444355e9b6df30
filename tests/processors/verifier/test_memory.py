"""What the verifier keeps in memory is bounded, also when it is behind or may not sign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config.settings import load
from engine.clients.partition_errors import PartitionErrors
from engine.clock import SystemClock
from processors.verifier import process
from processors.verifier.judge import Judge
from processors.verifier.kafka import KafkaVerifierLog
from processors.verifier.store import DiskStore
from schemas import topology as t
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.verifier.world_rig import WorldRig

pytestmark = pytest.mark.slow

OPTIONS = {"NPP_BOOTSTRAP_SERVERS": "localhost:1", "NPP_PROFILE": "test"}
STATES = 2  # in memory, a partition


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorldRig]:
    monkeypatch.setattr(process, "STATES_MAX", STATES * PARTITIONS)
    made = WorldRig()
    made.store = DiskStore(tmp_path / "states")
    made.start()
    yield made
    made.store.close()


def judges(rig: WorldRig) -> list[Judge]:
    return [each.judge for each in rig.verifier._partitions.values()]


def test_states_beyond_the_bound_are_on_disk_and_are_signed_like_the_others(
    rig: WorldRig, tmp_path: Path
) -> None:
    """A restart continues from them: what was on disk unsigned is in the checkpoint."""
    payments = [rig.world.create(f"k{number}") for number in range(8 * PARTITIONS)]
    rig.copy()
    rig.verifier.step(0)
    assert max(len(each.fresh) for each in judges(rig)) <= STATES
    rig.work(1)
    assert rig.stops() == []
    assert rig.whole()

    assert isinstance(rig.store, DiskStore)
    rig.store.close()
    rig.store = DiskStore(tmp_path / "states")
    rig.start()
    for payment in payments:
        rig.world.report(payment, "ACCEPTED", code="ACSP")
        rig.world.report(payment, "SETTLED", code="ACSC")
    rig.world.mixed()
    rig.work(1)
    assert rig.stops() == []
    assert rig.whole()


def test_a_state_signed_later_replaces_the_one_that_was_on_disk_before(rig: WorldRig) -> None:
    payment = rig.world.create("k")
    for number in range(8 * PARTITIONS):
        rig.world.create(f"k{number}")
    rig.world.report(payment, "ACCEPTED", code="ACSP")
    rig.work(1)
    partition = rig.partition(payment)
    last = [r for r in rig.log.log(t.LIFECYCLE, partition) if r.key == payment.encode()][-1]
    assert rig.store.packed(partition, payment) == last.value


def test_a_read_that_ends_within_a_decision_keeps_its_state(rig: WorldRig) -> None:
    """It is no lifecycle record before its decision's last event."""
    for number in range(8 * PARTITIONS):
        rig.world.create(f"k{number}")
    rig.copy()
    rig.log.cut = {(t.EVENTS, partition): 0 for partition in range(PARTITIONS)}
    for partition in range(PARTITIONS):
        for event in rig.log.log(t.EVENTS, partition):
            rig.log.cut[t.EVENTS, partition] = event.offset + 1
            rig.verifier.step(0)
    rig.log.cut.clear()
    rig.work(1)
    assert rig.stops() == []
    assert rig.whole()


def test_past_a_break_heads_and_states_are_bounded_too(rig: WorldRig) -> None:
    """Nothing is signed there, so no checkpoint empties them."""
    broken = rig.world.create("broken")
    partition = rig.partition(broken)
    rig.work(1)
    forged = rig.log.log(t.EVENTS, partition)[0].value
    rig.log.put(t.EVENTS, partition, broken.encode(), forged)
    rig.work(1)
    assert len(rig.stops()) == 1
    verifier = rig.verifier._partitions[partition]
    taken = len(rig.log.log(t.EVENTS, partition))
    for number in range(8 * PARTITIONS):
        rig.world.create(f"k{number}")
    rig.copy()
    rig.verifier.step(0)
    assert len(rig.log.log(t.EVENTS, partition)) > taken + 2 * STATES
    assert len(verifier.judge.fresh) <= STATES
    assert len(verifier._touched) <= STATES


def test_events_wait_for_lifecycle_records_that_are_far_behind(
    rig: WorldRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two partitions, each far ahead on the other topic, do not wait for each other for ever."""
    monkeypatch.setattr(process, "WAITING_MAX", 3)
    for number in range(8 * PARTITIONS):
        rig.world.create(f"k{number}")
    rig.copy()
    rig.log.hidden.update({(t.EVENTS, 0), (t.LIFECYCLE, 1)})
    for _ in range(3):
        rig.verifier.step(0)
    before = sum(each.outstanding for each in judges(rig))
    assert before >= 3
    assert rig.verifier._partitions[0].heads.waiting() >= 3
    more = [rig.world.create(f"more{number}") for number in range(8 * PARTITIONS)]
    assert any(rig.partition(payment) == 1 for payment in more)
    rig.copy()
    rig.verifier.step(0)
    assert sum(each.outstanding for each in judges(rig)) == before, "it read more events"
    rig.log.hidden.clear()
    rig.work(3)
    assert rig.stops() == []
    assert rig.whole()


def test_its_readers_start_with_the_products_connection() -> None:
    """The client refuses a fetch that is smaller than the largest record of a producer."""
    clock = SystemClock()
    log = KafkaVerifierLog(load(OPTIONS).connection(), clock, PartitionErrors(clock))
    log.follow({0: 0}, {0: 0}, {0: 0})
    log.close()
