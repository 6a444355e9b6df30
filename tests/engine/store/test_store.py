"""The local store on RocksDB and the states above it: after a kill, behind or exact, never
inconsistent.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from engine.errors import Exit
from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.budget import CACHE_BYTES_MIN
from engine.store.restore import LogTailLost, Watermarks, prepare
from engine.store.states import Changed, PartitionStates
from engine.store.store import Change, Store, StoreMeta
from tests.engine.store.memory import MemoryPartitionStore
from tests.engine.toy import Count, Toy
from tests.rooms import ROOT


def packed(toy: Toy, count: Count) -> bytes:
    return toy._encode(count)


def filled(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", "cluster topic")
    part = store.partition(0)
    part.write([("a", b"1", True), ("b", b"2", None), ("c", b"3", True)], StoreMeta(3, 7, 1000))
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


def test_a_state_at_rest_is_not_read_at_start(tmp_path: Path) -> None:
    """The cost of a start depends on the open states, not on all states ever."""
    store = filled(tmp_path)
    part = store.partition(0)
    part.write([("a", b"9", False)], StoreMeta(4, 8, 1001))
    assert dict(part.open_states()) == {"c": b"3"}
    assert part.get("a") == b"9"
    store.close()


def written_bytes() -> int:
    """What this process has passed to the kernel to write."""
    return int(Path("/proc/self/io").read_text().split()[3])


def once_quiet() -> int:
    """The same, once merges in the background have ended."""
    deadline, before = time.monotonic() + 30.0, -1
    while (now := written_bytes()) != before:
        assert time.monotonic() < deadline, "the store never stops writing"
        before = now
        time.sleep(0.3)
    return now


def test_older_states_are_not_rewritten_again_and_again(tmp_path: Path) -> None:
    """A write costs about the same whatever the number of states at rest, whose keys are random."""
    chance, states, size = random.Random(1), 25_000, 600
    filling = chance.randbytes(1_000_000)
    store = Store(tmp_path / "store", "cluster topic", CACHE_BYTES_MIN)
    part = store.partition(0)

    def write_states() -> None:
        for _ in range(0, states, 1_000):
            changes: list[Change] = []
            for _ in range(1_000):
                at = chance.randrange(len(filling) - size)
                changes.append((chance.randbytes(13).hex(), filling[at : at + size], None))
            part.write(changes, StoreMeta(1, 1, 1))
        part.flush()

    write_states()
    before = once_quiet()
    write_states()
    times_written = (once_quiet() - before) / (states * size)
    store.close()
    assert times_written < 4.0  # 3.2 here; by levels 6.1, and more with more states at rest


def test_a_state_that_another_instance_has_written_since_is_not_taken_from_memory(
    tmp_path: Path,
) -> None:
    """Engine, restore: a partition that comes back after a rebalance is read on from the state
    topic; states unpacked before are old.
    """
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


def test_a_state_removed_by_a_recovery_is_forgotten_on_disk_and_in_memory(tmp_path: Path) -> None:
    """The restored partition has no such key and no timer of it."""
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
    """A store that records the writes of the list of open states."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[bool | None] = []

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        changes = list(changes)
        self.listed += [listed for _, _, listed in changes]
        super().write(changes, meta)


def test_the_list_of_open_states_is_written_only_when_it_changes() -> None:
    """Most changes leave a state open: they write one key, and a start still reads exactly the open
    states.
    """
    toy, disk = Toy(), Listing()
    states = PartitionStates(toy, 0, disk)
    for sequence, rest in enumerate((False, False, True, True, False), 1):
        count = Count("a", sequence, rest=rest)
        states.apply({"a": Changed.of(toy, count, packed(toy, count))}, None, None, 1000)
        again = PartitionStates(toy, 0, disk)
        again.load_open()
        assert again.open_count() == (not rest)
    assert disk.listed == [True, None, False, None, True]


def test_a_second_process_cannot_open_the_folder(tmp_path: Path) -> None:
    """The lock is exclusive: the process exits, without a restart loop."""
    store = filled(tmp_path)
    with pytest.raises(Exit, match="STORE_LOCKED"):
        Store(tmp_path / "store", "cluster topic")
    store.close()


def test_a_folder_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """Its offsets would be meaningless."""
    filled(tmp_path).close()
    with pytest.raises(Exit, match="STORE_FOREIGN"):
        Store(tmp_path / "store", "other topic")


def cut(file: Path) -> None:
    file.write_bytes(b"not one of RocksDB's")


@pytest.mark.parametrize("files", ["MANIFEST*", "CURRENT", "*.sst"])
@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_damaged_store_is_discarded(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    files: str,
    damage: Callable[[Path], None],
) -> None:
    """The log is the truth; the copy is created again, and the log says why."""
    filled(tmp_path).close()
    found = list((tmp_path / "store" / "states").glob(files))
    assert found
    for each in found:
        damage(each)
    store = Store(tmp_path / "store", "cluster topic")
    assert store.partition(0).meta() is None
    store.close()
    if (files, damage) != ("CURRENT", Path.unlink):  # without it there is no database
        assert "is discarded, the states come from Kafka" in caplog.text


def test_a_store_is_kept_when_this_machine_cannot_open_it(tmp_path: Path) -> None:
    """It used to be deleted for any error: here no file handle is free."""
    filled(tmp_path).close()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, before[1]))  # one, for the lock
    try:
        with pytest.raises(Exit, match="Too many open files") as raised:
            Store(tmp_path / "store", "cluster topic")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert raised.value.code == "STORE_UNUSABLE"
    store = Store(tmp_path / "store", "cluster topic")
    assert store.partition(0).meta() is not None
    store.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.store.store import Store, StoreMeta
store = Store(Path(sys.argv[1]), "cluster topic")
parts = [store.partition(n) for n in range(2)]
for at in range(int(sys.argv[2])):
    parts[at % 2].write([(f"k{at}", os.urandom(2000), True)], StoreMeta(at + 1, at + 1, 1))
    if at == int(sys.argv[2]) // 2:
        parts[0].flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writes", [100, pytest.param(20_000, marks=pytest.mark.slow)])
def test_after_a_kill_offset_and_states_stand_together(tmp_path: Path, writes: int) -> None:
    """Fault row 1: with the log off, each partition is behind or exact, never its offset ahead of
    its states.
    """
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


def test_restored_states_arm_their_timers() -> None:
    """The heap is rebuilt from the states."""
    toy = Toy()
    states = PartitionStates(toy, 0, MemoryPartitionStore())
    first, second = Count("a", 1, 500), Count("a", 2, 900)
    states.load([("a", packed(toy, first)), ("a", packed(toy, second))], 2, 1)
    assert states.timers.next_due_ms() == 900
    assert states.get("a") == second
    assert states.state_offset == 2


def test_a_rolled_back_batch_leaves_no_trace_and_gives_its_timers_again() -> None:
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
    disk.write([("a", packed(Toy(), Count("a", 1)), True)], StoreMeta(offset, 0, written_at_ms))
    return PartitionStates(Toy(), 0, disk)


def test_a_store_ahead_of_the_log_is_kept_and_raises_an_alert() -> None:
    """Row 13, LOG_TAIL_LOST: committed payments are missing from the log."""
    states = stored(11, 1000)
    with pytest.raises(LogTailLost):
        prepare(states, Watermarks(0, 10), 1000, 10_000)
    assert states.state_offset == 11


def test_a_store_that_is_too_old_or_behind_the_logs_start_is_discarded() -> None:
    """Older than delete.retention.ms, or below the log's start."""
    old, cut_off, good = stored(5, 1000), stored(5, 1000), stored(5, 1000)
    assert prepare(old, Watermarks(0, 10), 11_001, 10_000)
    assert prepare(cut_off, Watermarks(6, 10), 1000, 10_000)
    assert not prepare(good, Watermarks(5, 10), 1000, 10_000)
    assert (old.state_offset, cut_off.state_offset, good.state_offset) == (0, 0, 5)
    assert old.get("a") is None
