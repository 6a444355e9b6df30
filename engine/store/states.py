"""The states of one partition: those not at rest in memory, packed until first touched, the others
on disk.

Changed only after a commit (`apply`) and during a restore (`load`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from engine.loop.timers import Timers
from engine.ports import Application
from engine.store.store import Change, PartitionStore, StoreMeta

# Unpacked states kept per partition, least recently changed go first: about 3 kB each, 30 MB a
# partition. What has come to rest leaves memory at once.
OBJECTS_COUNT_MAX: Final = 10_000
_UNKNOWN: Final = b""  # in place of a state: no application reads it, so its inputs are parked


class PartitionStates:
    """Current states of one partition, its timers, and their position on the log."""

    __slots__ = (
        "_app",
        "_objects",
        "_packed",
        "_store",
        "journal_offset",
        "number",
        "state_offset",
        "timers",
        "unreadable",
        "written_at_ms",
    )

    def __init__(self, app: Application, number: int, store: PartitionStore) -> None:
        self._app = app
        self._store = store
        self._packed: dict[str, bytes] = {}
        self._objects: dict[str, Any] = {}
        self.number = number
        self.timers = Timers()
        # Keys whose record on the state topic is not a state: to be folded again from the journal.
        self.unreadable: set[str] = set()
        meta = store.meta()
        self.state_offset = meta.state_offset if meta else 0
        self.journal_offset = meta.journal_offset if meta else 0
        self.written_at_ms = meta.written_at_ms if meta else 0

    def load_open(self) -> None:
        """Read from disk what was not at rest. Raises ValueError for states that cannot be
        read."""
        hints = self._app.packed_hints
        for key, packed in self._store.open_states():
            if packed == _UNKNOWN:  # held: looked at again, people may have ruled since
                self._packed[key] = packed
                self.unreadable.add(key)
                continue
            at_rest, deadline_ms = hints(packed)
            if not at_rest:
                self._packed[key] = packed
            self.timers.set(key, deadline_ms)

    def get(self, key: str) -> Any | None:
        """The state, or None when the key was never seen."""
        state = self._objects.get(key)
        if state is not None:
            return state
        packed = self._packed.get(key)
        if packed is None:
            packed = self._store.get(key)
            if packed is None:
                return None
        state = self._app.unpack(packed)
        self._remember(key, state)
        return state

    def get_packed(self, key: str) -> bytes | None:
        """The packed state as it was last committed."""
        return self._packed.get(key) or self._store.get(key)

    def open_count(self) -> int:
        """States that are not at rest."""
        return len(self._packed)

    def apply(
        self,
        changed: Mapping[str, tuple[Any, bytes]],
        state_offset: int | None,
        journal_offset: int | None,
        now_ms: int,
    ) -> None:
        """A committed batch: memory, timers and store. Offsets are None where nothing was produced
        or acknowledged."""
        changes: list[Change] = []
        app_at_rest, app_deadline_ms = self._app.at_rest, self._app.deadline_ms
        objects, set_timer = self._objects, self.timers.set
        for key, (state, packed) in changed.items():
            at_rest = app_at_rest(state)
            listed = self._listed(key, packed, at_rest=at_rest)
            objects.pop(key, None)
            if not at_rest:
                objects[key] = state
            set_timer(key, app_deadline_ms(state))
            changes.append(Change(key, packed, listed))
        self._trim()
        if state_offset is not None:
            self.state_offset = state_offset
        if journal_offset is not None:
            self.journal_offset = journal_offset
        if changes:
            self._write(changes, now_ms)

    def load(
        self, records: Iterable[tuple[str, bytes | None]], state_offset: int, now_ms: int
    ) -> None:
        """Records of the state topic, in order, read during a restore; None forgets the key.

        One that is not a state is kept as it is and named in `unreadable`: a foreign hand's trouble
        with one key is not its neighbours'.
        """
        set_timer = self.timers.set
        last = dict(records)
        changes: list[Change] = []
        for key, packed in last.items():
            at_rest, deadline_ms = self._hints(key, packed) if packed else (packed is None, None)
            listed = self._listed(key, packed, at_rest=at_rest)
            self._objects.pop(key, None)
            set_timer(key, deadline_ms)
            changes.append(Change(key, packed, listed))
        self.state_offset = state_offset
        self._write(changes, now_ms)

    def _listed(self, key: str, packed: bytes | None, *, at_rest: bool) -> bool | None:
        """Keep the packed state in memory while it is open. Gives what this changes in the list of
        open states, which has exactly those.
        """
        if at_rest or packed is None:
            return None if self._packed.pop(key, None) is None else False
        is_new = key not in self._packed
        self._packed[key] = packed
        return True if is_new else None

    def _hints(self, key: str, packed: bytes) -> tuple[bool, int | None]:
        try:
            hints = self._app.packed_hints(packed)
        except ValueError:
            self.unreadable.add(key)
            return False, None
        self.unreadable.discard(key)
        return hints

    def note_journal(self, offset: int, now_ms: int) -> None:
        """The journal has been compared with the states up to here."""
        self.journal_offset = offset
        self._write((), now_ms)

    def replace(self, key: str, packed: bytes, now_ms: int) -> None:
        """A state folded again from the journal (`check_tail` named it)."""
        self.load([(key, packed)], self.state_offset, now_ms)

    def hold(self, key: str, now_ms: int) -> None:
        """The journal knows the key and the state topic does not: its inputs cannot be decided
        until a state comes on the state topic, for what has none would be created again.
        """
        self.load([(key, _UNKNOWN)], self.state_offset, now_ms)
        self.unreadable.discard(key)

    def release(self, key: str, now_ms: int) -> None:
        """The journal knows nothing of a held key any more: it is one that was never seen."""
        self.load([(key, None)], self.state_offset, now_ms)

    def clear(self) -> None:
        """Forget everything; the partition is restored from offset zero."""
        self._store.clear()
        self._packed.clear()
        self._objects.clear()
        self.timers = Timers()
        self.unreadable.clear()
        self.state_offset = 0
        self.journal_offset = 0

    def _write(self, changes: Iterable[Change], now_ms: int) -> None:
        self.written_at_ms = now_ms
        self._store.write(changes, StoreMeta(self.state_offset, self.journal_offset, now_ms))

    def _remember(self, key: str, state: Any) -> None:
        self._objects[key] = state
        self._trim()

    def _trim(self) -> None:
        objects = self._objects
        if len(objects) > OBJECTS_COUNT_MAX:
            # A fifth at a time: taking one by one from a dict's front walks over its holes.
            for key in list(islice(objects, len(objects) - OBJECTS_COUNT_MAX * 4 // 5)):
                del objects[key]
