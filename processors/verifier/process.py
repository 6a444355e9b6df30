"""`npp run verifier`: checks the chain of everything new on the journal, then signs checkpoints.

It has its own key, its own heads and one transactional id for the whole journal: a second verifier
takes over and the first ends, so two cannot fork the checkpoints. A problem is a STOP, a metric
and a critical log line; it goes on verifying, and never signs past a problem.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from control.fold import Control
from core.records import Checkpoint, ProcessingStopped
from engine.clock import MS_PER_S, Clock
from engine.errors import Abort, Exit, Rebuild
from engine.records import LogRecord
from evidence import chain, checkpoints
from evidence.chain import Break
from evidence.checkpoints import Sealed
from evidence.keys import Keyring, SigningKey
from evidence.outcomes import operator_outcome
from processors.verifier.partition import (
    LOG_START_LOST,
    LOG_TAIL_LOST,
    PartitionVerifier,
    Problem,
    RawCheckpoint,
)
from processors.verifier.store import VerifierStore
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS

log = structlog.get_logger("npp.verifier")

CHECKPOINT_INTERVAL_S: Final = 10.0
CHECKPOINT_EVENTS_MAX: Final = 10_000
POLL_WAIT_S: Final = 0.2
WAITING_MAX: Final = 20_000  # events that wait for outcomes which a checkpoint covers
REOPEN_PAUSE_S: Final = 1.0
REOPENS_IN_A_ROW_MAX: Final = 30  # half a minute without one good round: the supervisor's turn
REPORTED_MAX: Final = 1_000  # problems told one by one; by then everything stands still
OFFSETS_LOST: Final = "OFFSETS_LOST"  # the engine's word for a position that is off the log
ACTOR: Final = "verifier"
PROBLEM_KINDS: Final = (
    chain.FOREIGN_EVENT,
    chain.SEQUENCE_GAP,
    chain.SEQUENCE_REPEATED,
    chain.PREVIOUS_HASH,
    checkpoints.UNREADABLE,
    checkpoints.WRONG_PARTITION,
    checkpoints.UNKNOWN_KEY,
    checkpoints.SIGNATURE,
    checkpoints.KEY_PERIOD,
    checkpoints.NUMBER,
    checkpoints.PREVIOUS,
    checkpoints.RANGE,
    checkpoints.LEAVES,
    checkpoints.ROOT,
    checkpoints.MISSING,
    checkpoints.ALTERED,
    LOG_TAIL_LOST,
    LOG_START_LOST,
)

# (topic, partition, key, value)
Publication = tuple[str, int, bytes | None, bytes]


class VerifierLog(Protocol):
    """What the verifier needs of Kafka. Offsets are the log's own; reading is read_committed."""

    def take(self) -> None:
        """Take the transactional id: any other verifier is fenced from here on."""

    def partitions(self) -> int:
        """Partitions of the journal, and so of the checkpoint topic."""

    def bounds(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """First offset and next offset to be written, open transactions included, by partition."""

    def checkpoints(self, starts: Mapping[int, int]) -> Mapping[int, Iterator[RawCheckpoint]]:
        """Checkpoints from an offset of each partition to its end as it stands now."""

    def control(self, start: int) -> Sequence[tuple[int, bytes, int]]:
        """Offsets and values of the control topic from `start` to its end as it stands now."""

    def outcomes_partitions(self) -> int:
        """Partitions of the outcomes topic."""

    def follow(self, start: Mapping[int, int], outcomes: Mapping[int, int]) -> None:
        """Read the journal and the outcomes from these offsets from now on."""

    def poll(self, wait_s: float) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        """New journal records by partition, and the ends of partitions read to their end.

        Raises Exit OFFSETS_LOST when a position is no longer on the log.
        """

    def poll_outcomes(
        self, wait_s: float
    ) -> tuple[Mapping[int, Sequence[LogRecord]], Mapping[int, int]]:
        """The same of the outcomes."""

    def publish(self, records: Sequence[Publication]) -> list[int]:
        """All of them in one transaction; their offsets.

        Raises Rebuild or Abort when it is not known or did not happen, Exit when fenced.
        """

    def close(self) -> None:
        """Give everything back."""


class VerifierMetrics:
    """Counts of the verifier; every kind of problem starts at zero. No payment id in a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = Counter("npp_verifier_events", "Events verified.", registry=registry)
        self.checkpoints = Counter(
            "npp_verifier_checkpoints", "Checkpoints signed and committed.", registry=registry
        )
        self.problems = Counter(
            "npp_verifier_problems", "Failed proofs, by kind.", ["kind"], registry=registry
        )
        self.unsigned = Gauge(
            "npp_verifier_unsigned_events",
            "Events that no checkpoint covers yet.",
            registry=registry,
        )
        self.broken = Gauge(
            "npp_verifier_broken_partitions", "Partitions that are not signed.", registry=registry
        )
        self.signed_at = Gauge(
            "npp_verifier_last_checkpoint_seconds",
            "Time of the last checkpoint.",
            registry=registry,
        )
        for kind in PROBLEM_KINDS:
            self.problems.labels(kind)


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
        meanwhile: Callable[[], None] = lambda: None,
        interval_s: float = CHECKPOINT_INTERVAL_S,
        events_max: int = CHECKPOINT_EVENTS_MAX,
    ) -> None:
        self._journal = journal
        self._codec = codec
        self._store = store
        self._key = key
        self._keyring = keyring
        self._clock = clock
        self._metrics = metrics
        self._partition_of = partition_of
        self._meanwhile = meanwhile  # called between steps: what else this process watches
        self._interval_s = interval_s
        self._events_max = events_max
        self._partitions: dict[int, PartitionVerifier] = {}
        self._unpublished: dict[str, ProcessingStopped] = {}
        self._reported: set[tuple[str, int, int]] = set()
        self._round_s = 0.0
        self._stop = threading.Event()
        self._control = Control(codec.decode)
        self._control_next = 0
        self._outcomes_count = 1
        self.caught_up = False

    # -- life --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End after the current step; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Verify and sign until `stop`. A doubtful transaction is resolved by opening anew.

        Raises Exit when another verifier has taken over, or Kafka does not allow what is needed.
        """
        reopens = 0
        while not self._stop.is_set():
            try:
                self.open()
                while not self._stop.is_set():
                    self._meanwhile()
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
        """Fence any other verifier, then begin where the store and the topic say."""
        self._journal.take()
        self._follow_control()
        count = self._journal.partitions()
        self._outcomes_count = self._journal.outcomes_partitions()
        bounds = self._journal.bounds(EVENTS)
        self.caught_up = False
        self._partitions = {
            number: PartitionVerifier(
                number,
                store=self._store,
                keyring=self._keyring,
                decode=self._decode_checkpoint,
                partition_of=lambda key: self._partition_of(key, count),
                recovery_points=self._control.recovery_points(number),
                outcomes_partition=number % self._outcomes_count,
            )
            for number in range(count)
        }
        recorded = self._journal.checkpoints(
            {number: verifier.topic_offset() for number, verifier in self._partitions.items()}
        )
        for number, verifier in self._partitions.items():
            self._found(verifier.resume(recorded[number]) or verifier.bounds(*bounds[number]))
        self._publish_stops()
        self._journal.follow(
            {
                number: min(max(verifier.next_offset, bounds[number][0]), bounds[number][1])
                for number, verifier in self._partitions.items()
            },
            self._outcomes_from(),
        )
        self._round_s = self._clock.monotonic_s()

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

    def step(self, wait_s: float) -> None:
        """Verify what is there; sign when the interval is over or enough events came."""
        full = sum(each.waiting() for each in self._partitions.values()) >= WAITING_MAX
        self._read_outcomes(wait_s if full else 0.0)
        batches, ends = ({}, {}) if full else self._journal.poll(wait_s)
        for number, records in batches.items():
            for record in records:
                self._partitions[number].feed(record.offset, record.key, record.value)
            self._metrics.events.inc(len(records))
        for number, end in ends.items():
            self._partitions[number].reached(end)
        for verifier in self._partitions.values():
            for problem in verifier.advance():
                self._found(problem)
        self.caught_up = not batches and not full
        self._publish_stops()
        due = self._clock.monotonic_s() - self._round_s >= self._interval_s
        if due or any(p.events_unsigned >= self._events_max for p in self._partitions.values()):
            self.sign_round()

    # -- signing -----------------------------------------------------------------------------------

    def sign_round(self) -> int:
        """Check the log's ends and each last checkpoint on the topic, then sign what is new."""
        self._round_s = self._clock.monotonic_s()
        if self._follow_control():
            log.warning("verifier_begins_anew", why="two persons let the log go on after a loss")
            self.open()
            return 0
        self._check_bounds()
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

    def _follow_control(self) -> bool:
        """Read what is new on the control topic; True when two persons have recovered since."""
        before = len(self._control.recoveries)
        for offset, value, appended_at in self._journal.control(self._control_next):
            self._control.apply(offset, value, appended_at)
            self._control_next = offset + 1
        return len(self._control.recoveries) != before

    def _check_bounds(self) -> None:
        for number, (low, end) in self._journal.bounds(EVENTS).items():
            verifier = self._partitions[number]
            if verifier.problem is None:
                self._found(verifier.bounds(low, end))

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
        """The last checkpoint on the topic must be ours, byte for byte, and nothing after it."""
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
        """A failed proof: metric, critical log line, and one STOP per partition and place."""
        if problem is None:
            return
        place = problem.offset if isinstance(problem, Break) else problem.number
        name = (problem.kind, problem.partition, place)
        if name in self._reported or len(self._reported) >= REPORTED_MAX:
            return
        self._reported.add(name)
        self._metrics.problems.labels(problem.kind).inc()
        self._metrics.broken.set(sum(v.problem is not None for v in self._partitions.values()))
        log.critical(
            "proof_failed",
            kind=problem.kind,
            partition=problem.partition,
            payment=problem.payment if isinstance(problem, Break) else None,
            sequence=problem.sequence if isinstance(problem, Break) else None,
            offset=problem.offset if isinstance(problem, Break) else None,
            checkpoint=None if isinstance(problem, Break) else problem.number,
            first_difference=problem.first_difference,
        )
        stop_id = f"verifier-{problem.kind}-{problem.partition}-{place}"
        self._unpublished[stop_id] = ProcessingStopped(
            stop_id=stop_id,
            reason=problem.sentence(),
            automatic=True,
            stopped_at=self._clock.now_ms(),
            actor=ACTOR,
            cause=problem.kind,
        )

    def _publish_stops(self) -> None:
        for stop_id, stop in list(self._unpublished.items()):
            if not self._store.stop_published(stop_id):
                self._journal.publish([(CONTROL, 0, None, self._codec.encode(CONTROL, stop))])
                self._store.remember_stop(stop_id)
                log.critical("processing_stopped", stop_id=stop_id, reason=stop.reason)
            del self._unpublished[stop_id]

    def problems(self) -> dict[int, Problem]:
        """The first problem of each partition that has one."""
        return {n: v.problem for n, v in self._partitions.items() if v.problem is not None}

    def verified(self) -> dict[int, int]:
        """The last verified offset by partition; -1 when there is none."""
        return {n: v.verified_offset for n, v in self._partitions.items()}

    def _decode_checkpoint(self, raw: bytes) -> Checkpoint:
        try:
            record = self._codec.decode(CHECKPOINTS, raw, None)
        except Undecodable as error:
            raise ValueError(error.reason) from error
        if not isinstance(record, Checkpoint):
            raise ValueError(f"a {type(record).__name__} on the checkpoint topic")
        return record
