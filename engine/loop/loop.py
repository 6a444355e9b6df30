"""The consume-decide-produce loop: one transaction per batch, all partitions of the process in it.

    poll ─▶ decide ─▶ begin, send offsets, produce, commit ─▶ apply to memory and store
             ▲                   │ Abort: same batch again, halved if that repeats
             └───────────────────┤ Rebuild: new producer, the nonce in the offsets decides
                                 ▼ LostMembership: drop, read again from the committed offsets
                                   ConsumerLost: the same, with a new consumer

Nothing stays open across `poll`. Only the thread that calls `run` touches Kafka's group, the states
and the application.
"""

from __future__ import annotations

import logging
from typing import Final

from engine.clients.control_reader import ControlReader
from engine.clients.reader import LogEnds
from engine.clients.stall_detection import StallDetector
from engine.clock import MS_PER_S, Clock
from engine.errors import (
    Abort,
    ConsumerLost,
    EngineError,
    Exit,
    Fenced,
    LostMembership,
    Rebuild,
    Retry,
)
from engine.loop.assignment_setup import AssignmentSetup, Blocked
from engine.loop.batch import ABORTS_BEFORE_HALVING, BatchRun, again, in_decision_order, no_crash
from engine.loop.blocked_records import BlockedRecords
from engine.loop.consumer import GroupConsumer
from engine.loop.lag import Lag
from engine.loop.pauses import Pauses
from engine.loop.priority import PriorityPause
from engine.loop.sizing import BatchSizer
from engine.loop.timer_gate import TimerGate
from engine.loop.transaction import Status, TransactionalProducer
from engine.loop.watch import Health, Phase
from engine.metrics import EngineMetrics
from engine.ports import Application, ControlState, CrashPoint, InputRecord, TopicPartition
from engine.records import to_input_record
from engine.settings import Alarm, EngineSettings
from engine.store.states import PartitionStates
from engine.store.store import Store

ATTEMPTS_MAX: Final = 200  # of one polled batch, halving included: 2 * 14 levels * a few, then EXIT
ABORT_PAUSE_S: Final = 0.05
STOPPED_WAIT_S: Final = 0.1
BLOCKED_WAIT_S: Final = 0.5

_log = logging.getLogger(__name__)


class Loop:
    """One instance of one application. `run` returns after `request_stop`, or raises Exit."""

    def __init__(
        self,
        app: Application,
        control: ControlState,
        settings: EngineSettings,
        clock: Clock,
        metrics: EngineMetrics,
        health: Health,
        alarm: Alarm,
        crash: CrashPoint = no_crash,
    ) -> None:
        topology = app.topology
        self._app = app
        self._topology = topology
        self._control_state = control
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._health = health
        metrics.start_topics(topology)
        metrics.watch(health.age_s)
        self._crash = crash
        self._stopping = False
        identity = settings.transactional_id(topology.application)
        self._ends = LogEnds(settings.connection, clock)
        errors = health.partition_errors
        self._control = ControlReader(settings.connection, topology.control, clock, errors)
        name, inputs = topology.application, topology.inputs
        self._consumer = GroupConsumer(settings, name, inputs, clock, errors)
        self._producer = TransactionalProducer(
            settings.connection, identity, clock, settings.transaction
        )
        self._store_identity = f"{self._ends.cluster_id()} {topology.state}"
        folder = settings.data_dir / identity
        self._store = Store(folder, self._store_identity, settings.cache_bytes)
        self._setup = AssignmentSetup(
            app, control, settings, clock, metrics, health, alarm, self._ends, self._store, crash
        )
        self._gate = TimerGate(topology.read_before_timers, self._ends.ask_high)
        self._priority = PriorityPause(topology, self._ends.ask_stable)
        self._lag = Lag(topology.journal, self._ends, metrics, self._store)
        self._stalls = StallDetector(self._ends, clock)
        self._pauses = Pauses(self._consumer, self._stalls)
        self._sizer = BatchSizer(settings.transaction_interval_s)
        self._states: dict[int, PartitionStates] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._blocked = BlockedRecords(clock)
        self._stopped = False

    def request_stop(self) -> None:
        """Stop after the current batch; safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Run until a stop is requested, then leave the group and close the store."""
        try:
            self._setup.check_topics()
            self._control.start()
            self._producer.init()
            self._consumer.subscribe()
            while not self._stopping:
                try:
                    self._step()
                except ConsumerLost as error:
                    self._renew(error)
            self._health.phase = Phase.STOPPING
            if self._producer.status is Status.OPEN:
                self._producer.abort()
            self._consumer.leave()
        except Fenced:
            self._metrics.fenced()
            raise
        finally:
            self._producer.destroy()
            self._control.close()
            self._store.close()

    # -- one turn ----------------------------------------------------------------------------------

    def _step(self) -> None:
        self._health.beat()
        self._control.drain(self._control_state)
        reason = self._control.stopped(self._control_state)
        self._obey(reason)
        started_s = self._clock.monotonic_s()
        if reason or not self._states:
            wait_s = STOPPED_WAIT_S
        else:
            wait_s = self._sizer.wait_s(self._settings.poll_wait_s, started_s)
        try:
            messages, ends = self._consumer.poll(self._sizer.count, wait_s)
        except Retry:
            self._clock.sleep(ABORT_PAUSE_S)
            return
        polled_s = self._clock.monotonic_s()
        assigned = self._consumer.take_assigned()
        if assigned is not None or self._consumer.epoch != self._setup.epoch:
            self._take(assigned)
            return
        if reason is not None:
            if messages:
                self._rewind()  # fetched before the pause: they wait in their topics
            else:
                self._note_ends(ends)
            return
        now_ms = self._clock.now_ms()
        count, records = len(messages), [to_input_record(each, now_ms) for each in messages]
        del messages  # their memory is used again for what the batch makes
        work = records + self._held_records()
        self._crash("after_poll")
        if self._process(in_decision_order(work, self._topology.inputs)):
            self._note_ends(ends)
        done_s = self._clock.monotonic_s()
        size = sum(len(r.value) for r in records if r.value is not None)
        self._sizer.note(count, size, polled_s, (done_s - polled_s) * MS_PER_S)
        if count:
            self._metrics.polled(count, polled_s - started_s)
        backlog = count >= self._sizer.count // 2
        self._balance(backlog)
        self._pauses.want(self._unwanted())
        if backlog:
            self._stalls.backlog()
        self._stalls.check(self._positions, lambda: self._positions, self._consumer.errors)
        self._health.lag = self._stalls.records
        self._lag.observe(done_s, self._positions, self._states, self._stalls.seconds)

    # -- a batch -----------------------------------------------------------------------------------

    def _process(self, records: list[InputRecord]) -> bool:
        """Process a polled batch: committed, or dropped (False) because the group rebalanced."""
        work: list[tuple[list[InputRecord], int]] = [(records, 0)]
        refused: BaseException | None = None
        for _ in range(ATTEMPTS_MAX):
            if not work:
                return True
            part, aborts = work.pop()
            part = self._blocked.let_pass(part)
            started_s = self._clock.monotonic_s()
            run = BatchRun(self._app, self._states)
            run.decide(part, refused)
            self._add_timers(run)
            self._crash("after_decide")
            try:
                committed = self._commit(run, started_s)
            except LostMembership:
                run.dropped()
                self._rewind()
                return False
            except ConsumerLost:
                run.dropped()
                raise
            except Abort as error:
                run.dropped()
                refused = error if error.by_content and len(part) == 1 else None
                if refused is not None and aborts > ABORTS_BEFORE_HALVING:
                    raise Exit("CANNOT_PRODUCE", error.detail) from error
                work.extend(again(part, aborts + 1))
                self._clock.sleep(ABORT_PAUSE_S)
                continue
            refused = None
            if not committed:
                run.dropped()
                work.append((part, aborts))
        raise Exit(
            "CANNOT_COMMIT", f"a batch of {len(records)} did not commit in {ATTEMPTS_MAX} attempts"
        )

    def _commit(self, run: BatchRun, started_s: float) -> bool:
        """One transaction; False if it certainly did not happen and may be run again."""
        if run.is_empty():
            self._blocked.add(run.blocked)
            return True
        offsets = run.next_offsets or self._anchor(run)
        producer, overlay = self._producer, run.overlay
        marks_s = [started_s, self._clock.monotonic_s()]
        try:
            producer.begin()
            # Offsets first: the client retries them every few milliseconds until the last
            # transaction's markers are written, but partitions only after 20 ms (decision 12).
            producer.send_offsets(offsets, self._consumer.metadata_for_commit())
            marks_s.append(self._clock.monotonic_s())
            self._crash("after_send_offsets")
            overlay.find_last_kept()
            producer.produce(overlay.outputs, overlay.last_kept)
            marks_s.append(self._clock.monotonic_s())
            self._crash("after_produce")
            self._crash("before_commit")
            producer.commit()
            self._crash("commit_sent")
        except Abort:
            self._abort()
            raise
        except Rebuild as error:
            if not self._resolve(offsets, error):
                return False
            marks_s = []  # an unclear end is counted, not timed
        marks_s.append(self._clock.monotonic_s())
        self._crash("after_commit")
        now_ms = self._clock.now_ms()
        run.applied(producer.acknowledged(), now_ms)
        self._positions.update(offsets)
        self._blocked.add(run.blocked)
        marks_s.append(self._clock.monotonic_s())
        self._metrics.committed(run.records, now_ms, marks_s)
        return True

    def _abort(self) -> None:
        """Abort the transaction; if its end is unclear, replace the producer."""
        self._metrics.transaction("abort")
        if self._producer.abort_or_rebuild():
            self._metrics.transaction("rebuild")

    def _resolve(self, offsets: dict[TopicPartition, int], error: EngineError) -> bool:
        """After an unknown end: a new producer. True if the batch was committed."""
        nonce = self._producer.nonce
        self._metrics.transaction("rebuild")
        self._producer.rebuild()
        committed = self._consumer.committed(list(offsets))
        if any(c.metadata == nonce for c in committed.values()):
            self._metrics.transaction("unknown_committed")
            return True
        self._metrics.transaction("unknown_aborted")
        if any(c.offset != self._positions[name] for name, c in committed.items()):
            raise LostMembership(error.code, "another member has committed since")
        return False

    def _anchor(self, run: BatchRun) -> dict[TopicPartition, int]:
        """A batch of timers only commits its timers partitions at their current offsets, to carry
        the nonce.
        """
        names = [(self._topology.timers, number) for number in run.partitions()]
        return {name: self._positions[name] for name in names}

    def _add_timers(self, run: BatchRun) -> None:
        due = {}
        now_ms = self._clock.now_ms()
        for number, states in self._states.items():
            at_ms = states.timers.next_due_ms()
            if at_ms is not None and at_ms <= now_ms and number not in self._blocked:
                due[number] = at_ms
        for number, until_ms in self._gate.open_for(due, self._positions, now_ms).items():
            made = run.add_timers(number, until_ms)
            self._metrics.timers_made(made, now_ms - due.get(number, now_ms))

    # -- waiting for a dependency ------------------------------------------------------------------

    def _held_records(self) -> list[InputRecord]:
        """Records to retry now; their partitions fetch nothing until these could be read."""
        return [record for records in self._blocked.take_due().values() for record in records]

    def _note_ends(self, ends: dict[TopicPartition, int]) -> None:
        """Advance positions past control markers: everything before the end was decided."""
        for name, offset in ends.items():
            if name[1] not in self._blocked and offset > self._positions.get(name, offset):
                self._positions[name] = offset

    # -- assignment, stop, fairness ----------------------------------------------------------------

    def _take(self, assigned: list[TopicPartition] | None) -> None:
        """After a rebalance: serve exactly the current assignment."""
        self._states, self._positions = {}, {}
        self._blocked.forget()
        self._gate.reset()
        self._priority.reset()
        self._stalls.begin()
        self._pauses.forget()
        self._stopped = False
        self._setup.epoch = self._consumer.epoch
        self._metrics.rebalances(self._consumer.rebalances)
        if assigned is None:
            self._setup.released()
            return
        try:
            taken = self._setup.take(assigned, self._consumer, self._control, self._producer)
        except Blocked as blocked:
            self._health.report(blocked.phase, blocked.reason)
            self._consumer.give_back(assigned)
            self._clock.sleep(BLOCKED_WAIT_S)
            return
        except Abort:
            self._consumer.give_back(assigned)
            return
        if taken is not None:
            self._states, self._positions = taken
            self._stalls.begin()

    def _renew(self, error: ConsumerLost) -> None:
        """Replace the consumer; everything continues from the committed offsets. Raises Exit if
        that happened too often.
        """
        _log.warning("engine's consumer is replaced: %s", error)
        self._metrics.consumer_lost()
        if self._producer.status is Status.OPEN:
            self._abort()
        self._consumer.renew(error)
        self._take(None)

    def _rewind(self) -> None:
        """Drop polled records; set up the same assignment again from the committed offsets."""
        self._consumer.fetch_nothing()
        self._consumer.give_back(list(self._positions))
        self._states, self._positions = {}, {}
        self._blocked.forget()

    def _obey(self, reason: str | None) -> None:
        """STOP pauses every input at the batch boundary, until it is lifted."""
        if not self._states:
            return
        if reason is not None:
            self._health.report(Phase.STOPPED, reason)
            self._stopped = True
            self._pauses.want(frozenset(self._positions))
            return
        if self._stopped:
            self._stopped = False
            self._priority.reset()
            self._pauses.want(self._unwanted())
        self._health.report(Phase.RUNNING, "")

    def _balance(self, backlog: bool) -> None:
        """While answers and operators' commands are unread, command partitions are paused. An
        unreadable record blocks only its own partition.
        """
        blocked, errors, positions = self._blocked, self._consumer.errors, self._positions
        if blocked or errors:
            positions = {
                n: at for n, at in positions.items() if n[1] not in blocked and n not in errors
            }
        self._priority.decide(backlog, positions, self._clock.monotonic_s())

    def _unwanted(self) -> frozenset[TopicPartition]:
        """Partitions to pause: with a record that waits for a dependency, commands of lower
        priority, and unreadable batches that were just tried.
        """
        names = self._consumer.errors.awaiting_retry()
        if self._priority.paused:
            names |= {*self._priority.low_names(self._positions)}
        if self._blocked:
            names |= {(t, n) for n in self._blocked for t in self._topology.inputs}
        return names
