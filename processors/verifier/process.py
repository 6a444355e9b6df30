"""`npp run verifier`: checks the chain of everything new on the journal, decides it again, then
signs checkpoints (docs/decisions/0018).

It has its own key, its own states and one transactional id for its partitions: a second verifier
fences the first, so two cannot fork the checkpoints. A problem is a STOP, a metric and a critical
log line; the verifier continues to verify but never signs past a problem.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from control.acts.key_file import SigningKey
from control.fold import Control
from engine.clock import MS_PER_S, Clock
from engine.errors import OFFSETS_LOST, Abort, Exit, Rebuild
from engine.records import LogRecord
from evidence import checkpoints
from evidence.checkpoints import Sealed, decode_checkpoint
from evidence.keys import Keyring
from evidence.outcomes import operator_outcome
from processors.verifier.context import KnownContext
from processors.verifier.delay import Delay
from processors.verifier.judge import Judge, VerifierContext
from processors.verifier.metrics import VerifierMetrics
from processors.verifier.partition import PartitionVerifier, Problem, RawCheckpoint
from processors.verifier.ports import VerifierLog
from processors.verifier.stops import Stops
from processors.verifier.store import VerifierStore
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, LIFECYCLE, OUTCOMES

log = structlog.get_logger("npp.verifier")

CHECKPOINT_INTERVAL_S: Final = 10.0
CHECKPOINT_EVENTS_MAX: Final = 10_000
POLL_WAIT_S: Final = 0.2
SETTLE_LOOKS: Final = 40
SETTLE_WAIT_S: Final = 0.05
# events that wait for outcomes which a checkpoint covers; lifecycle records that wait for their
# events, and the reverse
WAITING_MAX: Final = 20_000
STATES_MAX: Final = 3_000  # in memory, of all partitions: up to 9 KB each
REOPEN_PAUSE_S: Final = 1.0
REOPENS_IN_A_ROW_MAX: Final = 30  # half a minute without one good round: the supervisor's turn


class Verifier:
    """All partitions of the journal. One thread calls it; `run` until `stop`."""

    def __init__(
        self,
        *,
        journal: VerifierLog,
        codec: Codec,
        store: VerifierStore,
        key: SigningKey,
        keyring: Keyring,
        clock: Clock,
        metrics: VerifierMetrics,
        partition_of: Callable[[bytes, int], int],
        context: KnownContext,
        judge: Callable[[int, VerifierContext, dict[str, int]], Judge] = Judge,
        partitions: Sequence[int] | None = None,
        meanwhile: Sequence[Callable[[], None]] = (),
        interval_s: float = CHECKPOINT_INTERVAL_S,
        events_max: int = CHECKPOINT_EVENTS_MAX,
    ) -> None:
        self._journal = journal
        self._context = context
        self._judge = judge
        self._mine = partitions  # None: all of them
        self._let_go_on = 0
        self._codec = codec
        self._store = store
        self._key = key
        self._keyring = keyring
        self._clock = clock
        self._metrics = metrics
        self._partition_of = partition_of
        self._meanwhile = meanwhile  # called between steps: the process's other watchers
        self._interval_s = interval_s
        self._events_max = events_max
        self._partitions: dict[int, PartitionVerifier] = {}
        self._stops = Stops(store, clock)
        self._delay = Delay(clock)
        metrics.delay.set_function(self._delay.seconds)
        self._round_s = 0.0
        self._stop = threading.Event()
        self._control = Control(codec.decode)
        self._control_next = 0
        self._outcomes_count = 1
        self.caught_up = False

    # -- life --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop after the current step; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Verify and sign until `stop`. An unclear transaction is resolved by reopening.

        Raises Exit if another verifier has taken over, or Kafka denies access.
        """
        reopens = 0
        while not self._stop.is_set():
            try:
                self.open()
                while not self._stop.is_set():
                    for look in self._meanwhile:
                        look()
                    self.step(POLL_WAIT_S)
                    reopens = 0
                self.sign_round()
            except (Rebuild, Abort) as doubt:
                reopens += 1
                if reopens > REOPENS_IN_A_ROW_MAX:
                    raise
                log.warning("verifier_opens_anew", why=str(doubt))
                self._clock.sleep(REOPEN_PAUSE_S)
            except Exit as end:
                if end.code == OFFSETS_LOST and not self._follow_control():
                    self._check_bounds()
                    self._publish_stops()
                raise

    def open(self) -> None:
        """Fence any other verifier, then start at the offsets of the store and the topic."""
        self._journal.take()
        self._follow_control()
        self._let_go_on = self._times_let_go_on()
        count = self._journal.partitions()
        self._outcomes_count = self._journal.outcomes_partitions()
        mine = range(count) if self._mine is None else [n for n in self._mine if n < count]
        bounds, outcomes = self._journal.bounds(EVENTS), self._journal.bounds(OUTCOMES)
        lifecycle_ends = self._journal.bounds(LIFECYCLE)
        self.caught_up = False
        self._partitions = {
            number: PartitionVerifier(
                number,
                store=self._store,
                keyring=self._keyring,
                decode=partial(decode_checkpoint, self._codec),
                partition_of=lambda key: self._partition_of(key, count),
                recovery_points=self._control.recovery_points(number),
                rulings=self._control.dispositions.of_partition(number),
                outcomes_partition=number % self._outcomes_count,
                judge_of=partial(self._judge, number, self._context),
                ends=partial(self._ends_of, number),
                states_max=max(1, STATES_MAX // len(mine)),
            )
            for number in mine
        }
        recorded = self._journal.checkpoints(
            {number: verifier.topic_offset() for number, verifier in self._partitions.items()}
        )
        for number, verifier in self._partitions.items():
            outcomes_end = outcomes[number % self._outcomes_count][1]
            problem = verifier.resume(recorded[number])
            self._found(problem or verifier.bounds(*bounds[number], outcomes_end))
        self._metrics.broken.set(len(self.problems()))
        self._publish_stops()
        self._journal.follow(
            {
                number: min(max(verifier.next_offset, bounds[number][0]), bounds[number][1])
                for number, verifier in self._partitions.items()
            },
            {n: min(at, outcomes[n][1]) for n, at in self._outcomes_from().items()},
            {
                number: verifier.follow_lifecycle(lifecycle_ends[number][1])
                for number, verifier in self._partitions.items()
            },
        )
        self._round_s = self._clock.monotonic_s()

    def _ends_of(self, number: int) -> tuple[int, int]:
        """The current ends of journal and lifecycle topic, including open transactions."""
        events, lifecycle = self._journal.bounds(EVENTS), self._journal.bounds(LIFECYCLE)
        return events[number][1], lifecycle[number][1]

    def _outcomes_from(self) -> dict[int, int]:
        """The first outcome that any partition needs, by outcomes partition."""
        start: dict[int, int] = {}
        for number, verifier in self._partitions.items():
            where = number % self._outcomes_count
            start[where] = min(start.get(where, verifier.next_outcome), verifier.next_outcome)
        return start

    def _read_outcomes(self, wait_s: float) -> None:
        batches, ends = self._journal.poll_outcomes(wait_s)
        for records in batches.values():
            for record in records:
                outcome = operator_outcome(self._codec, record, self._outcomes_count)
                if outcome is not None and outcome.partition in self._partitions:
                    self._partitions[outcome.partition].feed_outcome(outcome)
        reached = {where: records[-1].offset + 1 for where, records in batches.items()}
        reached.update(ends)
        for number, verifier in self._partitions.items():
            end = reached.get(number % self._outcomes_count)
            if end is not None:
                verifier.outcomes_reached(end)

    def _read_lifecycle(self, wait_s: float) -> None:
        waiting = sum(each.heads.waiting() for each in self._partitions.values())
        if waiting >= WAITING_MAX and not self._awaits_many():
            return  # their events come first
        batches, ends = self._journal.poll_lifecycle(wait_s)
        for number, records in batches.items():
            for record in records:
                self._partitions[number].heads.feed(record.offset, record.key, record.value)
        for number, end in ends.items():
            self._partitions[number].heads.reached(end)

    def _awaits_many(self) -> bool:
        """Whether too many events wait for their lifecycle records to read more events."""
        return sum(each.judge.outstanding for each in self._partitions.values()) >= WAITING_MAX

    def _advance(self) -> None:
        """Verify the records read, with the inputs that they name; in two steps if the topic's last
        checkpoint ends within them.
        """
        self._advance_once()
        if any(each.is_ready() for each in self._partitions.values()):
            self._advance_once()

    def _advance_once(self) -> None:
        places = {place for each in self._partitions.values() for place in each.places()}
        self._metrics.inputs.inc(len(places))
        self._context.read_ahead(places)
        now_s = self._clock.monotonic_s()
        for verifier in self._partitions.values():
            for problem in verifier.advance(now_s):
                self._found(problem)

    def _settle(self) -> None:
        """Wait briefly for lifecycle records of processed events; nothing is signed without
        them.
        """
        for _ in range(SETTLE_LOOKS):
            if all(each.settled() for each in self._partitions.values()):
                return
            self._read_lifecycle(SETTLE_WAIT_S)
            now_s = self._clock.monotonic_s()
            for verifier in self._partitions.values():
                for problem in verifier.compare_heads(now_s):
                    self._found(problem)

    def step(self, wait_s: float) -> None:
        """Verify new records; sign when the interval is over or enough events arrived."""
        if self._follow_control():
            self._begin_anew()
            return
        full = sum(each.waiting() for each in self._partitions.values()) >= WAITING_MAX
        full = full or self._awaits_many()
        self._read_outcomes(wait_s if full else 0.0)
        self._read_lifecycle(0.0)
        batches: Mapping[int, Sequence[LogRecord]] = {}
        ends: Mapping[int, int] = {}
        if not full:
            batches, ends = self._journal.poll(wait_s)
        for number, records in batches.items():
            for record in records:
                self._partitions[number].feed(record)
            self._metrics.events.inc(len(records))
        for number, end in ends.items():
            self._partitions[number].reached(end)
        self._follow_control()  # what an event depends on was on the control topic before it
        self._advance()
        self.caught_up = not batches and not full
        self._publish_stops()
        due = self._clock.monotonic_s() - self._round_s >= self._interval_s
        if due or any(p.events_unsigned >= self._events_max for p in self._partitions.values()):
            self.sign_round()

    # -- signing -----------------------------------------------------------------------------------

    def sign_round(self) -> int:
        """Check the log's ends and each last checkpoint on the topic, then sign new events."""
        self._round_s = self._clock.monotonic_s()
        if self._follow_control():
            self._begin_anew()
            return 0
        self._check_bounds()
        self._settle()
        ready = [v for v in self._partitions.values() if v.may_sign()]
        there = self._journal.checkpoints({v.partition: v.topic_offset() for v in ready})
        for verifier in ready:
            self._check_last(verifier, there[verifier.partition])
        self._publish_stops()
        signed: list[tuple[PartitionVerifier, Sealed]] = []
        for verifier in ready:
            if verifier.may_sign():
                draft = verifier.draft(self._clock.now_ms(), self._key.key_id)
                sealed = checkpoints.seal(
                    draft, self._key, lambda each: self._codec.encode(CHECKPOINTS, each)
                )
                signed.append((verifier, sealed))
        if signed:
            self._commit(signed)
        unsigned = sum(v.events_unsigned for v in self._partitions.values())
        self._metrics.unsigned.set(unsigned)
        return len(signed)

    def _begin_anew(self) -> None:
        log.warning("verifier_starts_again", why="a recovery or a ruling")
        self.open()

    def _follow_control(self) -> bool:
        """Read new control records; True if there was a recovery or ruling since the partitions
        were opened.
        """
        read = self._journal.control(self._control_next)
        for offset, value, appended_at in read:
            self._control.apply(offset, value, appended_at)
            self._context.named.look(self._control)
            self._control_next = offset + 1
        if read:
            self._context.follow(self._control)
        return self._times_let_go_on() != self._let_go_on

    def _times_let_go_on(self) -> int:
        """The number of recoveries and rulings so far."""
        return len(self._control.recoveries) + len(self._control.dispositions)

    def _check_bounds(self) -> None:
        bounds, outcomes = self._journal.bounds(EVENTS), self._journal.bounds(OUTCOMES)
        lag = 0
        for number, verifier in self._partitions.items():
            low, end = bounds[number]
            lag += max(0, end - verifier.next_offset)
            self._delay.look(number, end, verifier.next_offset)
            if verifier.problem is None:
                self._found(verifier.bounds(low, end, outcomes[number % self._outcomes_count][1]))
        self._metrics.lag.set(lag)

    def _commit(self, signed: Sequence[tuple[PartitionVerifier, Sealed]]) -> None:
        offsets = self._journal.publish(
            [
                (CHECKPOINTS, v.partition, str(v.partition).encode(), sealed.raw)
                for v, sealed in signed
            ]
        )
        for (verifier, sealed), offset in zip(signed, offsets, strict=True):
            self._found(verifier.committed(offset, sealed))
            self._metrics.checkpoints.inc()
            self._metrics.signed_at.set(sealed.checkpoint.signed_at / MS_PER_S)

    def _check_last(self, verifier: PartitionVerifier, there: Iterator[RawCheckpoint]) -> None:
        """The last checkpoint on the topic must be ours, byte for byte."""
        expected = verifier.expected_last()
        if expected is not None:
            found = next(there, None)
            if found != expected:
                why = "there is none" if found is None else "it has other bytes than ours"
                self._found(verifier.foreign_checkpoint(expected[0], why))
                return
        foreign = next(there, None)
        if foreign is not None:
            self._found(verifier.foreign_checkpoint(foreign[0], "not written by this verifier"))

    # -- problems ----------------------------------------------------------------------------------

    def _found(self, problem: Problem | None) -> None:
        """A failed proof: see Stops."""
        if problem is not None and self._stops.found(problem):
            self._metrics.problems.labels(problem.kind).inc()
            self._metrics.broken.set(len(self.problems()))

    def _publish_stops(self) -> None:
        open_ones = [each.stop_id for each in self._control.stops()]
        for stop in self._stops.due(open_ones, self._control_next):
            raw = self._codec.encode(CONTROL, stop)
            (offset,) = self._journal.publish([(CONTROL, 0, None, raw)])
            self._stops.published(stop, offset)

    def problems(self) -> dict[int, Problem]:
        """The first problem of each partition with problems."""
        return {n: v.problem for n, v in self._partitions.items() if v.problem is not None}

    def verified(self) -> dict[int, int]:
        """The last verified offset by partition; -1 when there is none."""
        return {n: v.verified_offset for n, v in self._partitions.items()}
