"""The contract between the engine and an application.

The engine moves bytes exactly once between Kafka topics and keeps a state per key. It knows nothing
about payments: an application supplies topics, a decision function and a reader of its packed
state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from engine.loop.batch import Overlay

TopicPartition = tuple[str, int]  # topic and partition
RecordPosition = tuple[str, int, int]  # topic, partition and offset
# Kafka headers as they are on the record: untouched, in order, names may repeat.
Headers = list[tuple[str, bytes | None]]


class InputRecord(msgspec.Struct, gc=False):
    """One polled record. `polled_at_ms` is stamped once and kept when a batch is run again."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    polled_at_ms: int


class EngineTopology(msgspec.Struct, frozen=True):
    """The topics of one application, as data.

    `inputs` is in decision order: within a batch the records of a partition are decided topic
    by topic in this order. All inputs, `journal` and `state` have `partitions` partitions; a record
    of input partition n writes to journal and state partition n.
    """

    application: str  # group id and prefix of the transactional id: npp-<application>
    inputs: tuple[str, ...]
    low_priority: tuple[
        str, ...
    ]  # inputs paused while the others hold unread records (command topics)
    read_before_timers: tuple[str, ...]  # read past their ends before a due timer is made
    timers: str  # one of inputs: due timers come back through it
    journal: str
    state: str  # compacted: one record per key, the application's packed state
    quarantine: str
    control: str
    partitions: int


class Application(Protocol):
    """A deterministic function over records. One thread calls it; it does no I/O."""

    topology: EngineTopology

    def decide(self, batch: Overlay, record: InputRecord) -> None:
        """Handle one record: any mixture of put and emit.

        Raises DependencyDown if the record cannot be read *now* (the engine pauses and retries the
        same record later, nothing is committed). Permanently bad records are the application's to
        quarantine through `emit`. Any other exception is a defect: the engine drops this record's
        output and calls `on_defect` instead.
        """

    def on_defect(self, batch: Overlay, record: InputRecord, error: BaseException) -> None:
        """`decide` raised (or the record alone cannot be produced): park the key, quarantine the
        record. The key's state may be the unreadable part; this must not raise.
        """

    def emit_timer(
        self, batch: Overlay, partition: int, key: str, state: Any, deadline_ms: int
    ) -> None:
        """A deadline has passed: emit the timer's record to `topology.timers`. It takes effect when
        read back.
        """

    def unpack(self, packed: bytes) -> Any:
        """State from its packed bytes. Raises ValueError when they cannot be read (a corrupt
        store).
        """

    def pack_short(self, state: Any) -> bytes:
        """The state in a short form that is cheap to read again: memory keeps it so between two
        records. Never written anywhere.
        """

    def unpack_short(self, short: bytes) -> Any:
        """The state again, equal to the one that `pack_short` was given."""

    def deadline_ms(self, state: Any) -> int | None:
        """When this state next needs a timer, in epoch milliseconds; None when it waits for
        nothing.
        """

    def at_rest(self, state: Any) -> bool:
        """True if nothing is outstanding: the engine then keeps the state on disk only."""

    def packed_hints(self, packed: bytes) -> tuple[bool, int | None]:
        """(at_rest, deadline_ms) of packed bytes, cheaply: used for every record of a restore.

        Raises ValueError for bytes that are no state.
        """

    def check_tail(
        self,
        partition: int,
        records: Sequence[tuple[int, bytes, bytes]],
        get_packed: Callable[[str], bytes | None],
    ) -> list[str]:
        """Compare the journal's tail (offset, key, value; each key's last record) with the restored
        states. Returns the keys that differ or cannot be read.
        """

    def rebuild(
        self, partition: int, key: str, history: Sequence[bytes], packed: bytes | None
    ) -> bytes | None:
        """Packed state folded from the key's whole journal history (used for keys `check_tail`
        names); None for no history. Raises ValueError when it cannot be folded, ForeignRecord when
        the restored state `packed` is that of an earlier record, or none: one transaction writes
        both.
        """

    def after_commit(self, decided: int) -> None:
        """The batch is committed: update the application's metrics, once per batch."""

    def after_abort(self) -> None:
        """The batch did not happen: drop its counts."""


class ForeignRecord(Exception):
    """The journal has a record of this key that none of our transactions wrote."""


class DependencyDown(Exception):
    """A record cannot be read now because a dependency (the schema registry) does not answer."""


class ControlState(Protocol):
    """The application's view of the control topic; the engine feeds it raw records in order."""

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        """Apply one control record; with the broker's append time (epoch ms)."""

    def stopped(self) -> str | None:
        """Why processing is stopped, or None. The engine itself stops if it could not read the
        control topic for 5 s.
        """

    def ready(self) -> str | None:
        """Why no partition may be taken yet (no rule set, other partition count, other cluster), or
        None.
        """

    def added_inputs(self) -> Mapping[str, int]:
        """Input topics added after the first start (topic -> offset of the control record)."""

    def recovered_at(self, partition: int) -> int:
        """When this partition was last recovered from a lost log tail, or one of its records was
        ruled on (epoch ms), or 0: data stored before then may be wrong.
        """

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        """Journal records that are skipped: SHA-256 of the raw value by offset."""


CrashPoint = Callable[[str], None]
"""Called with the name of each step of a batch; tests kill the process or raise in it. Default:
does nothing.

Names: after_poll, after_decide, after_send_offsets, after_produce, before_commit, commit_sent,
after_commit, during_restore.
"""
