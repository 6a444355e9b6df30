"""Damage to the checkpoints: altered, foreign, removed or unreadable ones are named."""

from __future__ import annotations

import pytest

from evidence.chain import event_hash
from evidence.checkpoints import End, Range, Sealed, build, seal
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, EVENTS
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.rig import OTHER_KEY, Rig

pytestmark = pytest.mark.slow


def test_an_altered_checkpoint_is_found_by_its_signature(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    raw = bytearray(rig.journal.logs[CHECKPOINTS, 0][1].value or b"")
    raw[9] ^= 1
    rig.journal.replace(CHECKPOINTS, 0, 1, bytes(raw))
    rig.store = MemoryStore()
    rig.start()
    rig.work()
    assert rig.stopped_by()[0] in {"CHECKPOINT_RANGE", "CHECKPOINT_SIGNATURE"}


def test_an_altered_last_checkpoint_differs_from_the_one_we_wrote(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    raw = bytearray(rig.journal.logs[CHECKPOINTS, 0][1].value or b"")
    raw[-1] ^= 1
    rig.journal.replace(CHECKPOINTS, 0, 1, bytes(raw))
    rig.journal.append(rig.a)
    rig.tick()
    assert rig.stopped_by() == ["CHECKPOINT_ALTERED"]
    assert len(rig.checkpoints()) == 2


def test_a_checkpoint_of_a_key_that_is_not_listed_is_found(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    last = rig.journal.logs[CHECKPOINTS, 0][-1].value or b""
    previous = Sealed(codec.decode(CHECKPOINTS, last), last)
    rig.journal.append(rig.a)
    touched = Range()
    log = rig.journal.logs[EVENTS, 0]
    touched.touch(rig.a, 6, event_hash(log[-1].value or b""))
    draft = build(0, previous, touched, End(log[-1].offset), 2, OTHER_KEY.key_id)
    forged = seal(draft, OTHER_KEY, lambda each: codec.encode(CHECKPOINTS, each))
    rig.journal.put(CHECKPOINTS, 0, b"0", forged.raw)
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_UNKNOWN_KEY"]


def test_a_checkpoint_appended_by_another_writer_is_found_before_the_next_is_signed(
    codec: Codec,
) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.put(CHECKPOINTS, 0, b"0", rig.journal.logs[CHECKPOINTS, 0][0].value)
    rig.journal.append(rig.a)
    rig.tick()
    assert rig.stopped_by() == ["CHECKPOINT_ALTERED"]


def test_a_removed_last_checkpoint_is_noticed(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.logs[CHECKPOINTS, 0].pop()
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_MISSING"]


def test_a_checkpoint_removed_from_the_middle_breaks_the_numbering(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[CHECKPOINTS, 0][0]
    rig.store = MemoryStore()
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_NUMBER"]


def test_garbage_on_the_checkpoint_topic_is_named(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.put(CHECKPOINTS, 0, b"0", b"rubbish")
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_UNREADABLE"]
