"""One batch: its changes and output records, kept separate until Kafka has committed it.

The same code runs in the loop and in the driver. Nothing here calls Kafka or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.ports import Application, DependencyDown, Headers, InputRecord, TopicPartition
from engine.store.states import Changed, PartitionStates

# (topic, value, key, partition, headers), in the order in which they are produced
Output = tuple[str, bytes | None, bytes | None, int, Headers | None]
# Timer records of one partition in one transaction; the rest follows in the next.
TIMERS_COUNT_MAX: Final = 1_000
ABORTS_BEFORE_HALVING: Final = 2


class Overlay:
    """What a decision sees of the engine: committed states below, this batch's changes above,
    savepoints by record. Everything given here becomes visible together, or not at all."""

    __slots__ = (
        "_app",
        "_journal",
        "_state_topic",
        "_states",
        "_undo",
        "changed",
        "last_kept",
        "outputs",
    )

    def __init__(self, app: Application, states: Mapping[int, PartitionStates]) -> None:
        self._app = app
        self._states = states
        self._state_topic = app.topology.state
        self._journal = app.topology.journal
        self._undo: list[tuple[dict[str, Changed], str, Changed | None]] = []
        self.outputs: list[Output] = []
        self.changed: dict[int, dict[str, Changed]] = {}
        # index of the last record per (topic, partition) of state and journal: its offset is needed
        self.last_kept: dict[TopicPartition, int] = {}

    def get(self, partition: int, key: str) -> Any | None:
        """Current state of `key` (this batch's own changes included), or None when never seen."""
        changed = self.changed.get(partition)
        if changed is not None:
            entry = changed.get(key)
            if entry is not None:
                return self._app.unpack_short(entry.short)
        return self._states[partition].get(key)

    def put(self, partition: int, key: str, state: Any, packed: bytes) -> None:
        """Set the state of `key`; `packed` is produced to the state topic's `partition`."""
        changed = self.changed.get(partition)
        if changed is None:
            changed = self.changed[partition] = {}
        self._undo.append((changed, key, changed.get(key)))
        changed[key] = Changed.of(self._app, state, packed)
        self.outputs.append((self._state_topic, packed, key.encode(), partition, None))

    def emit(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """A record for any other output topic, in order of the calls."""
        self.outputs.append((topic, value, key, partition, headers))

    def savepoint(self) -> int:
        """The record is done: drop its undo log. Returns the savepoint of the next."""
        self._undo.clear()
        return len(self.outputs)

    def roll_back(self, savepoint: int) -> None:
        """The record failed: undo its puts and emits."""
        del self.outputs[savepoint:]
        for changed, key, previous in self._undo[::-1]:
            if previous is None:
                changed.pop(key, None)
            else:
                changed[key] = previous
        self._undo.clear()

    def find_last_kept(self) -> None:
        """Note the last state and journal record of each partition with a changed state."""
        state, journal = self._state_topic, self._journal
        last = self.last_kept
        last.clear()
        # From the end: as a rule the last few records are enough.
        wanted = 2 * len(self.changed)
        index = len(self.outputs)
        while index > 0 and len(last) < wanted:
            index -= 1
            output = self.outputs[index]
            topic = output[0]
            if topic in (state, journal):
                name = (topic, output[3])
                if name not in last and output[3] in self.changed:
                    last[name] = index


class BatchRun:
    """One pass over a list of records, already in decision order.

    decide → (send offsets, produce, commit: the caller's) → applied | dropped
    """

    __slots__ = ("_app", "_states", "_taken", "blocked", "next_offsets", "overlay", "records")

    def __init__(self, app: Application, states: Mapping[int, PartitionStates]) -> None:
        self._app = app
        self._states = states
        self._taken: dict[int, list[tuple[int, str]]] = {}
        self.overlay = Overlay(app, states)
        self.records: Sequence[InputRecord] = ()
        self.blocked: dict[int, list[InputRecord]] = {}
        self.next_offsets: dict[TopicPartition, int] = {}

    def decide(self, records: Sequence[InputRecord], refused: BaseException | None = None) -> None:
        """Decide every record. With `refused` (one record that cannot be produced) on_defect is
        called instead.

        A record that waits for a dependency, and all after it in its partition, go to `blocked`.
        """
        self.records = records
        overlay, decide, blocked = self.overlay, self._app.decide, self.blocked
        next_offsets = self.next_offsets
        savepoint = overlay.savepoint()
        for record in records:
            partition = record.partition
            if blocked and partition in blocked:
                blocked[partition].append(record)
                continue
            try:
                if refused is not None:
                    raise refused
                decide(overlay, record)
            except DependencyDown:
                overlay.roll_back(savepoint)
                blocked[partition] = [record]
                continue
            except Exception as error:  # noqa: BLE001 a defect parks the key
                overlay.roll_back(savepoint)
                self._app.on_defect(overlay, record, error)
            savepoint = overlay.savepoint()
            next_offsets[record.topic, partition] = record.offset + 1

    def add_timers(self, partition: int, until_ms: int) -> int:
        """Emit records for timers due by `until_ms`; the caller has read the inputs. Returns their
        number.
        """
        states = self._states[partition]
        taken = states.timers.pop_due(until_ms, TIMERS_COUNT_MAX)
        if not taken:
            return 0
        self._taken.setdefault(partition, []).extend(taken)
        overlay, emit_timer = self.overlay, self._app.emit_timer
        for deadline_ms, key in taken:
            state = overlay.get(partition, key)
            if state is not None and self._app.deadline_ms(state) == deadline_ms:
                emit_timer(overlay, partition, key, state, deadline_ms)
        overlay.savepoint()
        return len(taken)

    def is_empty(self) -> bool:
        """True if there is nothing to commit."""
        return not self.next_offsets and not self.overlay.outputs

    def partitions(self) -> set[int]:
        """Partitions this batch touches."""
        return {partition for _, partition in self.next_offsets} | set(self._taken)

    def applied(self, acknowledged: Mapping[TopicPartition, int], now_ms: int) -> None:
        """The commit is certain. `acknowledged`: offset of the last state and journal record per
        partition.
        """
        topology = self._app.topology
        for partition, changed in self.overlay.changed.items():
            state_at = acknowledged.get((topology.state, partition))
            journal_at = acknowledged.get((topology.journal, partition))
            self._states[partition].apply(
                changed,
                None if state_at is None else state_at + 1,
                None if journal_at is None else journal_at + 1,
                now_ms,
            )
        for partition, taken in self._taken.items():
            self._states[partition].timers.made(taken, now_ms)
        self._app.after_commit(len(self.records) - sum(map(len, self.blocked.values())))

    def dropped(self) -> None:
        """The transaction did not happen: only the timers' heaps had changed."""
        for partition, taken in self._taken.items():
            states = self._states.get(partition)
            if states is not None:
                states.timers.give_back(taken)
        self._taken.clear()
        self._app.after_abort()


def in_decision_order(records: Sequence[InputRecord], inputs: Sequence[str]) -> list[InputRecord]:
    """Partition by partition, topic by topic in the topology's order, each in offset order
    (domain §4).
    """
    if len(records) < 2:
        return list(records)
    groups: dict[TopicPartition, list[InputRecord]] = {}
    for record in records:
        group = groups.get((record.topic, record.partition))
        if group is None:
            groups[record.topic, record.partition] = [record]
        else:
            group.append(record)
    rank = {topic: at for at, topic in enumerate(inputs)}
    ordered: list[InputRecord] = []
    for topic, partition in sorted(groups, key=lambda name: (name[1], rank[name[0]])):
        ordered.extend(groups[topic, partition])
    return ordered


def again(part: list[InputRecord], aborts: int) -> list[tuple[list[InputRecord], int]]:
    """The same work as a stack: first as a whole, halved after repeated aborts."""
    if len(part) < 2 or aborts < ABORTS_BEFORE_HALVING:
        return [(part, aborts)]
    middle = len(part) // 2
    return [(part[middle:], 0), (part[:middle], 0)]


def no_crash(step: str) -> None:
    """The CrashPoint that does nothing."""
