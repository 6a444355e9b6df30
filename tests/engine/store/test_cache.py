"""The states kept in memory: up to the byte budget, and only states that are on disk."""

from __future__ import annotations

import gc
import itertools
import random
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.budget import CACHE_BYTES_MIN, CacheBudget
from engine.store.states import ENTRY_BYTES, Changed, PartitionStates, divide_cache
from engine.store.store import Change, Store, StoreMeta
from tests.engine.store.memory import MemoryPartitionStore
from tests.engine.toy import Count, Toy

MANY_PARTITIONS = 200
WRITTEN_OUT_S_MAX = 60.0


class Watched(MemoryPartitionStore):
    """A store that counts its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []

    def get(self, key: str) -> bytes | None:
        self.looked_up.append(key)
        return super().get(key)


def put(states: PartitionStates, *counts: Count) -> None:
    """One committed batch."""
    app = Toy()
    states.apply({c.key: Changed.of(app, c, app._encode(c)) for c in counts}, None, None, 1)


def size_of(count: Count) -> int:
    return len(Toy().pack_short(count)) + ENTRY_BYTES


def test_recently_used_states_are_in_memory_and_the_rest_on_disk() -> None:
    """Issue: a byte budget with least-recently-used eviction."""
    counts = [Count(f"k{n}", 1) for n in range(10)]
    disk = Watched()
    states = PartitionStates(Toy(), 0, disk, 5 * size_of(counts[0]))
    put(states, *counts[:5])
    assert states.get("k0") == counts[0]  # touched: k1 is evicted first
    put(states, counts[5])
    assert disk.looked_up == []
    assert [states.get(f"k{n}") for n in (0, 3, 4, 5)] == [counts[n] for n in (0, 3, 4, 5)]
    assert disk.looked_up == []
    assert states.get("k1") == counts[1]
    assert disk.looked_up == ["k1"]
    assert states.get("k1") == counts[1]
    assert disk.looked_up == ["k1"]  # in memory again
    assert states.open_count() == 6


def test_no_sequence_of_batches_and_reads_exceeds_the_budget() -> None:
    """States grow, shrink, come to rest and are forgotten: the byte count matches the contents, and
    every state is found as last committed.
    """
    draw = random.Random(7)
    budget = 4_000
    states = PartitionStates(Toy(), 0, MemoryPartitionStore(), budget)
    app, last = Toy(), dict[str, Count]()
    for step in range(4_000):
        key = f"k{draw.randrange(100)}"
        match draw.randrange(4):
            case 0:
                assert states.get(key) == last.get(key)
            case 1 if key in last:
                states.load([(key, None)], 1, 1)
                del last[key]
            case 2:
                last[key] = Count(key, step, rest=draw.random() < 0.5)
                states.load([(key, app._encode(last[key]))], 1, 1)
            case _:
                rest = draw.random() < 0.3
                last[key] = Count(key, step, 10 ** draw.randrange(1, 15), rest)
                put(states, last[key])
        if step % 500 == 499:
            states.cache_at_most(draw.randrange(budget))
        assert states.cached_bytes() <= budget
        cached = states._cached
        assert states.cached_bytes() == sum(len(s) + ENTRY_BYTES for s in cached.values())
        assert cached.keys() <= states._open.keys()
        assert states.open_count() == sum(not c.rest for c in last.values())
    states.clear()
    assert (states.cached_bytes(), states.open_count()) == (0, 0)


class WrittenFirst(MemoryPartitionStore):
    """A store that checks, when it is written, what memory still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.states: PartitionStates | None = None
        self.missing: set[str] = set()

    def write(self, changes: Iterable[Change], meta: StoreMeta) -> None:
        changes = list(changes)
        if self.states is not None:
            self.missing |= {key for key, _, _ in changes} - self.states._cached.keys()
        super().write(changes, meta)


def test_a_state_leaves_memory_only_once_it_is_on_disk() -> None:
    """Engine, state: the store is written after the commit; until then memory holds the state."""
    disk = WrittenFirst()
    counts = [Count(f"k{n}", 1) for n in range(10)]
    states = disk.states = PartitionStates(Toy(), 0, disk, 3 * size_of(counts[0]))
    put(states, *counts)
    assert disk.missing == set()
    assert states.cached_bytes() <= 3 * size_of(counts[0])
    assert [states.get(c.key) for c in counts] == counts


def test_a_dropped_batch_leaves_memory_unchanged() -> None:
    """An uncommitted state is in no cache: the next decision sees the last committed one."""
    toy, disk = Toy(), Watched()
    states = PartitionStates(toy, 0, disk)
    put(states, Count("a", 1))
    run = BatchRun(toy, {0: states})
    run.decide([InputRecord("toy.add", 0, 7, 0, b"a", b"add", [], 400)])
    assert run.overlay.get(0, "a") == Count("a", 2)
    run.dropped()
    assert states.get("a") == Count("a", 1)
    assert states.cached_bytes() == size_of(Count("a", 1))


def test_states_at_rest_are_not_in_memory() -> None:
    """However often they are read."""
    disk = Watched()
    states = PartitionStates(Toy(), 0, disk)
    put(states, Count("a", 1), Count("b", 1))
    put(states, Count("a", 2, rest=True))
    for _ in range(2):
        assert states.get("a") == Count("a", 2, rest=True)
    assert disk.looked_up == ["a", "a"]
    assert states.cached_bytes() == size_of(Count("b", 1))


def test_the_budget_is_divided_among_the_assigned_partitions() -> None:
    """More partitions get less each; the sum stays the same."""
    budget = CacheBudget.of(CACHE_BYTES_MIN)
    assert sum(budget) <= CACHE_BYTES_MIN
    for held in (1, 7, MANY_PARTITIONS):
        parts = [PartitionStates(Toy(), n, MemoryPartitionStore()) for n in range(held)]
        divide_cache(CACHE_BYTES_MIN, parts)
        assert held * parts[0]._cached_bytes_max <= budget.states
    divide_cache(CACHE_BYTES_MIN, [])


@pytest.mark.parametrize("count", [20_000, 30_000])
def test_the_byte_count_matches_what_python_allocates(count: int) -> None:
    """Measured with tracemalloc: within a fifth, at different fill levels of the dictionary."""
    rows = [(f"{n:029}", random.Random(n).randbytes(430)) for n in range(100)]
    states = PartitionStates(Toy(), 0, MemoryPartitionStore(), 1 << 40)
    keys = [f"{n:029}" for n in range(count)]
    gc.collect()
    tracemalloc.start()
    for n, key in enumerate(keys):
        states._cache(key, bytes(bytearray(rows[n % 100][1])))
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert states.cached_bytes() == pytest.approx(allocated, rel=0.2)


def test_rocksdbs_own_memory_is_bounded_whatever_the_partitions(tmp_path: Path) -> None:
    """Memtables and blocks of all column families share one limit."""
    store = Store(tmp_path / "store", "cluster topic", CACHE_BYTES_MIN)
    parts = [store.partition(n) for n in range(24)]
    budget = CacheBudget.of(CACHE_BYTES_MIN)
    draw = random.Random(3)
    written = 0
    for at in range(30):
        for part in parts:
            changes = [(f"k{at}-{n}", draw.randbytes(600), None) for n in range(40)]
            part.write(changes, StoreMeta(at, at, 1))
            written += 40 * 600
    # RocksDB exceeds its limit slightly while blocks are in use.
    limit = 2 * (budget.memtables + budget.blocks)
    assert written > 2 * limit, "the load was not large enough to show a limit"
    offsets = itertools.count(written)

    def settled() -> int:
        """Files are written in the background, started by the next write."""
        deadline_s = time.monotonic() + WRITTEN_OUT_S_MAX
        while store.memory_bytes() > limit and time.monotonic() < deadline_s:
            time.sleep(0.05)
            offset = next(offsets)
            parts[offset % len(parts)].write([], StoreMeta(offset, offset, 1))
        return store.memory_bytes()

    assert settled() <= limit
    assert all(part.get(f"k{n}-{m}") for part in parts for n in range(30) for m in range(40))
    assert settled() <= limit, "what was read back counts too"
    store.close()
