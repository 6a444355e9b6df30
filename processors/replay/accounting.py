"""Marks what accounts for each input during a replay, and reports inconsistencies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from control import quarantine
from core.payment.events import Event, ProcessingSuspended
from core.records import Outcome
from engine.ports import TopicPartition
from engine.records import LogRecord
from processors.replay import accounts
from processors.replay.accounts import Accounts
from processors.replay.reading import Reading
from processors.replay.report import Failure, Report
from schemas.codec import Codec
from schemas.errors import Undecodable
from schemas.topology import EVENTS, OUTCOMES, QUARANTINE

UNACCOUNTED: Final = "UNACCOUNTED_INPUT"
ACCOUNTED_WRONGLY: Final = "ACCOUNTED_WRONGLY"
UNREADABLE_RECORD: Final = "UNREADABLE_RECORD"
_FLAGS: Final = {
    "ACCEPTED": accounts.ACCEPTED,
    "MISROUTED": accounts.SET_ASIDE,
    "QUARANTINED": accounts.SET_ASIDE,
}


class Accounting:
    """The accounts of the inputs of some partitions."""

    def __init__(
        self, reading: Reading, codec: Codec, report: Report, numbers: Sequence[int]
    ) -> None:
        self._reading = reading
        self._codec = codec
        self._report = report
        self._numbers = numbers
        self._index = {topic: index for index, topic in enumerate(reading.inputs)}
        self._accounts = {
            number: Accounts(reading.inputs, self._ends(number)) for number in numbers
        }
        self._taken: list[tuple[str, int, int, int]] = []

    def _ends(self, number: int) -> dict[str, int]:
        return {topic: self._reading.ends.get((topic, number), 0) for topic in self._reading.inputs}

    # -- marking -----------------------------------------------------------------------------------

    def input(self, index: int, record: LogRecord) -> None:
        """An input is on its topic."""
        self._accounts[record.partition].mark(index, record.offset, accounts.INPUT)

    def event(self, event: Event, *, taken: bool = False) -> None:
        """An event accounts for the input that it names as its cause. An event ruled
        TAKEN_AS_RECORDED counts only if nothing else accounts for the input, because it may name
        any input, even a missing one.
        """
        flag = accounts.EVENTS
        if isinstance(event, ProcessingSuspended):
            flag |= accounts.SUSPENDED
        cause = event.header.cause
        if taken:
            self._taken.append((cause.topic, cause.partition, cause.offset, flag))
        else:
            self._mark(cause.topic, cause.partition, cause.offset, flag)

    def outcome(self, record: LogRecord, *, wanted: bool = True) -> Outcome | None:
        """An outcome accounts for its input, if it is `wanted`. Returns it, or None if it is
        unreadable or its input is not in these partitions.
        """
        try:
            outcome = self._codec.decode(OUTCOMES, record.value, record.headers)
        except Undecodable as error:
            if wanted:
                self._unreadable(record, error.reason)
            return None
        cause = outcome.cause
        if not wanted:
            return outcome if cause.partition in self._accounts else None
        flag = accounts.OUTCOME | _FLAGS.get(outcome.result, 0)
        if not self._mark(cause.topic, cause.partition, cause.offset, flag):
            return None
        return outcome  # type: ignore[no-any-return]

    def quarantined(self, record: LogRecord) -> None:
        """A quarantined record accounts for its original input."""
        try:
            origin = quarantine.parse(record.headers)
        except ValueError as error:
            self._unreadable(record, str(error))
            return
        if origin.offset >= 0:
            self._mark(origin.topic, origin.partition, origin.offset, accounts.QUARANTINE)

    def _mark(self, topic: str, partition: int, offset: int, flag: int) -> bool:
        account, index = self._accounts.get(partition), self._index.get(topic)
        if account is None or index is None:
            return False
        account.mark(index, offset, flag)
        return True

    def _unreadable(self, record: LogRecord, why: str) -> None:
        """Reported once in a replay, although several parts may read a work topic's partition."""
        if self._reading.only is None and record.partition not in self._accounts:
            return
        self._report.redecide.fail(
            Failure(UNREADABLE_RECORD, None, 0, record.topic, record.partition, record.offset, why)
        )

    # -- the end -----------------------------------------------------------------------------------

    def finish(self, before: Mapping[TopicPartition, int]) -> None:
        """Report. Before reporting an inconsistency, read the records written since `before`: on a
        live log the missing record may have been written meanwhile.
        """
        self._mark_taken()
        if any(True for _ in self._problems()):
            self._read_tails(before)
        for account in self._accounts.values():
            for index in range(len(self._reading.inputs)):
                self._count(account, index)
        for kind, topic, number, offset, why in self._problems():
            self._report.inputs.unaccounted += 1
            self._report.redecide.fail(
                Failure(kind, self._report.payment, 0, topic, number, offset, why)
            )

    def _mark_taken(self) -> None:
        for topic, partition, offset, flag in self._taken:
            account, index = self._accounts.get(partition), self._index.get(topic)
            if account is not None and index is not None and account.lacks_events(index, offset):
                account.mark(index, offset, flag)

    def _problems(self) -> Iterator[tuple[str, str, int, int, str]]:
        for number, account in self._accounts.items():
            for index, topic in enumerate(self._reading.inputs):
                for offset in account.unaccounted(index):
                    why = "no event, outcome or quarantined record names this input"
                    yield UNACCOUNTED, topic, number, offset, why
                for offset, why in account.wrong(index):
                    yield ACCOUNTED_WRONGLY, topic, number, offset, why

    def _read_tails(self, before: Mapping[TopicPartition, int]) -> None:
        reading, numbers = self._reading, self._numbers
        for topics in ([OUTCOMES, QUARANTINE], [EVENTS], reading.inputs):
            reading.ends.update(reading.ends_now(topics, numbers))
        for number, account in self._accounts.items():
            account.grow(self._ends(number))
        for index, topic in enumerate(reading.inputs):
            for record in reading.wanted(topic, numbers, before):
                self.input(index, record)
        for record in reading.wanted(EVENTS, numbers, before):
            try:
                self.event(self._codec.decode(EVENTS, record.value, record.headers))
            except Undecodable:
                continue  # the next replay's fold names it
        for record in reading.wanted(OUTCOMES, numbers, before):
            self.outcome(record)
        for record in reading.wanted(QUARANTINE, numbers, before):
            self.quarantined(record)

    def _count(self, account: Accounts, index: int) -> None:
        read, by_events, by_outcome, by_quarantine = account.counts(index)
        inputs = self._report.inputs
        inputs.read += read
        inputs.by_events += by_events
        inputs.by_outcome += by_outcome
        inputs.by_quarantine += by_quarantine
        inputs.pending += account.pending(index)
