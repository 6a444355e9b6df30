"""The verifier: signs what it has verified, stops at every kind of damage, never signs past it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from core.records import Checkpoint, ProcessingStopped, RecoverConfirmed, RecoverRequested
from engine.clock import HeldClock
from engine.errors import Exit
from engine.partitioner import partition_of
from engine.records import LogRecord
from evidence.chain import event_hash
from evidence.checkpoints import CheckpointChain, Range, Sealed, build, seal
from evidence.keys import Keyring, SigningKey, signing_key_from_seed
from processors.verifier.process import Verifier, VerifierMetrics
from processors.verifier.store import DiskStore, MemoryStore, VerifierStore
from schemas.codec import Codec
from schemas.registry.setup import static_codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS
from tests.processors.verifier.journal import PARTITIONS, Journal, MemoryVerifierLog

pytestmark = pytest.mark.slow

KEY = signing_key_from_seed(b"k" * 32)
OTHER_KEY = signing_key_from_seed(b"o" * 32)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return static_codec()


class Rig:
    """A journal, the verifier over it, and what it needs to be started again."""

    def __init__(self, codec: Codec, store: VerifierStore | None = None) -> None:
        self.codec = codec
        self.journal = Journal(codec)
        self.log = MemoryVerifierLog(self.journal)
        self.store = store or MemoryStore()
        self.keyring = Keyring()
        self.keyring.add(KEY.public, 0)
        self.clock = HeldClock(1_000_000)
        self.a, self.b, self.c = self.journal.payments(0, 3)
        self.registry = CollectorRegistry()
        self.verifier = self.start()

    def start(self, *, key: SigningKey = KEY) -> Verifier:
        self.registry = CollectorRegistry()
        self.verifier = Verifier(
            journal=self.log, codec=self.codec, store=self.store, key=key, keyring=self.keyring,
            clock=self.clock, metrics=VerifierMetrics(self.registry), partition_of=partition_of,
        )  # fmt: skip
        return self.verifier

    def work(self) -> None:
        """Open, read all there is, and sign."""
        self.verifier.open()
        self.tick()

    def tick(self) -> None:
        self.verifier.step(0)
        self.verifier.sign_round()

    def checkpoints(self, partition: int = 0) -> list[Checkpoint]:
        log = self.journal.logs[CHECKPOINTS, partition]
        return [self.codec.decode(CHECKPOINTS, record.value) for record in log]

    def stopped_by(self) -> list[str]:
        stops = self.log.stops()
        assert all(stop.automatic for stop in stops if isinstance(stop, ProcessingStopped))
        return [stop.reason.split(":")[0] for stop in stops if isinstance(stop, ProcessingStopped)]

    def history(self) -> None:
        """Two checkpoints over three payments of partition 0."""
        self.journal.append(self.a, 3)
        self.journal.append(self.b, 2)
        self.work()
        self.journal.append(self.a, 2)
        self.journal.append(self.c, 1)
        self.tick()


def test_a_sound_journal_is_signed_in_ranges_that_follow_each_other_without_a_hole(
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


def test_nothing_new_is_not_signed_again(codec: Codec) -> None:
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


def test_a_restart_goes_on_from_its_own_heads(codec: Codec, tmp_path: Path) -> None:
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
def test_a_doubtful_transaction_is_resolved_by_what_stands_on_the_topic(
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


def test_an_old_key_goes_on_being_accepted_and_a_new_one_signs(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.keyring.add(OTHER_KEY.public, 1)
    rig.store = MemoryStore()
    rig.start(key=OTHER_KEY)
    rig.journal.append(rig.a, 1)
    rig.work()
    assert [c.key_id for c in rig.checkpoints()] == [KEY.key_id, KEY.key_id, OTHER_KEY.key_id]
    assert rig.stopped_by() == []


# --- damage ---------------------------------------------------------------------------------------


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
def test_damage_to_the_new_part_is_a_stop_and_is_never_signed_while_other_partitions_go_on(
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


def test_after_a_restart_the_same_damage_is_found_again_and_stops_only_once(codec: Codec) -> None:
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
    """Two persons let partition 0 go on from where its log ends now."""
    asked = RecoverRequested(
        request_id="rec_1",
        partitions=(0,),
        reason="the disk is gone",
        requested_at=1,
        actor="alice",
    )
    end = rig.log.bounds(EVENTS)[0][1]
    agreed = RecoverConfirmed(
        request_id="rec_1",
        confirmed_at=2,
        actor=by,
        journal_ends=(end, -1),
        checkpoints=(len(rig.checkpoints()), 0),
    )
    for record in (asked, agreed):
        rig.journal.put(CONTROL, 0, None, rig.codec.encode(CONTROL, record))


@pytest.mark.parametrize("restarted", [False, True])
def test_after_two_persons_recovered_it_signs_on_from_the_last_checkpoint_that_holds(
    codec: Codec, restarted: bool
) -> None:
    """A checkpoint over vanished events stays a link, and the next covers what it does not."""
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]
    recover(rig, by="Alice ")
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
    other = Rig(codec)  # a verifier that has lost its store comes to the same
    other.journal, other.log = rig.journal, MemoryVerifierLog(rig.journal)
    other.start()
    other.work()
    assert rig.verifier.problems() == other.verifier.problems() == {}
    assert rig.checkpoints() == signed
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]


def test_a_tail_that_no_checkpoint_covers_is_missed_by_a_running_verifier(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.append(rig.a, 2)
    rig.verifier.step(0)
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.verifier.sign_round()
    assert rig.verifier.problems()[0].kind == "LOG_TAIL_LOST"
    assert len(rig.checkpoints()) == 2


def test_a_tail_cut_under_a_running_verifier_stops_before_it_ends(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[EVENTS, 0][-2:]
    rig.log.poll = _off_the_log  # type: ignore[method-assign]
    with pytest.raises(Exit, match="OFFSETS_LOST"):
        rig.verifier.run()
    assert rig.stopped_by() == ["LOG_TAIL_LOST"]


def _off_the_log(wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
    raise Exit("OFFSETS_LOST", "the position is off the log")


def test_a_chain_rewritten_from_the_middle_is_found_by_the_root_when_heads_are_rebuilt(
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


def test_an_altered_last_checkpoint_is_not_the_one_we_wrote(codec: Codec) -> None:
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
    draft = build(0, previous, touched, log[-1].offset, 2, OTHER_KEY.key_id)
    forged = seal(draft, OTHER_KEY, lambda each: codec.encode(CHECKPOINTS, each))
    rig.journal.put(CHECKPOINTS, 0, b"0", forged.raw)
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_UNKNOWN_KEY"]


def test_a_checkpoint_that_somebody_else_appended_is_found_before_the_next_is_signed(
    codec: Codec,
) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.put(CHECKPOINTS, 0, b"0", rig.journal.logs[CHECKPOINTS, 0][0].value)
    rig.journal.append(rig.a)
    rig.tick()
    assert rig.stopped_by() == ["CHECKPOINT_ALTERED"]


def test_a_removed_last_checkpoint_is_missed(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.logs[CHECKPOINTS, 0].pop()
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_MISSING"]


def test_a_checkpoint_removed_from_the_middle_breaks_the_numbers(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    del rig.journal.logs[CHECKPOINTS, 0][0]
    rig.store = MemoryStore()
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_NUMBER"]


def test_rubbish_on_the_checkpoint_topic_is_named(codec: Codec) -> None:
    rig = Rig(codec)
    rig.history()
    rig.journal.put(CHECKPOINTS, 0, b"0", b"rubbish")
    rig.start()
    rig.work()
    assert rig.stopped_by() == ["CHECKPOINT_UNREADABLE"]


def test_the_two_partitions_have_checkpoints_of_their_own(codec: Codec) -> None:
    rig = Rig(codec)
    for partition in range(PARTITIONS):
        for payment in rig.journal.payments(partition, 2):
            rig.journal.append(payment, 2)
    rig.work()
    assert [c.partition for n in range(PARTITIONS) for c in rig.checkpoints(n)] == [0, 1]
