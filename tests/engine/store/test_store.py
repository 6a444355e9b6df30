"""The local store on RocksDB and the states above it: behind or exact after a kill, never apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.errors import Exit
from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.restore import LogTailLost, Watermarks, prepare
from engine.store.states import OBJECTS_COUNT_MAX, PartitionStates
from engine.store.store import Change, Store, StoreMeta
from tests.engine.store.memory import MemoryPartitionStore
from tests.engine.toy import Count, Toy
from tests.rooms import ROOT


def packed(toy: Toy, count: Count) -> bytes:
    return toy._encode(count)


def filled(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", "cluster topic")
    part = store.partition(0)
    part.write(
        [Change("a", b"1", True), Change("b", b"2", None), Change("c", b"3", True)],
        StoreMeta(3, 7, 1000),
    )
    return store


def test_states_and_offsets_come_back_after_a_clean_end(tmp_path: Path) -> None:
    """Closing flushes; the next start is exact."""
    filled(tmp_path).close()
    store = Store(tmp_path / "store", "cluster topic")
    part = store.partition(0)
    assert part.meta() == StoreMeta(3, 7, 1000)
    assert [part.get(k) for k in ("a", "b", "c", "d")] == [b"1", b"2", b"3", None]
    assert dict(part.open_states()) == {"a": b"1", "c": b"3"}
    assert store.partition(1).meta() is None
    store.close()


def test_a_state_that_comes_to_rest_is_no_longer_read_at_start(tmp_path: Path) -> None:
    """Starting costs by the open states, not by all there ever were."""
    store = filled(tmp_path)
    part = store.partition(0)
    part.write([Change("a", b"9", False)], StoreMeta(4, 8, 1001))
    assert dict(part.open_states()) == {"c": b"3"}
    assert part.get("a") == b"9"
    store.close()


def test_a_state_that_another_has_written_since_is_not_remembered_as_it_was(
    tmp_path: Path,
) -> None:
    """Engine, restore: a partition that comes back after a rebalance is read on from the state
    topic; what was unpacked before it went away is old."""
    toy, store = Toy(), Store(tmp_path / "store", "cluster topic")
    states = PartitionStates(toy, 0, store.partition(0))
    for rest in (False, True):
        key = f"key-{rest}"
        states.load([(key, packed(toy, Count(key, 1, rest=rest)))], 1, 1000)
        assert states.get(key) == Count(key, 1, rest=rest)  # unpacked, and remembered
        states.load([(key, packed(toy, Count(key, 2, rest=rest)))], 2, 1001)
        assert states.get(key) == Count(key, 2, rest=rest)
        states.replace(key, packed(toy, Count(key, 3, rest=rest)), 1002)
        assert states.get(key) == Count(key, 3, rest=rest)
    store.close()


def test_a_state_that_was_taken_back_is_forgotten_on_disk_and_in_memory(tmp_path: Path) -> None:
    """A recovery takes states back: what is restored has no such key, and no timer of it."""
    toy, store = Toy(), Store(tmp_path / "store", "cluster topic")
    states = PartitionStates(toy, 0, store.partition(0))
    kept, gone = packed(toy, Count("kept", 1)), packed(toy, Count("gone", 1, 5))
    states.load([("kept", kept), ("gone", gone)], 2, 1000)
    assert states.timers.next_due_ms() == 5
    states.load([("gone", None)], 3, 1001)
    assert (states.get("gone"), states.get_packed("gone")) == (None, None)
    assert states.timers.next_due_ms() is None
    part = store.partition(0)
    assert (part.get("kept"), part.get("gone")) == (kept, None)
    assert dict(part.open_states()) == {"kept": kept}
    store.close()


class Listing(MemoryPartitionStore):
    """A store that remembers what was said of the list of open states."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[bool | None] = []

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        changes = list(changes)
        self.listed += [each.listed for each in changes]
        super().write(changes, meta)


def test_the_list_of_open_states_is_written_only_when_it_changes() -> None:
    """Most changes leave a state open: they write one key, and a start still reads every open
    state and no other."""
    toy, disk = Toy(), Listing()
    states = PartitionStates(toy, 0, disk)
    for sequence, rest in enumerate((False, False, True, True, False), 1):
        count = Count("a", sequence, rest=rest)
        states.apply({"a": (count, packed(toy, count))}, None, None, 1000)
        again = PartitionStates(toy, 0, disk)
        again.load_open()
        assert again.open_count() == (not rest)
    assert disk.listed == [True, None, False, None, True]


def test_a_second_process_can_not_open_the_folder(tmp_path: Path) -> None:
    """Locked exclusively: exit, no restart loop."""
    store = filled(tmp_path)
    with pytest.raises(Exit, match="STORE_LOCKED"):
        Store(tmp_path / "store", "cluster topic")
    store.close()


def test_a_folder_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """Its offsets would mean nothing."""
    filled(tmp_path).close()
    with pytest.raises(Exit, match="STORE_FOREIGN"):
        Store(tmp_path / "store", "other topic")


def test_an_unreadable_store_is_discarded(tmp_path: Path) -> None:
    """The log is the truth; the copy is made again."""
    filled(tmp_path).close()
    for manifest in (tmp_path / "store" / "states").glob("MANIFEST*"):
        manifest.write_bytes(b"not a manifest")
    store = Store(tmp_path / "store", "cluster topic")
    assert store.discarded_unreadable
    assert store.partition(0).meta() is None
    store.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.store.store import Change, Store, StoreMeta
store = Store(Path(sys.argv[1]), "cluster topic")
parts = [store.partition(n) for n in range(2)]
for at in range(int(sys.argv[2])):
    parts[at % 2].write([Change(f"k{at}", os.urandom(2000), True)], StoreMeta(at + 1, at + 1, 1))
    if at == int(sys.argv[2]) // 2:
        parts[0].flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writes", [100, 20_000])
def test_after_a_kill_offset_and_states_stand_together(tmp_path: Path, writes: int) -> None:
    """Fault row 1: with the log off, each partition is behind or exact, never its offset ahead of
    its states."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(writes)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path / "store", "cluster topic")
    metas = []
    for number in range(2):
        part = store.partition(number)
        meta = part.meta()
        metas.append(meta)
        reached = meta.state_offset if meta else 0
        for at in range(number, writes, 2):
            assert (part.get(f"k{at}") is not None) == (at < reached), (number, at, reached)
    assert metas[0] is not None, "what was flushed must be there"
    store.close()


def test_states_at_rest_are_found_on_disk_and_the_others_in_memory() -> None:
    """Unpacked at most OBJECTS_COUNT_MAX; a miss is one look-up."""
    toy = Toy()
    states = PartitionStates(toy, 0, MemoryPartitionStore())
    total = OBJECTS_COUNT_MAX + 2_000
    changed = {}
    for at in range(total):
        count = Count(f"k{at}", 1, None, at % 2 == 0)
        changed[f"k{at}"] = (count, packed(toy, count))
    states.apply(changed, 10, 20, 1)
    assert states.open_count() == total // 2
    assert len(states._objects) <= OBJECTS_COUNT_MAX
    assert all(int(key[1:]) % 2 for key in states._objects)  # what is at rest has left memory
    assert all(states.get(f"k{at}") == changed[f"k{at}"][0] for at in range(0, total, 97))
    assert states.get("unknown") is None


def test_restored_states_arm_their_timers() -> None:
    """A heap rebuilt from the states."""
    toy = Toy()
    states = PartitionStates(toy, 0, MemoryPartitionStore())
    first, second = Count("a", 1, 500), Count("a", 2, 900)
    states.load([("a", packed(toy, first)), ("a", packed(toy, second))], 2, 1)
    assert states.timers.next_due_ms() == 900
    assert states.get("a") == second
    assert states.state_offset == 2


def test_a_batch_that_did_not_happen_leaves_no_trace_and_makes_its_timers_again() -> None:
    """After an abort the same batch gives the same records, due timers included."""
    toy = Toy()
    states = PartitionStates(toy, 0, MemoryPartitionStore())
    states.load([("a", packed(toy, Count("a", 1, 500)))], 1, 1)
    record = InputRecord("toy.add", 0, 7, 0, b"a", b"add", [], 400)
    given = []
    for _ in range(2):
        run = BatchRun(toy, {0: states})
        run.decide([record])
        assert run.add_timers(0, 600) == 1
        given.append(list(run.overlay.outputs))
        run.dropped()
    assert given[0] == given[1]
    assert len(given[0]) == 3
    assert states.get("a") == Count("a", 1, 500)
    assert toy.aborted == 2


def stored(offset: int, written_at_ms: int) -> PartitionStates:
    disk = MemoryPartitionStore()
    disk.write(
        [Change("a", packed(Toy(), Count("a", 1)), True)], StoreMeta(offset, 0, written_at_ms)
    )
    return PartitionStates(Toy(), 0, disk)


def test_a_store_ahead_of_the_log_is_kept_and_alarmed() -> None:
    """Row 13, LOG_TAIL_LOST: committed payments have vanished."""
    states = stored(11, 1000)
    with pytest.raises(LogTailLost):
        prepare(states, Watermarks(0, 10), 1000, 10_000)
    assert states.state_offset == 11


def test_a_store_that_is_too_old_or_cut_off_is_discarded() -> None:
    """Older than delete.retention.ms, or below the log's start."""
    old, cut_off, good = stored(5, 1000), stored(5, 1000), stored(5, 1000)
    assert prepare(old, Watermarks(0, 10), 11_001, 10_000)
    assert prepare(cut_off, Watermarks(6, 10), 1000, 10_000)
    assert not prepare(good, Watermarks(5, 10), 1000, 10_000)
    assert (old.state_offset, cut_off.state_offset, good.state_offset) == (0, 0, 5)
    assert old.get("a") is None
