"""Evidence after `npp control recover`: events covered only by void checkpoints are not signed, but
not broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.control_records import RecoverConfirmed, RecoverRequested
from evidence import verify_evidence as v
from evidence.checkpoints import Begin, End, Range, build, seal
from evidence.merkle import LeafData
from evidence.packs.pack import Tampered, public_keys
from schemas import topology as t
from tests.auditor.wire import sha256
from tests.evidence.harness import Harness
from tests.processors.payments.clean_history import PARTITIONS
from tests.processors.replay.world import VERIFIER_KEY

LOST = LeafData("pi_of_an_event_that_has_vanished", 3, bytes(32))


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "readmodel")
    yield made
    made.close()


def lost_tail(harness: Harness) -> str:
    """A settled payment; the checkpoint over it also covers another one, whose events were lost."""
    payment = harness.world.settled("k")
    harness.checkpoint_among([LOST])
    harness.project()
    return payment


def recover(harness: Harness, payment: str) -> int:
    """Two people let its partition continue where the journal ends; returns the partition."""
    partition, ends = place_of(harness, payment)
    journal_ends = tuple(ends if n == partition else -1 for n in range(PARTITIONS))
    harness.world._control(
        RecoverRequested(
            request_id="rec_1",
            partitions=(partition,),
            reason="a disk is gone",
            requested_at=0,
            actor="ann",
        )
    )
    last = (1,) * PARTITIONS
    harness.world._control(
        RecoverConfirmed(
            request_id="rec_1",
            confirmed_at=0,
            actor="bob",
            journal_ends=journal_ends,
            checkpoints=last,
        )
    )
    harness.project()
    return partition


def place_of(harness: Harness, payment: str) -> tuple[int, int]:
    """Its partition, and the offset of its last event, which is the last on the log."""
    row = harness.reader.events(payment, 0, 100)[-1]
    return row.partition, row.offset


def sign_again(harness: Harness, payment: str) -> None:
    """The next checkpoint starts where the last valid one ended."""
    partition, to_offset = place_of(harness, payment)
    row = harness.reader.events(payment, 0, 100)[-1]
    touched = Range()
    touched.touch(payment, row.sequence, sha256(row.raw))
    previous = harness._last[partition]
    key = VERIFIER_KEY
    draft = build(partition, previous, touched, End(to_offset), 2_000, key.key_id, Begin())
    sealed = seal(draft, key, lambda each: harness.world.codec.encode(t.CHECKPOINTS, each))
    harness.log.append(t.CHECKPOINTS, partition, b"", sealed.raw)
    harness.project()


def verified(harness: Harness, content: bytes) -> dict[str, Any]:
    return v.verify(content, public_keys(harness.ring))


def test_under_a_void_checkpoint_a_pack_says_that_nothing_is_signed_yet(harness: Harness) -> None:
    """EP-08: as for a payment newer than the last checkpoint."""
    payment = lost_tail(harness)
    with pytest.raises(Tampered):
        harness.packs.build(payment, None, proof=True)

    recover(harness, payment)
    as_of, content = harness.packs.build(payment, None, proof=True)

    assert as_of.endswith(".0")
    answer = verified(harness, content)
    assert (answer["verified"], answer["problem"]["kind"]) == (False, "NOT_SIGNED")
    online = harness.packs.verify(payment, content)
    assert (online["verified"], online["through"]) == (True, 0)
    assert harness.packs.view(payment)


def test_the_next_checkpoint_covers_it_again(harness: Harness) -> None:
    payment = lost_tail(harness)
    recover(harness, payment)
    sign_again(harness, payment)

    as_of, content = harness.packs.build(payment, None, proof=True)

    assert as_of.endswith(".2")
    answer = verified(harness, content)
    assert (answer["verified"], answer["through"]) == (True, answer["events"])


def test_an_as_of_under_a_void_checkpoint_is_no_longer_available(harness: Harness) -> None:
    payment = harness.world.settled("k")
    harness.all()
    as_of, _ = harness.packs.build(payment, None, proof=True)
    recover(harness, payment)
    with pytest.raises(ValueError, match="does not cover"):
        harness.packs.build(payment, as_of, proof=True)


def test_a_checkpoint_that_ends_before_the_loss_stays_valid(harness: Harness) -> None:
    """Only checkpoints that reach past the journal's end are void."""
    payment = harness.world.settled("k")
    harness.all()
    partition, last = place_of(harness, payment)
    ends = tuple(last + 1 if n == partition else -1 for n in range(PARTITIONS))
    harness.world._control(
        RecoverRequested(
            request_id="rec_1",
            partitions=(partition,),
            reason="a disk is gone",
            requested_at=0,
            actor="ann",
        )
    )
    harness.world._control(
        RecoverConfirmed(
            request_id="rec_1",
            confirmed_at=0,
            actor="bob",
            journal_ends=ends,
            checkpoints=(1,) * PARTITIONS,
        )
    )
    harness.project()
    _, content = harness.packs.build(payment, None, proof=True)
    assert verified(harness, content)["verified"] is True
