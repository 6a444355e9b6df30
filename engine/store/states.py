"""The states of one partition: all on disk, and those used last in memory too, in short form.

Changed only after a commit (`apply`) and during a restore (`load`). Memory always has the key and
the deadline of a state that is not at rest, and its short form as long as the partition's share of
the cache budget allows. Anything else is one point look-up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from engine.loop.timers import Timers
from engine.ports import Application
from engine.store.budget import CACHE_BYTES, CacheBudget
from engine.store.store import Change, PartitionStore, StoreMeta

# The memory of one cached state besides its short form: the header of its bytes (33), and its entry
# in a dictionary that is between a third and two thirds full. Its key belongs to the list of open
# states. A test compares this with what Python allocates.
ENTRY_BYTES: Final = 33 + 72
_UNKNOWN: Final = b""  # in place of a state: no application reads it, so its inputs are parked


class Changed:
    """A changed state, in the forms that are kept. The state itself is many small objects: those
    of a whole batch would not stay in the CPU's caches until the batch is committed.
    """

    __slots__ = ("at_rest", "deadline_ms", "packed", "short")

    def __init__(self, packed: bytes, short: bytes, at_rest: bool, deadline_ms: int | None) -> None:
        self.packed = packed
        self.short = short
        self.at_rest = at_rest
        self.deadline_ms = deadline_ms

    @staticmethod
    def of(app: Application, state: Any, packed: bytes) -> Changed:
        """`packed`: the state as it is written to the state topic."""
        return Changed(packed, app.pack_short(state), app.at_rest(state), app.deadline_ms(state))


class PartitionStates:
    """Current states of one partition, its timers, and their position on the log."""

    __slots__ = (
        "_app",
        "_cached",
        "_cached_bytes",
        "_cached_bytes_max",
        "_open",
        "_store",
        "journal_offset",
        "number",
        "state_offset",
        "timers",
        "unreadable",
        "written_at_ms",
    )

    def __init__(
        self,
        app: Application,
        number: int,
        store: PartitionStore,
        cached_bytes_max: int = CACHE_BYTES,
    ) -> None:
        self._app = app
        self._store = store
        # Keys of the states that are not at rest; the value is the one copy of the key that timers
        # and cache use as well.
        self._open: dict[str, str] = {}
        self._cached: dict[str, bytes] = {}  # short forms, the one touched last at the end
        self._cached_bytes = 0
        self._cached_bytes_max = cached_bytes_max
        self.number = number
        self.timers = Timers()
        # Keys whose record on the state topic is not a state: fold them again from the journal.
        self.unreadable: set[str] = set()
        meta = store.meta()
        self.state_offset = meta.state_offset if meta else 0
        self.journal_offset = meta.journal_offset if meta else 0
        self.written_at_ms = meta.written_at_ms if meta else 0

    def load_open(self) -> None:
        """Read what was not at rest from disk. Raises ValueError if a state cannot be read."""
        hints = self._app.packed_hints
        for key, packed in self._store.open_states():
            if packed == _UNKNOWN:  # held: checked again, two people may have ruled since
                self._open[key] = key
                self.unreadable.add(key)
                continue
            at_rest, deadline_ms = hints(packed)
            if not at_rest:
                self._open[key] = key
            self.timers.set(key, deadline_ms)

    def get(self, key: str) -> Any | None:
        """The state, or None when the key was never seen."""
        held = self._open.get(key)
        short = None if held is None else self._cached.pop(held, None)
        if held is not None and short is not None:
            self._cached[held] = short
            return self._app.unpack_short(short)
        packed = self._store.get(key)
        if packed is None:
            return None
        state = self._app.unpack(packed)
        if held is not None:
            self._cache(held, self._app.pack_short(state))
            self._trim()
        return state

    def get_packed(self, key: str) -> bytes | None:
        """The packed state as it was last committed."""
        return self._store.get(key)

    def open_count(self) -> int:
        """States that are not at rest."""
        return len(self._open)

    def cached_bytes(self) -> int:
        """The memory that the cached states use."""
        return self._cached_bytes

    def cache_at_most(self, size: int) -> None:
        """This partition's share of the budget has changed."""
        self._cached_bytes_max = size
        self._trim()

    def apply(
        self,
        changed: Mapping[str, Changed],
        state_offset: int | None,
        journal_offset: int | None,
        now_ms: int,
    ) -> None:
        """A committed batch: memory, timers and store. Offsets are None where nothing was produced
        or acknowledged.
        """
        changes: list[Change] = []
        set_timer = self.timers.set
        for key, state in changed.items():
            if state.at_rest:
                listed, held = self._close(key), key
            else:
                listed, held = self._list(key)
                self._cache(held, state.short)
            set_timer(held, state.deadline_ms)
            changes.append((key, state.packed, listed))
        if state_offset is not None:
            self.state_offset = state_offset
        if journal_offset is not None:
            self.journal_offset = journal_offset
        if changes:
            self._write(changes, now_ms)
        self._trim()  # after the write: what leaves memory is on disk

    def load(
        self, records: Iterable[tuple[str, bytes | None]], state_offset: int, now_ms: int
    ) -> None:
        """Records of the state topic, in order, read during a restore; None forgets the key.

        A record that is not a state is kept unchanged and listed in `unreadable`: a foreign record
        of one key must not affect other keys.
        """
        set_timer = self.timers.set
        last = dict(records)
        changes: list[Change] = []
        for key, packed in last.items():
            at_rest, deadline_ms = self._hints(key, packed) if packed else (packed is None, None)
            if at_rest:
                listed, held = self._close(key), key
            else:
                listed, held = self._list(key)
                self._forget(held)
            set_timer(held, deadline_ms)
            changes.append((key, packed, listed))
        self.state_offset = state_offset
        self._write(changes, now_ms)

    def _list(self, key: str) -> tuple[bool | None, str]:
        """The state is not at rest. Returns the change in the store's list of open states (as in
        Change), and the copy of the key to use.
        """
        held = self._open.get(key)
        if held is not None:
            return None, held
        self._open[key] = key
        return True, key

    def _close(self, key: str) -> bool | None:
        """The state is at rest, or forgotten: it leaves memory. Returns the change in the store's
        list of open states (as in Change).
        """
        held = self._open.pop(key, None)
        if held is None:
            return None
        self._forget(held)
        return False

    def _hints(self, key: str, packed: bytes) -> tuple[bool, int | None]:
        try:
            hints = self._app.packed_hints(packed)
        except ValueError:
            self.unreadable.add(key)
            return False, None
        self.unreadable.discard(key)
        return hints

    def note_journal(self, offset: int, now_ms: int) -> None:
        """The journal was compared with the states up to here."""
        self.journal_offset = offset
        self._write((), now_ms)

    def replace(self, key: str, packed: bytes, now_ms: int) -> None:
        """A state folded again from the journal (`check_tail` named it)."""
        self.load([(key, packed)], self.state_offset, now_ms)

    def hold(self, key: str, now_ms: int) -> None:
        """The journal knows the key but the state topic does not: its inputs cannot be decided
        until a state arrives on the state topic, because a key without one would be created again.
        """
        self.load([(key, _UNKNOWN)], self.state_offset, now_ms)
        self.unreadable.discard(key)

    def release(self, key: str, now_ms: int) -> None:
        """The journal no longer knows a held key: treat it as unknown."""
        self.load([(key, None)], self.state_offset, now_ms)

    def clear(self) -> None:
        """Forget everything; the partition is restored from offset zero."""
        self._store.clear()
        self._open.clear()
        self._cached.clear()
        self._cached_bytes = 0
        self.timers = Timers()
        self.unreadable.clear()
        self.state_offset = 0
        self.journal_offset = 0

    def _write(self, changes: Iterable[Change], now_ms: int) -> None:
        self.written_at_ms = now_ms
        self._store.write(changes, StoreMeta(self.state_offset, self.journal_offset, now_ms))

    def _cache(self, held: str, short: bytes) -> None:
        self._forget(held)
        self._cached[held] = short
        self._cached_bytes += len(short) + ENTRY_BYTES

    def _forget(self, held: str) -> None:
        short = self._cached.pop(held, None)
        if short is not None:
            self._cached_bytes -= len(short) + ENTRY_BYTES

    def _trim(self) -> None:
        """Above the limit, those touched least recently leave memory."""
        if self._cached_bytes <= self._cached_bytes_max:
            return
        # Down to four fifths at once: each removal from a dict's front scans past all earlier ones.
        left, goes = self._cached_bytes_max * 4 // 5, []
        size = self._cached_bytes
        for held, short in self._cached.items():
            if size <= left:
                break
            goes.append(held)
            size -= len(short) + ENTRY_BYTES
        for held in goes:
            del self._cached[held]
        self._cached_bytes = size


def divide_cache(cache_bytes: int, states: Collection[PartitionStates]) -> None:
    """Give each of the partitions held its share of the process's budget."""
    share = CacheBudget.of(cache_bytes).of_partition(len(states))
    for each in states:
        each.cache_at_most(share)
