"""Setting up an assignment: everything that must be checked and read before a partition is served.

whole partitions → control to its end → clock → committed offsets → restore → first commit →
journal's tail → fetch
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from engine.clients.control_reader import UNREADABLE, ControlReader
from engine.clients.reader import LogEnds, read_all
from engine.clock import Clock
from engine.errors import Retry
from engine.loop.assignment import (
    CLOCK_DIFFERENCE_MS_MAX,
    check_partition_counts,
    starting_offsets,
    whole_partitions,
)
from engine.loop.consumer import GroupConsumer
from engine.loop.transaction import TransactionalProducer
from engine.loop.watch import Health, Phase
from engine.metrics import EngineMetrics
from engine.ports import (
    Application,
    ControlState,
    CrashPoint,
    DependencyDown,
    ForeignRecord,
    TopicPartition,
)
from engine.records import LogRecord
from engine.settings import Alarm, EngineSettings
from engine.store.restore import Interrupted, LogTailLost, Watermarks, prepare, restore
from engine.store.states import PartitionStates, divide_cache
from engine.store.store import Store

LOG_TAIL_LOST: Final = "LOG_TAIL_LOST"
STATE_DIFFERS: Final = "STATE_DIFFERS"
FOREIGN_RECORD: Final = "FOREIGN_RECORD"
STORE_DISCARDED: Final = "STORE_DISCARDED"
# A store written so soon after a recovery may, by another clock, be from before it.
RECOVERY_MARGIN_MS: Final = 2 * CLOCK_DIFFERENCE_MS_MAX
CLOCK_OFF: Final = "CLOCK_OFF"
CLOCK_TRIES_MAX: Final = 3  # then no partition is taken, and the whole set-up is retried
CLOCK_PAUSE_S: Final = 0.5

_log = logging.getLogger(__name__)


class Blocked(Exception):
    """No partition may be taken now; the same assignment is retried."""

    def __init__(self, reason: str, phase: Phase = Phase.BLOCKED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.phase = phase  # HALTED: retrying does not help, people must recover it


class AssignmentSetup:
    """Makes the states of an assignment ready, and keeps those of partitions that come back."""

    def __init__(
        self,
        app: Application,
        control: ControlState,
        settings: EngineSettings,
        clock: Clock,
        metrics: EngineMetrics,
        health: Health,
        alarm: Alarm,
        ends: LogEnds,
        store: Store,
        crash: CrashPoint,
    ) -> None:
        self._app = app
        self._topology = app.topology
        self._control_state = control
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._alarm = alarm
        self._ends = ends
        self._store = store
        self._crash = crash
        self._kept: dict[int, PartitionStates] = {}
        self._unchecked: set[int] = set()  # kept, but not yet compared with the journal's tail
        self._alarmed: set[tuple[str, int | None]] = set()
        self.epoch = 0  # of the last handled rebalance

    def check_topics(self) -> None:
        """Raises Exit unless inputs, journal and state have the recorded partition count."""
        topology = self._topology
        topics = [*topology.inputs, topology.journal, topology.state]
        check_partition_counts(self._ends.partition_counts(topics), topology.partitions)

    def released(self) -> None:
        """Nothing is assigned at the moment."""
        self._health.partitions = ()
        self._health.report(Phase.STARTING, "no partitions assigned")
        self._metrics.partitions(0, 0, 0)

    def take(
        self,
        assigned: Sequence[TopicPartition],
        consumer: GroupConsumer,
        control: ControlReader,
        producer: TransactionalProducer,
    ) -> tuple[dict[int, PartitionStates], dict[TopicPartition, int]] | None:
        """States and positions of the assignment, now being fetched; None if another rebalance
        happened.

        Raises Blocked if it must be retried later, Exit if it must not be served at all.
        """
        topology = self._topology
        numbers = whole_partitions(assigned, topology.inputs)
        self._health.beat()
        if not numbers:
            self._kept.clear()
            self.released()
            return {}, {}
        self._check_ready(control, producer)
        names = [(topic, number) for number in numbers for topic in topology.inputs]
        committed = consumer.committed(names)
        self._health.beat()
        # Captured after the committed offsets are stable: nothing the last owner committed is
        # behind them.
        marks = self._watermarks(numbers)
        start = starting_offsets(
            numbers,
            topology.inputs,
            committed,
            {n: marks[topology.journal, n].high for n in numbers},
            self._control_state.added_inputs(),
        )
        try:
            states = self._restore(numbers, marks, consumer)
        except Interrupted:
            return None
        except DependencyDown as down:  # a state of another version, whose schema must be fetched
            raise Blocked(str(down)) from down
        if start.to_initialise:
            consumer.initialise(start.to_initialise)
        if consumer.epoch != self.epoch:
            return None
        consumer.fetch_from(start.offsets)
        self._health.partitions = tuple(numbers)
        self._metrics.partitions(len(numbers), 0, 0)
        self._health.report(Phase.RUNNING, "")
        return states, start.offsets

    def _check_ready(self, control: ControlReader, producer: TransactionalProducer) -> None:
        if not control.read_to_end(self._control_state):
            raise Blocked(UNREADABLE)
        reason = self._control_state.ready()
        if reason is not None:
            raise Blocked(reason)
        self._health.beat()
        difference_ms = self._clock_difference_ms(producer)
        if abs(difference_ms) > CLOCK_DIFFERENCE_MS_MAX:
            self._raise_alarm(
                CLOCK_OFF, None, f"this clock is {-difference_ms} ms off the broker's"
            )
            raise Blocked(f"clock is {-difference_ms} ms off the broker's")

    def _clock_difference_ms(self, producer: TransactionalProducer) -> int:
        """Broker time minus our time. Raises Blocked if the broker does not return its time: an
        unchecked clock may be wrong by any amount (domain §8).
        """
        why = ""
        for _ in range(CLOCK_TRIES_MAX):
            try:
                return producer.probe_clock(self._topology.quarantine)
            except Retry as unknown:
                why = str(unknown)
                _log.warning("the broker did not report its time: %s", why)
                self._health.beat()
                self._clock.sleep(CLOCK_PAUSE_S)
        raise Blocked(f"the broker did not report its time, {CLOCK_TRIES_MAX} times: {why}")

    def _watermarks(self, numbers: Sequence[int]) -> dict[TopicPartition, Watermarks]:
        topology = self._topology
        names = [(topic, n) for topic in (topology.state, topology.journal) for n in numbers]
        high, low = self._ends.high(names), self._ends.low(names)
        return {name: Watermarks(low[name], high[name]) for name in names}

    def _restore(
        self,
        numbers: Sequence[int],
        marks: dict[TopicPartition, Watermarks],
        consumer: GroupConsumer,
    ) -> dict[int, PartitionStates]:
        topology = self._topology
        for number in [n for n in self._kept if n not in numbers]:
            del self._kept[number]
        fresh = [n for n in numbers if n not in self._kept]
        for number in fresh:
            self._kept[number] = self._open(number)
        self._unchecked = (self._unchecked & set(numbers)) | set(fresh)
        states = {n: self._kept[n] for n in numbers}
        divide_cache(self._settings.cache_bytes, states.values())
        if self._health.phase is not Phase.HALTED:  # else it stays so until the log is whole again
            self._restoring(len(numbers))
        try:
            for number in fresh:
                self._discard_vanished(states[number])
            self._check_floors(states, {n: marks[topology.journal, n].high for n in numbers})
            for number, state in states.items():
                if prepare(
                    state,
                    marks[topology.state, number],
                    self._clock.now_ms(),
                    self._settings.store_age_ms_max,
                ):
                    self._raise_alarm(STORE_DISCARDED, number, "too old or below the log's start")
        except LogTailLost as lost:
            self._kept.clear()
            self._metrics.partitions(0, 0, len(numbers))
            self._raise_alarm(LOG_TAIL_LOST, lost.partition, lost.detail)
            raise Blocked(f"{LOG_TAIL_LOST}: {lost}", Phase.HALTED) from lost
        self._restoring(len(numbers))

        def keep_alive() -> bool:
            self._health.beat()
            self._metrics.restoring(sum(self._health.progress.remaining.values()))
            consumer.poll(1, 0)
            return consumer.epoch == self.epoch

        restore(
            self._settings.connection,
            topology.state,
            list(states.values()),
            {n: marks[topology.state, n] for n in numbers},
            self._clock,
            self._health.progress,
            keep_alive,
            self._crash,
        )
        # Not only the new ones: another rebalance may have happened.
        self._check_tails(
            {n: states[n] for n in self._unchecked},
            {n: marks[topology.journal, n] for n in self._unchecked},
            keep_alive,
        )
        self._unchecked.clear()
        for number in numbers:
            if unreadable := states[number].unreadable:
                self._rebuild(
                    states[number], sorted(unreadable), marks[topology.journal, number], keep_alive
                )
        return states

    def _restoring(self, count: int) -> None:
        self._health.report(Phase.RESTORING, "")
        self._metrics.partitions(0, count, 0)

    def _open(self, number: int) -> PartitionStates:
        """The partition's states as the store has them; an unreadable store is discarded."""
        states = PartitionStates(self._app, number, self._store.partition(number))
        try:
            states.load_open()
        except ValueError as error:
            self._raise_alarm(STORE_DISCARDED, number, f"unreadable: {error}")
            states.clear()
        return states

    def _discard_vanished(self, state: PartitionStates) -> None:
        """Discard a store that was written before the partition's last recovery."""
        recovered_ms = self._control_state.recovered_at(state.number)
        if not recovered_ms or not state.written_at_ms:
            return
        if state.written_at_ms < recovered_ms + RECOVERY_MARGIN_MS:
            self._raise_alarm(STORE_DISCARDED, state.number, "the log was recovered since")
            state.clear()

    def _check_floors(
        self, states: Mapping[int, PartitionStates], highs: Mapping[int, int]
    ) -> None:
        """Compare the journal's ends with store and checkpoints. Raises LogTailLost."""
        for number, state in states.items():
            if state.journal_offset > highs[number]:
                raise LogTailLost(
                    number,
                    f"the store knows the journal up to {state.journal_offset}, it ends at "
                    f"{highs[number]}",
                )
        if self._settings.journal_floors is None:
            return
        for number, floor in self._settings.journal_floors(list(highs)).items():
            if highs[number] < floor:
                raise LogTailLost(
                    number,
                    f"the last signed checkpoint covers {floor}, the journal ends at "
                    f"{highs[number]}",
                )

    def _check_tails(
        self,
        states: Mapping[int, PartitionStates],
        journals: Mapping[int, Watermarks],
        keep_alive: Callable[[], bool],
    ) -> None:
        """Compare the journal's tails with the states; a difference is folded again and alarmed.

        Raises Interrupted.
        """
        start = {
            n: max(
                journals[n].low,
                state.journal_offset or journals[n].high - self._settings.tail_records_max,
            )
            for n, state in states.items()
        }
        tails: dict[int, dict[bytes, tuple[int, bytes, bytes]]] = {n: {} for n in states}
        for batch in self._journal(start, {n: journals[n].high for n in states}):
            for r in batch:
                if r.key is not None and r.value is not None:
                    tails[r.partition][r.key] = (r.offset, r.key, r.value)
            if not keep_alive():
                raise Interrupted
        for number, state in states.items():
            tail = tails.pop(number)
            if tail:
                wrong = self._app.check_tail(number, list(tail.values()), state.get_packed)
                if wrong:
                    self._rebuild(state, wrong, journals[number], keep_alive)
            if journals[number].high != state.journal_offset:
                state.note_journal(journals[number].high, self._clock.now_ms())
            if not keep_alive():
                raise Interrupted

    def _rebuild(
        self,
        states: PartitionStates,
        keys: Sequence[str],
        journal: Watermarks,
        keep_alive: Callable[[], bool],
    ) -> None:
        """Fold these again from the whole journal, in one pass for all. A state that cannot be
        folded, or whose history has a foreign record, is kept: its next input is parked. Raises
        Interrupted.
        """
        histories: dict[bytes, list[bytes]] = {key.encode(): [] for key in keys}
        for batch in self._journal({states.number: journal.low}, {states.number: journal.high}):
            for record in batch:
                if record.key in histories and record.value is not None:
                    histories[record.key].append(record.value)
            if not keep_alive():
                raise Interrupted
        for key in keys:
            try:
                history, known = histories[key.encode()], states.get_packed(key)
                packed = self._app.rebuild(states.number, key, history, known)
            except ForeignRecord as error:
                if not known:
                    states.hold(key, self._clock.now_ms())
                self._raise_alarm(FOREIGN_RECORD, states.number, f"state of {key} kept: {error}")
                continue
            except ValueError as error:
                sentence = f"state of {key} differs, and its history cannot be folded: {error}"
            else:
                if packed is None:
                    sentence = f"state of {key} differs, and the journal has no event of it"
                    if known == b"":  # held
                        states.release(key, self._clock.now_ms())
                else:
                    states.replace(key, packed, self._clock.now_ms())
                    sentence = f"state of {key} folded again from the journal"
            states.unreadable.discard(key)  # once only: the journal will not change
            self._raise_alarm(STATE_DIFFERS, states.number, sentence)

    def _journal(
        self, start: Mapping[int, int], ends: Mapping[int, int]
    ) -> Iterator[list[LogRecord]]:
        """Without the records ruled FOREIGN."""
        foreign = {number: self._control_state.foreign(number) for number in start}
        for batch in read_all(
            self._settings.connection,
            self._topology.journal,
            start=start,
            ends=ends,
            partitions=list(start),
            clock=self._clock,
        ):
            yield [r for r in batch if not r.is_one_of(foreign[r.partition])]

    def _raise_alarm(self, name: str, partition: int | None, sentence: str) -> None:
        """Raise each alarm once per partition; the application may write a STOP."""
        if (name, partition) in self._alarmed and name != STATE_DIFFERS:
            return
        self._alarmed.add((name, partition))
        _log.critical("engine alarm %s: partition %s: %s", name, partition, sentence)
        self._metrics.alarm(name)
        self._alarm(name, partition, sentence)
