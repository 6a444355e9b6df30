"""Damage to the journal is a STOP, and nothing is signed beyond it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from control.fold import Control
from core.control_records import ClusterRecorded, RecoverConfirmed, RecoverRequested
from engine.errors import Exit
from engine.records import LogRecord
from evidence.chain import event_hash
from schemas.codec import Codec
from schemas.topology import CONTROL, EVENTS
from tests.control.people import CLUSTER, Hands, activated
from tests.processors.verifier.journal import Journal, MemoryVerifierLog
from tests.processors.verifier.memory_store import MemoryStore
from tests.processors.verifier.rig import Rig

pytestmark = pytest.mark.slow

HANDS = Hands()


def _drop(rig: Rig) -> None:
    rig.journal.event(rig.a)
    rig.journal.append(rig.a)


def _double(rig: Rig) -> None:
    last = rig.journal.logs[EVENTS, 0][-2]
    rig.journal.put(EVENTS, 0, last.key, last.value)


def _swap(rig: Rig) -> None:
    first, second = rig.journal.event(rig.a), rig.journal.event(rig.a)
    for raw in (second, first):
        rig.journal.put(EVENTS, 0, rig.a.encode(), raw)


def _flip_a_bit(rig: Rig) -> None:
    raw = rig.journal.event(rig.a)
    rig.journal.put(EVENTS, 0, rig.a.encode(), raw[:-1] + bytes([raw[-1] ^ 1]))
    rig.journal.append(rig.a)


def _foreign(rig: Rig) -> None:
    rig.journal.put(EVENTS, 0, rig.a.encode(), b'{"state": "SETTLED"}')


def _other_partition(rig: Rig) -> None:
    (stranger,) = rig.journal.payments(1, 1)
    rig.journal.put(EVENTS, 0, stranger.encode(), rig.journal.event(stranger))


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_drop, "SEQUENCE_GAP"),
        (_double, "SEQUENCE_REPEATED"),
        (_swap, "SEQUENCE_GAP"),
        (_flip_a_bit, "PREVIOUS_HASH"),
        (_foreign, "FOREIGN_EVENT"),
        (_other_partition, "FOREIGN_EVENT"),
    ],
)
def test_damage_to_new_events_is_a_stop_and_never_signed_while_other_partitions_continue(
    codec: Codec, damage: Callable[[Rig], None], kind: str
) -> None:
    rig = Rig(codec)
    rig.history()
    damage(rig)
    rig.tick()
    _, neighbour = rig.journal.payments(1, 2)
    rig.journal.append(neighbour)
    rig.journal.append(rig.b)
    rig.tick()
    rig.tick()
    assert rig.stopped_by() == [kind]
    assert len(rig.checkpoints(0)) == 2
    assert len(rig.checkpoints(1)) == 1
    assert rig.verifier.verified()[0] == rig.journal.logs[EVENTS, 0][-1].offset
    sample = rig.registry.get_sample_value("npp_verifier_problems_total", {"kind": kind})
    assert sample == 1.0


def test_after_a_restart_the_same_damage_is_found_again_and_gives_one_stop(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    _drop(rig)
    rig.tick()
    rig.start()
    rig.work()
    assert rig.verifier.problems()[0].kind == "SEQUENCE_GAP"
    assert rig.stopped_by() == ["SEQUENCE_GAP"]
    assert len(rig.checkpoints()) == 2


def test_a_cut_tail_below_the_last_checkpoint_is_log_tail_lost(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]
    assert len(rig.checkpoints()) == 2


def recover(rig: Rig, *, by: str = "bob") -> None:
    """A recovery under dual control lets partition 0 continue from the current end of its log."""
    requested = RecoverRequested(
        request_id=f"rec_{by}",
        partitions=(0,),
        reason="the disk is gone",
        requested_at=1,
        actor="alice",
    )
    end = rig.log.bounds(EVENTS)[0][1]
    agreed = RecoverConfirmed(
        request_id=f"rec_{by}",
        confirmed_at=2,
        actor=by,
        journal_ends=(end, -1),
        checkpoints=(len(rig.checkpoints()), 0),
    )
    control = Control(rig.codec.decode)
    for offset, value, at in rig.log.control(0):
        control.apply(offset, value, at)
    first = (
        ClusterRecorded(cluster_id=CLUSTER, partitions=2, recorded_at=0, actor="test"),
        activated(),
    )
    for record in (*(() if control.operators else first), requested, agreed):
        signed = HANDS.in_turn(control, record)
        raw = rig.codec.encode(CONTROL, signed)
        rig.journal.put(CONTROL, 0, None, raw)
        control.apply_record(rig.log.control(0)[-1][0], signed)


@pytest.mark.parametrize("restarted", [False, True])
def test_after_a_recovery_it_signs_on_from_the_last_valid_checkpoint(
    codec: Codec, restarted: bool
) -> None:
    """A checkpoint over lost events stays a link; the next one covers what remains."""
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]
    recover(rig, by="alice")
    rig.tick()
    assert rig.verifier.problems(), "one person is not enough"

    recover(rig)
    if restarted:
        rig.start()
        rig.work()
    else:
        rig.tick()
    rig.journal.rewind()
    rig.journal.append(rig.a, 1)
    rig.tick()
    rig.tick()
    assert rig.verifier.problems() == {}
    first, void, third, *later = signed = rig.checkpoints()
    assert (third.number, third.from_offset) == (3, first.to_offset + 1)
    assert third.from_offset == void.from_offset
    assert [each.from_offset for each in later] == [third.to_offset + 1] * len(later)
    rig.start()
    rig.work()
    other = Rig(codec)  # a verifier that has lost its store gives the same result
    other.journal, other.log = rig.journal, MemoryVerifierLog(rig.journal)
    other.start()
    other.work()
    assert rig.verifier.problems() == other.verifier.problems() == {}
    assert rig.checkpoints() == signed
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]


def test_a_lost_tail_without_a_checkpoint_is_noticed_by_a_running_verifier(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.append(rig.a, 2)
    rig.verifier.step(0)
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.verifier.sign_round()
    assert rig.verifier.problems()[0].kind == "LOG_TAIL_LOST"
    assert len(rig.checkpoints()) == 2


def test_a_tail_cut_under_a_running_verifier_is_a_stop_before_it_exits(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.log.poll = _off_the_log  # type: ignore[method-assign]
    with pytest.raises(Exit, match="OFFSETS_LOST"):
        rig.verifier.run()
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]


def _off_the_log(wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
    raise Exit("OFFSETS_LOST", "the position is off the log")


def test_a_rewritten_chain_is_found_by_the_root_when_heads_are_rebuilt(
    codec: Codec,
) -> None:
    rig = Rig(codec)
    rig.history()
    forged = Journal(codec)
    for index, record in enumerate(rig.journal.logs[EVENTS, 0]):
        payment = (record.key or b"").decode()
        raw = forged.event(payment)
        if index >= 2 and payment == rig.a:
            raw = raw.replace(b"DELIVERED", b"UNDELIVER")
            forged._heads[payment] = (forged._heads[payment][0], event_hash(raw))
        rig.journal.replace(EVENTS, 0, index, raw)
    rig.store = MemoryStore()
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_ROOT"]
