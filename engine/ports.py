"""What the engine and an application promise each other.

The engine moves bytes exactly once between Kafka topics and keeps a state per key. It knows no
payment: an application gives it topics, a decision function and a way to read its packed state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

TopicPartition = tuple[str, int]  # topic and partition
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


class Batch(Protocol):
    """What a decision sees of the engine. Everything given here becomes visible together, or not at
    all."""

    def get(self, partition: int, key: str) -> Any | None:
        """Current state of `key` (this batch's own changes included), or None when never seen."""

    def put(self, partition: int, key: str, state: Any, packed: bytes) -> None:
        """New state of `key`; `packed` is produced to the state topic's `partition` as it is."""

    def emit(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """A record for any other output topic, in order of the calls."""


class Application(Protocol):
    """A deterministic function over records. One thread calls it; it does no input or output of its
    own."""

    topology: EngineTopology

    def decide(self, batch: Batch, record: InputRecord) -> None:
        """Handle one record: any mixture of put and emit.

        Raises DependencyDown when the record cannot be read *now* (the engine pauses and tries the
        same record again later, nothing is committed). Permanently bad records are the
        application's to quarantine through `emit`. Any other exception is a defect: the engine
        drops what this record gave and calls `on_defect` in its place.
        """

    def on_defect(self, batch: Batch, record: InputRecord, error: BaseException) -> None:
        """`decide` raised (or the record alone cannot be produced): park the key, quarantine the
        record. The key's state may be what cannot be read; this must not raise."""

    def emit_timer(
        self, batch: Batch, partition: int, key: str, state: Any, deadline_ms: int
    ) -> None:
        """A deadline has passed: emit the timer's record to `topology.timers`. It acts when it is
        read back."""

    def unpack(self, packed: bytes) -> Any:
        """State from its packed bytes. Raises ValueError when they cannot be read (a corrupt
        store)."""

    def deadline_ms(self, state: Any) -> int | None:
        """When this state next needs a timer, in epoch milliseconds; None when it waits for
        nothing."""

    def at_rest(self, state: Any) -> bool:
        """True when nothing is outstanding: the engine then keeps the state on disk only."""

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
        states; keys that differ or cannot be read."""

    def rebuild(
        self, partition: int, key: str, history: Sequence[bytes], packed: bytes | None
    ) -> bytes | None:
        """Packed state folded from the key's whole journal history (used for keys `check_tail`
        names); None for no history. Raises ValueError when it cannot be folded, ForeignRecord when
        the restored state `packed` is that of an earlier record, or none: one transaction writes
        both."""

    def after_commit(self, decided: int) -> None:
        """The batch is committed: update the application's metrics, once per batch."""

    def after_abort(self) -> None:
        """The batch did not happen: forget what was counted for it."""


class ForeignRecord(Exception):
    """The journal has a record of this key that no transaction of ours has written."""


class DependencyDown(Exception):
    """A record cannot be read now because something outside (the schema registry) does not
    answer."""


class ControlState(Protocol):
    """The application's view of the control topic, fed by the engine with raw records in order."""

    def apply(self, offset: int, value: bytes, appended_at: int) -> None:
        """One control record, and when the broker took it (epoch ms)."""

    def stopped(self) -> str | None:
        """Why processing is stopped, or None. Unreadable control for 5 s counts as stopped."""

    def ready(self) -> str | None:
        """Why no partition may be taken yet (no rule set, other partition count, other cluster), or
        None."""

    def added_inputs(self) -> Mapping[str, int]:
        """Input topics added after the first start (topic -> offset of the control record)."""

    def recovered_at(self, partition: int) -> int:
        """When people last let this partition go on after its log lost its tail, or ruled on one of
        its records (epoch ms), or 0: what was stored before then may be wrong."""

    def foreign(self, partition: int) -> Mapping[int, bytes]:
        """Journal records that are skipped: SHA-256 of the raw value by offset."""


CrashPoint = Callable[[str], None]
"""Called with the name of each step of a batch; tests kill the process or raise in it. Default:
does nothing.

Names: after_poll, after_decide, after_send_offsets, after_produce, before_commit, commit_sent,
after_commit, during_restore.
"""
