"""Verification of one journal partition: its chain, its checkpoints, and the next one to sign.

No Kafka and no clock. A partition with a problem is still verified but never signed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from core.control_records import FOREIGN
from core.records import Checkpoint
from core.recovery_point import RecoveryPoint, is_void
from engine.ports import RecordPosition
from engine.records import LogRecord
from evidence import checkpoints
from evidence.chain import Break, ChainChecker, Head, Link, read_cause
from evidence.checkpoints import CheckpointChain, CheckpointProblem, End, Range, Sealed
from evidence.keys import Keyring
from evidence.merkle import LeafData
from evidence.outcomes import OperatorOutcome
from processors.verifier.heads import LifecycleHeads
from processors.verifier.judge import Finding, Judge
from processors.verifier.store import Mark, VerifierStore

LOG_TAIL_LOST: Final = "LOG_TAIL_LOST"
LOG_START_LOST: Final = "LOG_START_LOST"
OUTCOMES_LOST: Final = "OUTCOMES_LOST"
UNAUTHORIZED: Final = "UNAUTHORIZED_STATE_MUTATION"
END: Final = 2**63 - 1

Problem = Break | CheckpointProblem
RawCheckpoint = tuple[int, bytes]  # offset on the checkpoint topic, raw value


class PartitionVerifier:
    """Heads of one partition, from its own store's last checkpoint on."""

    def __init__(
        self,
        partition: int,
        *,
        store: VerifierStore,
        keyring: Keyring,
        decode: Callable[[bytes], Checkpoint],
        partition_of: Callable[[bytes], int] | None = None,
        recovery_points: Sequence[RecoveryPoint] = (),
        rulings: int = 0,
        outcomes_partition: int = 0,
        judge_of: Callable[[dict[str, int]], Judge],
        ends: Callable[[], tuple[int, int]] = lambda: (0, 0),
        states_max: int = 1_000,
    ) -> None:
        """`judge_of` creates the judge, given the last inputs that caused an event, by topic;
        `ends` returns the current ends of the partitions of journal and lifecycle topic; `rulings`:
        the number of rulings on its records; `states_max`: payments whose state is in memory.
        """
        self._ends = ends
        self._states_max = states_max
        self._outcomes_partition = outcomes_partition
        self.partition = partition
        self.problem: Problem | None = None  # the first one; from then on nothing is signed
        self.next_offset = 0  # of the journal: everything before it is verified
        self.next_outcome = 0
        self.events_unsigned = 0
        self.verified_offset = -1
        self._store = store
        self._decode = decode
        self._events: deque[LogRecord] = deque()  # read, to be taken
        self._outcomes: deque[OperatorOutcome] = deque()
        self._read_to = self._outcomes_read_to = 0  # everything before it has been read
        self._touched = Range(self.leaf)
        self._recorded: Iterator[RawCheckpoint] = iter(())
        # on the topic, not yet confirmed by the log
        self._awaited: tuple[int, Sealed] | None = None
        self._mark = store.mark(partition)
        if self._mark is not None and is_void(decode(self._mark.raw), recovery_points):
            store.forget(partition)  # heads of lost events: from offset zero again
            self._mark = None
        self.judge = judge_of({} if self._mark is None else self._mark.last_causes)
        self.heads = LifecycleHeads(self.judge, 0, 0)  # `follow_lifecycle` says where
        self._at_end = False
        # A recovery corrects lifecycle records before the log continues.
        self._recovered = bool(recovery_points) or rulings > 0
        self._seen: RawCheckpoint | None = None  # the topic's last checkpoint that was good
        self._checker = ChainChecker(partition, self, partition_of=partition_of)
        self._chain = CheckpointChain(partition, keyring, recovery_points=recovery_points)

    # -- the checker's heads -----------------------------------------------------------------------

    def get(self, payment: str) -> Head | None:
        """See evidence.chain.Heads."""
        leaf = self._touched.get(payment) or self.leaf(payment)
        return None if leaf is None or not leaf.sequence else Head(leaf.sequence, leaf.hash)

    def put(self, payment: str, head: Head) -> None:
        """See evidence.chain.Heads."""
        self._touched.touch(payment, head.sequence, head.hash)

    def leaf(self, payment: str) -> LeafData | None:
        """The payment as of the last checkpoint."""
        return self._store.get(self.partition, payment)

    # -- where to begin ----------------------------------------------------------------------------

    def topic_offset(self) -> int:
        """Where to start reading the checkpoint topic: its last good one, or the beginning."""
        if self._seen is not None:
            return self._seen[0]
        return 0 if self._mark is None else self._mark.topic_offset

    def resume(self, recorded: Iterator[RawCheckpoint]) -> Problem | None:
        """Compare our last checkpoint with the one on the topic; later ones wait to be confirmed.

        `recorded` yields the topic's checkpoints from `topic_offset` to its end.
        """
        self._store.clear_unsigned(self.partition)
        self._recorded = recorded
        if self._mark is not None:
            own = Sealed(self._decode(self._mark.raw), self._mark.raw)
            self._chain.last = self._chain.covering = own
            self._seen = (self._mark.topic_offset, own.raw)
            self.next_offset = self._read_to = own.checkpoint.to_offset + 1
            self.next_outcome = self._outcomes_read_to = own.checkpoint.to_outcome + 1
            self.verified_offset = own.checkpoint.to_offset
            found = next(self._recorded, None)
            if found is None or found[1] != own.raw:
                kind = checkpoints.MISSING if found is None else checkpoints.ALTERED
                return self._fail(
                    kind, own.checkpoint.number, "our last checkpoint is not the one on the topic"
                )
        return self._await_next()

    def follow_lifecycle(self, end: int) -> int:
        """Where the lifecycle topic, which ends at `end` now, has to be read from."""
        known = -1 if self._mark is None else self._mark.lifecycle
        lenient = known < 0 or self._awaited is not None or self._recovered
        start = min(max(known, 0), end)
        self.heads = LifecycleHeads(self.judge, start, end if lenient else start, self._ends)
        return start

    def bounds(self, low: int, end: int, outcomes_end: int) -> Problem | None:
        """Check the log's own ends: neither its front nor what a checkpoint covers may be gone, of
        the journal and of the outcomes.
        """
        last = self._awaited[1] if self._awaited is not None else self._chain.covering
        if last is not None and end <= last.checkpoint.to_offset:
            return self._fail(
                LOG_TAIL_LOST,
                last.checkpoint.number,
                f"the log ends before offset {end}, the checkpoint covers up to "
                f"{last.checkpoint.to_offset}: committed payments have vanished",
            )
        if end < self.next_offset:
            return self._fail(
                LOG_TAIL_LOST,
                0 if last is None else last.checkpoint.number,
                f"the log ends before offset {end}, it was verified before {self.next_offset}: "
                "committed payments have vanished",
            )
        covered = -1 if last is None else last.checkpoint.to_outcome
        if outcomes_end < max(self.next_outcome, covered + 1):
            return self._fail(
                OUTCOMES_LOST,
                0 if last is None else last.checkpoint.number,
                f"the outcomes end before offset {outcomes_end}, they were read before "
                f"{self.next_outcome} and are covered up to {covered}: what was refused has "
                "vanished",
            )
        if low > self.next_offset:
            return self._fail(
                LOG_START_LOST, 0, f"the log begins at offset {low}, expected {self.next_offset}"
            )
        return None

    # -- following the log -------------------------------------------------------------------------

    def feed(self, record: LogRecord) -> None:
        """The next record of the journal has been read."""
        self._events.append(record)
        self._read_to = record.offset + 1
        self._at_end = False

    def feed_outcome(self, outcome: OperatorOutcome) -> None:
        """The next outcome of an operator command has been read."""
        if outcome.offset >= self.next_outcome:
            self._outcomes.append(outcome)
            self._outcomes_read_to = outcome.offset + 1

    def reached(self, end: int) -> None:
        """Every record of the journal before `end` has been read."""
        self._read_to = max(self._read_to, end)
        self._at_end = True

    def places(self) -> Iterator[RecordPosition]:
        """The positions of the inputs of the events to decide again."""
        if self._awaited is not None and self.problem is None:
            return
        for record in self._events:
            try:
                cause = read_cause(record.value or b"")
            except ValueError:
                continue
            if cause.partition == self.partition:
                yield cause.topic, cause.partition, cause.offset

    def is_ready(self) -> bool:
        """Whether events wait only for their inputs."""
        return bool(self._events) and self._awaited is None

    def outcomes_reached(self, end: int) -> None:
        """Every outcome before `end` has been read."""
        self._outcomes_read_to = max(self._outcomes_read_to, end)

    def waiting(self) -> int:
        """The number of events that wait for outcomes that a checkpoint covers."""
        return len(self._events)

    def advance(self, now_s: float) -> Iterator[Problem]:
        """Verify the records read so far: up to the end of the topic's next checkpoint, whose root
        must then match, and so on; after the last one everything is decided again.
        """
        yield from self._advance()
        if self._at_end and not self._events:
            yield from self._not_ours(self.judge.at_end())
        yield from self.compare_heads(now_s)

    def compare_heads(self, now_s: float) -> Iterator[Problem]:
        """Compare the lifecycle records that were read, once the states are known. If the log
        itself is lost there is nothing to compare with, and a recovery corrects them first.
        """
        if self.problem is not None and self.problem.kind in (LOG_TAIL_LOST, LOG_START_LOST):
            return
        if self._awaited is None or self.problem is not None:
            caught_up = self._at_end and not self._events
            events_to = self._read_to if caught_up else None
            found = self.heads.compare(self._checker.broken, events_to, now_s)
            yield from self._not_ours(list(found))

    def settled(self) -> bool:
        """Whether the lifecycle record of every processed event has arrived."""
        return not self.judge.outstanding

    def _advance(self) -> Iterator[Problem]:
        while True:
            awaited = None if self._awaited is None or self.problem else self._awaited[1].checkpoint
            last = END if awaited is None else awaited.to_offset
            last_outcome = END if awaited is None else awaited.to_outcome
            while self._outcomes and self._outcomes[0].offset <= last_outcome:
                outcome = self._outcomes.popleft()
                self._touched.answer(outcome.payment, outcome.hash)
                self.next_outcome = outcome.offset + 1
            while self._events and self._events[0].offset <= last:
                yield from self._take(self._events.popleft(), signed=awaited is not None)
            self.next_offset = max(self.next_offset, min(self._read_to, last + 1))
            self.next_outcome = max(
                self.next_outcome, min(self._outcomes_read_to, last_outcome + 1)
            )
            if awaited is None or self.problem is not None:
                return
            if self.next_offset <= last or self.next_outcome <= last_outcome:
                return
            problem = self._confirm()
            if problem is not None:
                yield problem
            if self._awaited is None:
                return  # from here on inputs are needed: see `places`

    def _take(self, record: LogRecord, *, signed: bool) -> Iterator[Problem]:
        offset, value = record.offset, record.value or b""
        self.next_offset, self.verified_offset = offset + 1, offset
        self.events_unsigned += 1
        ruled = self.judge.ruling(offset, value)
        if ruled is not None:
            payment = ruled.request.payment_intent_id
            if payment:  # else the record names none
                self._touched.rule(payment, ruled.request_hash, ruled.ruled_at)
            if ruled.ruling == FOREIGN:
                return
        found = self._checker.feed(offset, record.key, record.value)
        if isinstance(found, Link):
            payment = found.payment_intent_id
            if ruled is not None:
                yield from self._not_ours(self.judge.take(payment, offset, value))
                return
            if signed:
                why = self.judge.fold(payment, value)
                findings = [] if why is None else [Finding(payment, offset, why)]
            else:
                findings = self.judge.decide(payment, offset, value)
            yield from self._not_ours(findings)
        elif found is not None:
            self.judge.forget(found.payment)
            self.problem = self.problem or found
            yield found
        if len(self.judge.fresh) > self._states_max:
            self._limit_memory()

    def _limit_memory(self) -> None:
        """Move states to disk. The next checkpoint needs the heads; past a break there is none."""
        heads = {} if self.problem is None else self._touched.by_payment()
        self._store.put_unsigned(self.partition, heads, self.judge.move_out())
        if self.problem is not None:
            self._touched.clear()

    def _not_ours(self, findings: Sequence[Finding]) -> Iterator[Problem]:
        """Events that recorded inputs do not give: their payments are broken from there."""
        for finding in findings:
            leaf = self._touched.get(finding.payment) or self.leaf(finding.payment)
            sequence = 0 if leaf is None else leaf.sequence
            found = Break(
                UNAUTHORIZED, finding.payment, sequence, self.partition, finding.offset, finding.why
            )
            self._checker.broken.setdefault(finding.payment, found)
            self.judge.forget(finding.payment)
            self.problem = self.problem or found
            yield found

    def _confirm(self) -> Problem | None:
        """The topic's next checkpoint is completely read: its root must match the log."""
        assert self._awaited is not None
        at, sealed = self._awaited
        self.problem = checkpoints.root_problem(sealed.checkpoint, self._touched)
        if self.problem is None:
            self._signed(at, sealed)
            self._await_next()
        return self.problem

    def _await_next(self) -> Problem | None:
        """The topic's next checkpoint that is not void; void ones are only links."""
        self._awaited = None
        for at, raw in self._recorded:
            try:
                sealed = Sealed(self._decode(raw), raw)
            except ValueError as error:
                last = self._chain.last
                number = 1 if last is None else last.checkpoint.number + 1
                return self._fail(checkpoints.UNREADABLE, number, f"topic offset {at}: {error}")
            problem = self._chain.feed(sealed)
            if problem is not None:
                self.problem = self.problem or problem
                return problem
            self._seen = (at, raw)
            if self._chain.covering is sealed:
                self._awaited = (at, sealed)
                return None
        return None

    # -- signing -----------------------------------------------------------------------------------

    def may_sign(self) -> bool:
        """Whether there are new events, no problem, and every checkpoint confirmed."""
        waits = self._awaited is not None or not self.settled() or self.judge.is_running()
        return self.problem is None and not waits and len(self._touched) > 0

    def draft(self, signed_at: int, key_id: str) -> Checkpoint:
        """The next checkpoint over everything fed since the last, unsigned."""
        if not self.may_sign():
            raise ValueError(f"partition {self.partition} has nothing that may be signed")
        begin = self._chain.begin()
        end = End(
            max(self.verified_offset, begin.offset - 1),
            max(self.next_outcome, begin.outcome) - 1,
            self._outcomes_partition,
        )
        return checkpoints.build(
            self.partition, self._chain.last, self._touched, end, signed_at, key_id, begin
        )

    def committed(self, topic_offset: int, sealed: Sealed) -> Problem | None:
        """Our own checkpoint is on the topic: check it like any other, then write the store."""
        self.problem = self._chain.feed(sealed)
        if self.problem is None:
            self._signed(topic_offset, sealed)
        return self.problem

    def expected_last(self) -> RawCheckpoint | None:
        """The last good checkpoint and its offset on the topic, where it must be the last."""
        return self._seen

    def foreign_checkpoint(self, at: int, why: str) -> Problem:
        """The topic's last checkpoint is not ours."""
        last = self._chain.last
        number = 0 if last is None else last.checkpoint.number
        return self._fail(checkpoints.ALTERED, number, f"topic offset {at}: {why}")

    def _signed(self, at: int, sealed: Sealed) -> None:
        self._mark = Mark(at, sealed.raw, self.heads.known_to(), dict(self.judge.last_causes))
        self._seen = (at, sealed.raw) if self._seen is None or self._seen[0] < at else self._seen
        heads = self._touched.by_payment()
        self._store.commit(self.partition, self._mark, heads, self.judge.move_out())
        self._touched.clear()
        self.events_unsigned = 0

    def _fail(self, kind: str, number: int, difference: str) -> Problem:
        problem = CheckpointProblem(kind, self.partition, number, difference)
        self.problem = self.problem or problem
        return problem
