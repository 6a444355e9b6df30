"""The verifier signs what it has verified, and continues from there after a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evidence.chain import event_hash
from evidence.checkpoints import CheckpointChain, Range, Sealed
from processors.verifier.store import DiskStore
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, EVENTS
from tests.processors.verifier.journal import PARTITIONS
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.rig import KEY, OTHER_KEY, Rig

pytestmark = pytest.mark.slow


def test_a_sound_journal_is_signed_in_consecutive_ranges_without_a_gap(
    codec: Codec,
) -> None:
    rig = Rig(codec)
    rig.history()
    first, second = rig.checkpoints()
    log = rig.journal.logs[EVENTS, 0]
    assert (first.number, first.from_offset, first.to_offset, first.leaves) == (
        1,
        0,
        log[4].offset,
        2,
    )
    assert (second.number, second.from_offset, second.to_offset) == (
        2, first.to_offset + 1, log[7].offset,
    )  # fmt: skip
    touched = Range()
    touched.touch(rig.a, 5, event_hash(log[6].value or b""))
    touched.touch(rig.c, 1, event_hash(log[7].value or b""))
    assert second.merkle_root == touched.root()
    chain = CheckpointChain(0, rig.keyring)
    for record in rig.journal.logs[CHECKPOINTS, 0]:
        raw = record.value or b""
        assert chain.feed(Sealed(codec.decode(CHECKPOINTS, raw), raw)) is None
    assert rig.stopped_by() == []


def test_without_new_events_nothing_is_signed(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.tick()
    rig.tick()
    assert len(rig.checkpoints()) == 2
    assert rig.checkpoints(1) == []


def test_it_signs_after_ten_seconds_or_ten_thousand_events(codec: Codec) -> None:
    rig = Rig(codec)
    rig.verifier.open()
    rig.journal.append(rig.a, 3)
    rig.verifier.step(0)
    assert rig.checkpoints() == []
    rig.clock.advance(10_000)
    rig.verifier.step(0)
    assert len(rig.checkpoints()) == 1
    rig.journal.append(rig.b, 10_000)
    rig.verifier.step(0)
    assert len(rig.checkpoints()) == 2


def test_a_restart_continues_from_its_own_heads(codec: Codec, tmp_path: Path) -> None:
    rig = Rig(codec, DiskStore(tmp_path / "heads"))
    rig.history()
    rig.store.close()
    rig.store = DiskStore(tmp_path / "heads")
    rig.start()
    rig.journal.append(rig.a, 1)
    rig.work()
    assert [c.number for c in rig.checkpoints()] == [1, 2, 3]
    assert rig.stopped_by() == []
    rig.store.close()


def test_a_lost_store_is_rebuilt_from_offset_zero_and_confirms_every_checkpoint_on_the_way(
    codec: Codec,
) -> None:
    rig = Rig(codec)
    rig.history()
    rig.store = MemoryStore()
    rig.start()
    rig.journal.append(rig.b, 1)
    rig.work()
    assert [c.number for c in rig.checkpoints()] == [1, 2, 3]
    assert rig.stopped_by() == []


@pytest.mark.parametrize("written", [True, False])
def test_an_unclear_transaction_is_resolved_by_the_content_of_the_topic(
    codec: Codec, written: bool
) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.append(rig.a, 1)
    rig.log.doubt = [written]
    rig.clock.advance(10_000)
    steps = iter(range(6))

    def end_after_some(wait_s: float, poll: Callable = rig.log.poll) -> object:  # type: ignore[type-arg]
        if next(steps, None) is None:
            rig.verifier.stop()
        rig.clock.advance(10_000)
        return poll(wait_s)

    rig.log.poll = end_after_some  # type: ignore[method-assign, assignment]
    rig.verifier.run()
    assert [c.number for c in rig.checkpoints()] == [1, 2, 3]
    assert rig.log.takes >= 2
    assert rig.stopped_by() == []


def test_an_old_key_stays_accepted_and_a_new_one_signs(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.keyring.add(OTHER_KEY.public, 1)
    rig.store = MemoryStore()
    rig.start(key=OTHER_KEY)
    rig.journal.append(rig.a, 1)
    rig.work()
    assert [c.key_id for c in rig.checkpoints()] == [KEY.key_id, KEY.key_id, OTHER_KEY.key_id]
    assert rig.stopped_by() == []


def test_each_partition_has_its_own_checkpoints(codec: Codec) -> None:
    rig = Rig(codec)
    for partition in range(PARTITIONS):
        for payment in rig.journal.payments(partition, 2):
            rig.journal.append(payment, 2)
    rig.work()
    assert [c.partition for n in range(PARTITIONS) for c in rig.checkpoints(n)] == [0, 1]
