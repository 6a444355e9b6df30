"""At-least-once worker for adapters: bounded lanes, answers confirmed before offsets are committed.

    poll ─▶ lanes (engine.worker.lanes: one per key, in order, unless the settings say otherwise)
         ─▶ handler ─▶ publish, confirmed ─▶ done ─▶ commit up to the first not done

A crash repeats what was not committed; a stop, what was done behind a record that it drops. The
handler and its answers must tolerate that (same identity, same effect).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Message

from engine.clients.control_reader import ControlReader
from engine.clients.publisher import NotConfirmed, Publisher
from engine.clients.reader import LogEnds
from engine.clients.stall_detection import StallDetector
from engine.clock import Clock
from engine.errors import ConsumerLost, Exit
from engine.loop.watch import Health, Phase
from engine.ports import ControlState, InputRecord, TopicPartition
from engine.records import LogRecord, to_input_record
from engine.worker.consumer import WorkerConsumer
from engine.worker.lanes import Lanes
from engine.worker.lookahead_reader import LookaheadReader
from engine.worker.progress import PartitionProgress, Questions
from engine.worker.settings import Handler, TryAgain, WorkerSettings

POLL_WAIT_S: Final = 0.1  # a record that comes ends the wait
ASKED_POLL_WAIT_S: Final = 0.02  # during which lanes may ask whether a partition is ours
ANSWER_EVERY_S: Final = 0.01  # one commit answers all who asked since the last
COMMIT_EVERY_S: Final = 0.2
PUBLISH_PAUSE_S: Final = 0.5
STILL_OURS_S: Final = 15.0  # a commit by the polling thread, and a rebalance before it


class Worker:
    """One instance of one adapter. `run` returns after `request_stop`, or raises a handler's or
    Kafka's error.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        handler: Handler,
        publisher: Publisher,
        control: ControlState,
        clock: Clock,
        health: Health,
        *,
        observe: Callable[[LogRecord], None] | None = None,
    ) -> None:
        """With `observe` a second thread reads ahead of the handler, and `is_fresh` checks how far.
        Raises ValueError for `observe` with more than one topic.
        """
        self._settings = settings
        self._handler = handler
        self._publisher = publisher
        self._control_state = control
        self._clock = clock
        self._health = health
        self._stopping = threading.Event()
        self._progress = PartitionProgress()
        self._generation = 0
        self._questions = Questions()
        self._lane = threading.local()  # of a lane's thread: the generation of its record
        self._paused = False
        self._committed_s = 0.0
        self._answered_s = 0.0
        self._poll_wait_s = POLL_WAIT_S if observe is None else ASKED_POLL_WAIT_S
        self._stop_reason: str | None = None
        errors = health.partition_errors
        self._errors = errors.of(settings.group)
        self._control = ControlReader(settings.connection, settings.control_topic, clock, errors)
        self._lookahead: LookaheadReader | None = None
        if observe is not None:
            if len(settings.topics) != 1:
                raise ValueError("a lookahead reader reads one topic")
            ahead = errors.of(f"{settings.group} ahead")
            self._lookahead = LookaheadReader(
                settings.connection, settings.topics[0], clock, observe, ahead
            )
        self._lanes = Lanes(
            self._work,
            clock,
            threads=settings.lanes,
            room=settings.lane_room,
            records_max=settings.records_max,
            bytes_max=settings.bytes_max,
        )
        self._consumer = WorkerConsumer(settings, clock, self._errors, self)
        self._stalls = StallDetector(LogEnds(settings.connection, clock), clock)
        self._assigned: list[TopicPartition] | None = None  # by the group; not read yet

    def request_stop(self) -> None:
        """Stop after the work in progress; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Run until a stop is requested; then wait for work in progress, commit and leave the
        group. Raises Exit for errors that it cannot recover from.
        """
        self._control.start()
        if self._lookahead is not None:
            self._lookahead.start()
        try:
            if not self._control.read_to_end(self._control_state):
                raise Exit("CONTROL_UNREADABLE", "the control topic could not be read to its end")
            self._consumer.subscribe()
            while not self._stopping.is_set():
                try:
                    self._step()
                except ConsumerLost as error:
                    self._consumer.renew(error)
            self._health.report(Phase.STOPPING, "")
            self._questions.refuse()
            self._lanes.drop_waiting()
            self._lanes.wait_idle(self._settings.shutdown_s_max)
            self._commit()
            self._consumer.leave(self._progress.names)
        finally:
            self._stopping.set()
            self._lanes.close()
            self._consumer.close()
            if self._lookahead is not None:
                self._lookahead.close()
            self._control.close()

    # -- what a handler may ask, in its own thread -------------------------------------------------

    def is_fresh(self, partition: int) -> bool:
        """Whether this partition was read ahead to an end at most 1 s old. Raises Exit."""
        return self._lookahead is None or self._lookahead.wait_fresh(partition, 0.0)

    def stopped(self) -> str | None:
        """Why no work may start, by the last read of the control topic, or None."""
        return self._stop_reason

    def generation(self) -> int:
        """Increases with every change of the assignment."""
        return self._generation

    def unfinished(self) -> int:
        """Records that were read but are not done."""
        return self._lanes.count()

    def still_ours(self, topic: str, partition: int) -> bool:
        """Ask the group's coordinator, by committing finished work, whether the partition is ours.

        True: at some moment after this call began no other member had it, and none has had it since
        the handler's record was polled; so the next owner reads everything confirmed before. False
        also if the coordinator does not answer. Raises Exit.
        """
        generation: int | None = getattr(self._lane, "generation", None)
        if generation is None or generation != self._generation:
            return False
        # By the record's own generation: a new one may start before the answer.
        return self._questions.ask((topic, partition), generation, STILL_OURS_S)

    # -- the polling thread ------------------------------------------------------------------------

    def _step(self) -> None:
        self._health.beat()
        if self._lanes.failure is not None:
            raise self._lanes.failure
        self._control.drain(self._control_state)
        self._stop_reason = self._control.stopped(self._control_state)
        self._health.report(
            Phase.STOPPED if self._stop_reason else Phase.RUNNING, self._stop_reason or ""
        )
        self._pause_or_resume(self._held() or self._lanes.full())
        self._lanes.release_due()
        self._check_stalls(self._take_all())
        if self._assigned is not None:
            self._begin(self._assigned)
        now_s = self._clock.monotonic_s()
        if self._questions and now_s - self._answered_s >= ANSWER_EVERY_S:
            self._answer_questions()
            self._answered_s = now_s
        if now_s - self._committed_s >= COMMIT_EVERY_S:
            self._committed_s = now_s
            self._commit()

    def _held(self) -> bool:
        """Whether STOP keeps records from the handler."""
        return self._stop_reason is not None and not self._settings.handler_obeys_stop

    def _take_all(self) -> bool:
        """Poll: records to their lanes, ends to the progress. True: more is available.

        Raises ConsumerLost and Exit.
        """
        before = self._generation
        polled = self._consumer.poll(self._poll_wait_s)
        for message in polled.records:
            self._take(message)
        if self._generation == before:  # else they may belong to an old assignment
            self._progress.read_to(polled.ends)
        return polled.full

    def _take(self, message: Message) -> None:
        record = to_input_record(message, self._clock.now_ms())
        if self._progress.started((record.topic, record.partition), record.offset):
            self._lanes.put(record, self._generation, self._settings.lane_of(record))

    def _check_stalls(self, backlog: bool) -> None:
        """Raises ConsumerLost if a partition with available records is not delivered, or we are not
        in the group.
        """
        missing_s = self._consumer.missing_s()
        if backlog:
            self._stalls.backlog()
        done = self._progress.done()
        explained = self._errors if self._assigned is None else done  # nothing is fetched yet
        stalled_s = self._stalls.check(done, self._progress.idle, explained)
        self._health.stalled_s = max(missing_s, stalled_s)
        self._health.lag = self._stalls.records

    def _begin(self, assigned: Sequence[TopicPartition]) -> None:
        """Start reading the assignment, once the committed offsets are known; nothing is fresh
        before.
        """
        offsets = self._consumer.begin(assigned)
        if offsets is None:
            return  # retried at the next step
        self._assigned, self._paused = None, False
        self._progress.begin({name: at for name, at in offsets.items() if at >= 0})
        self._stalls.begin()
        if self._lookahead is not None:
            self._lookahead.assign({number: max(0, at) for (_, number), at in offsets.items()})

    def _answer_questions(self) -> None:
        """One commit answers every lane that waits in `still_ours`: only this thread uses the
        consumer, because a second one would wait for the consume call that is always running.
        """
        questions = self._questions.take()
        requested = {question.name for question in questions}
        done = self._progress.done()
        offsets = {name: done[name] for name in requested & done.keys() if done[name] >= 0}
        confirmed = self._consumer.confirmed(offsets) if offsets else set()
        for question in questions:
            same = question.generation == self._generation
            question.answer = same and question.name in confirmed
            question.answered.set()

    def _pause_or_resume(self, pause: bool) -> None:
        if pause == self._paused:
            return
        names = self._progress.names()
        for each in (self._consumer, self._stalls):
            (each.pause if pause else each.resume)(names)
        self._paused = pause

    def _commit(self) -> None:
        """Commit finished work. A refused commit is harmless: the current owner repeats the
        records.
        """
        ready = self._progress.uncommitted()
        if ready and self._consumer.commit(ready):
            self._progress.committed(ready)

    # -- rebalances, inside poll (engine.worker.consumer.Rebalances) -----------------------------

    def assigned(self, names: Sequence[TopicPartition]) -> None:
        """Note the assignment; `_begin` starts it once the offsets are known."""
        self._generation += 1
        self._progress.assign(names)
        self._stalls.begin()
        self._questions.open()
        self._health.partitions = tuple(sorted({number for _, number in names}))
        self._assigned = list(names)

    def revoked(self) -> None:
        """Let work in progress finish and commit it, so that the next owner does not repeat it."""
        self._questions.refuse()
        self._lanes.drop_waiting()
        self._lanes.wait_idle(self._settings.revoke_s_max)
        self._commit()

    def lost(self) -> None:
        """All partitions are lost. Work in progress finishes uncommitted: it is repeated."""
        self._questions.refuse()
        self._lanes.drop_waiting()
        self._generation += 1
        self._progress.assign([])
        self._assigned = None
        self._health.partitions = ()
        if self._lookahead is not None:
            self._lookahead.assign({})

    # -- a lane's thread ---------------------------------------------------------------------------

    def _work(self, record: InputRecord, generation: int) -> float | None:
        """One try; seconds until the next, or None if it is done or no longer ours."""
        if self._stopping.is_set() or generation != self._generation:
            return None
        if self._held():
            return PUBLISH_PAUSE_S
        self._lane.generation = generation
        try:
            answers = self._handler(record)
            self._publisher.publish_all(answers)
        except TryAgain as error:
            return error.pause_s
        except NotConfirmed:
            return PUBLISH_PAUSE_S
        self._progress.finished((record.topic, record.partition), record.offset)
        return None
