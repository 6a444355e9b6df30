"""The checkpoints in a replay: signatures, their own chain, and their roots against the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from core.dispositions import Disposition
from core.records import Checkpoint
from core.recovery_point import RecoveryPoint
from engine.records import LogRecord
from evidence import checkpoints
from evidence.chain import Link, event_hash
from evidence.checkpoints import CheckpointChain, CheckpointProblem, Range, Sealed
from evidence.keys import Keyring
from evidence.merkle import LeafData
from evidence.outcomes import OperatorOutcome
from processors.replay.report import Failure, Report
from schemas.topology import CHECKPOINTS

LOG_TAIL_LOST: Final = "LOG_TAIL_LOST"
NO_CHECKPOINTS: Final = "partitions without a checkpoint"
NO_KEYRING: Final = "signatures: no keyring was given"


class CheckpointedPartition:
    """One partition's checkpoints, read one by one while every journal event is fed."""

    def __init__(
        self,
        partition: int,
        keyring: Keyring | None,
        recorded: Iterator[LogRecord],
        decode: Callable[[LogRecord], Checkpoint],
        recovery_points: Sequence[RecoveryPoint] = (),
        answered: Sequence[OperatorOutcome] = (),
        rulings: Iterable[Disposition] = (),
    ) -> None:
        """`decode` raises ValueError for what is not a checkpoint. `answered`: the outcomes of this
        partition's operator commands, all of them in log order; `rulings`: of the control topic.
        """
        self.partition = partition
        self.good_end = 0  # the offset after the last checkpoint whose root matches the journal
        self._chain = CheckpointChain(partition, keyring, recovery_points=recovery_points)
        self._recorded = recorded
        self._decode = decode
        self._awaited: tuple[int, Sealed] | None = None
        self._answered = deque(answered)
        self._acted = {each.payment for each in answered}
        self._acted |= {each.request.payment_intent_id for each in rulings}
        self._known: dict[str, LeafData] = {}  # of those payments: other leaves are per range
        self._touched = Range(self._known.get)
        self._failure: Failure | None = None  # nothing after it can be judged
        self._roots: list[tuple[int, Failure]] = []  # wrong roots, each with its range's end
        self._confirmed = 0
        self._pull()

    def _pull(self) -> None:
        """The topic's next checkpoint that is not void, checked individually and against its
        chain.
        """
        self._awaited = None
        for record in self._recorded:
            try:
                sealed = Sealed(self._decode(record), record.value or b"")
            except ValueError as error:
                self._failure = self._fail(checkpoints.UNREADABLE, record.offset, 0, str(error))
                return
            problem = self._chain.feed(sealed)
            if problem is not None:
                self._failure = self._problem(record.offset, problem)
                return
            if self._chain.covering is sealed:
                self._awaited = (record.offset, sealed)
                return

    def event(self, offset: int, link: Link | None, value: bytes) -> None:
        """A record of the journal; `link` is None if it is not one of ours."""
        self._confirm(offset - 1)
        if link is not None:
            self._touched.touch(link.payment_intent_id, link.sequence, event_hash(value))

    def ruled(self, offset: int, ruling: Disposition) -> None:
        """Two people ruled on the record at this offset; call it before the record's `event`."""
        self._confirm(offset - 1)
        payment = ruling.request.payment_intent_id
        if payment:
            self._touched.rule(payment, ruling.request_hash, ruling.ruled_at)

    def finish(self, end: int, report: Report) -> None:
        """Every record below `end` was fed: add problems to the result."""
        self._confirm(end - 1)
        if self._failure is None and self._awaited is not None:
            offset, sealed = self._awaited
            self._failure = self._fail(
                LOG_TAIL_LOST,
                offset,
                sealed.checkpoint.number,
                f"the log ends before offset {end}, the checkpoint covers up to "
                f"{sealed.checkpoint.to_offset}",
            )
        strength = report.chain
        strength.checked += self._confirmed
        if report.base is not None:
            report.base[self.partition] = self.good_end
        for to_offset, failure in self._roots:
            past = report.is_past(self.partition, to_offset)
            (report.excused if past else strength).fail(failure)
        if self._failure is not None:
            strength.fail(self._failure)
        elif self._chain.last is None:
            strength.skip(NO_CHECKPOINTS)

    def _confirm(self, up_to: int) -> None:
        while self._failure is None and self._awaited is not None:
            offset, sealed = self._awaited
            to_offset = sealed.checkpoint.to_offset
            if to_offset > up_to:
                return
            while self._answered and self._answered[0].offset <= sealed.checkpoint.to_outcome:
                each = self._answered.popleft()
                self._touched.answer(each.payment, each.hash)
            problem = checkpoints.root_problem(sealed.checkpoint, self._touched)
            for leaf in self._touched.leaves():
                if leaf.payment_intent_id in self._acted:
                    self._known[leaf.payment_intent_id] = leaf
            self._touched.clear()
            if problem is None:
                self._confirmed += 1
                self.good_end = to_offset + 1
            else:
                self._roots.append((to_offset, self._problem(offset, problem)))
            self._pull()

    def _problem(self, offset: int, problem: CheckpointProblem) -> Failure:
        return self._fail(problem.kind, offset, problem.number, problem.first_difference)

    def _fail(self, kind: str, offset: int, number: int, difference: str) -> Failure:
        return Failure(
            kind, None, 0, CHECKPOINTS, self.partition, offset,
            f"checkpoint {number}: {difference}",
        )  # fmt: skip
