"""One batch: what its records changed and gave, kept apart until Kafka has committed it.

The same code runs in the loop and in the driver. Nothing in here asks Kafka or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.ports import Application, DependencyDown, Headers, InputRecord, TopicPartition
from engine.store.states import PartitionStates

# (topic, value, key, partition, headers), in the order in which they are produced
Output = tuple[str, bytes | None, bytes | None, int, Headers | None]
# Timer records one partition makes in one transaction: the rest follows in the next.
TIMERS_COUNT_MAX: Final = 1_000
ABORTS_BEFORE_HALVING: Final = 2


class Overlay:
    """The `Batch` an application sees: committed states below, this batch's changes above,
    savepoints by record."""

    __slots__ = ("_journal", "_state_topic", "_states", "_undo", "changed", "last_kept", "outputs")

    def __init__(self, states: Mapping[int, PartitionStates], state: str, journal: str) -> None:
        self._states = states
        self._state_topic = state
        self._journal = journal
        self._undo: list[tuple[dict[str, tuple[Any, bytes]], str, tuple[Any, bytes] | None]] = []
        self.outputs: list[Output] = []
        self.changed: dict[int, dict[str, tuple[Any, bytes]]] = {}
        # index of the last record per (topic, partition) of state and journal: its offset is asked
        # for
        self.last_kept: dict[TopicPartition, int] = {}

    def get(self, partition: int, key: str) -> Any | None:
        """See ports.Batch."""
        changed = self.changed.get(partition)
        if changed is not None:
            entry = changed.get(key)
            if entry is not None:
                return entry[0]
        return self._states[partition].get(key)

    def put(self, partition: int, key: str, state: Any, packed: bytes) -> None:
        """See ports.Batch."""
        changed = self.changed.get(partition)
        if changed is None:
            changed = self.changed[partition] = {}
        self._undo.append((changed, key, changed.get(key)))
        changed[key] = (state, packed)
        self.outputs.append((self._state_topic, packed, key.encode(), partition, None))

    def emit(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
    ) -> None:
        """See ports.Batch."""
        self.outputs.append((topic, value, key, partition, headers))

    def savepoint(self) -> int:
        """The record is done: forget how to undo it. Gives the savepoint of the next."""
        self._undo.clear()
        return len(self.outputs)

    def roll_back(self, savepoint: int) -> None:
        """The record failed: take back what it put and emitted."""
        del self.outputs[savepoint:]
        for changed, key, previous in self._undo[::-1]:
            if previous is None:
                changed.pop(key, None)
            else:
                changed[key] = previous
        self._undo.clear()

    def find_last_kept(self) -> None:
        """Note the last state and journal record of each partition."""
        state, journal = self._state_topic, self._journal
        last = self.last_kept
        last.clear()
        for index, output in enumerate(self.outputs):
            topic = output[0]
            if topic in (state, journal):
                last[topic, output[3]] = index


class BatchRun:
    """One pass over a list of records, already in decision order.

    decide → (send offsets, produce, commit: the caller's) → applied | dropped
    """

    __slots__ = ("_app", "_states", "_taken", "blocked", "next_offsets", "overlay", "records")

    def __init__(self, app: Application, states: Mapping[int, PartitionStates]) -> None:
        topology = app.topology
        self._app = app
        self._states = states
        self._taken: dict[int, list[tuple[int, str]]] = {}
        self.overlay = Overlay(states, topology.state, topology.journal)
        self.records: Sequence[InputRecord] = ()
        self.blocked: dict[int, list[InputRecord]] = {}
        self.next_offsets: dict[TopicPartition, int] = {}

    def decide(self, records: Sequence[InputRecord], refused: BaseException | None = None) -> None:
        """Decide every record. With `refused` (one record that cannot be produced) on_defect is
        asked instead.

        A record that waits for a dependency, and all that follow it in its partition, go to `held`.
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
        """Make the records of timers due by `until_ms`; the caller has read the inputs. Gives
        their number."""
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
        """True when there is nothing to commit."""
        return not self.next_offsets and not self.overlay.outputs

    def partitions(self) -> set[int]:
        """Partitions this batch touches."""
        return {partition for _, partition in self.next_offsets} | set(self._taken)

    def applied(self, acknowledged: Mapping[TopicPartition, int], now_ms: int) -> None:
        """The commit is certain. `acknowledged`: offset of the last state and journal record per
        partition."""
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
        """The transaction did not happen: nothing was changed but the timers' heaps."""
        for partition, taken in self._taken.items():
            states = self._states.get(partition)
            if states is not None:
                states.timers.give_back(taken)
        self._taken.clear()
        self._app.after_abort()


def in_decision_order(records: Sequence[InputRecord], inputs: Sequence[str]) -> list[InputRecord]:
    """Partition by partition, topic by topic in the topology's order, each in offset order
    (domain §4)."""
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
    """The same work as a stack: whole at first, halved when it aborts again and again."""
    if len(part) < 2 or aborts < ABORTS_BEFORE_HALVING:
        return [(part, aborts)]
    middle = len(part) // 2
    return [(part[middle:], 0), (part[:middle], 0)]


def no_crash(step: str) -> None:
    """The CrashPoint that does nothing."""
