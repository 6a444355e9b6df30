"""Reads a topic without a consumer group, from given offsets: restore, control, replay, verifier,
show and tail.

It commits nothing and belongs to nobody. `read_all` ends at the ends captured when it started.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from engine.clients.membership import LOST_AFTER_S, BrokerLiveness, close_aside
from engine.clients.offset_answers import counts, earliest, latest, results
from engine.clients.partition_errors import Passed, ReaderErrors, Rest, go_on_behind
from engine.clock import Clock, SystemClock
from engine.errors import (
    Exit,
    PartitionError,
    Retry,
    Step,
    call,
    call_until,
    check_message_error,
    is_end_of_partition,
)
from engine.records import LogRecord, to_log_record

READ_COUNT: Final = 10_000
READ_WAIT_S: Final = 0.02
FETCH_WAIT_MS: Final = 10  # of readers that end: at the end the broker keeps each fetch that long
QUERY_S: Final = 10.0
ONCE_S: Final = 2.0
QUERY_DEADLINE_S: Final = 60.0
NO_PROGRESS_S_MAX: Final = 60.0
UNREADABLE: Final = "UNREADABLE"
TO_AN_END: Final = {"fetch.wait.max.ms": FETCH_WAIT_MS}
READING: Final = {  # what every reader of ours has in common
    "group.id": "npp-reader",  # the client wants a name; nothing is ever committed under it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.queue.backoff.ms": 10,
    "fetch.error.backoff.ms": 50,
    "fetch.max.bytes": 32 * 1024 * 1024,
}


class PartitionReader:
    """Some partitions of one topic, from explicit offsets."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        topic: str,
        start: Mapping[int, int],
        *,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
        errors: ReaderErrors | None = None,
        passed: Passed | None = None,
    ) -> None:
        """`start`: first offset by partition. `isolation`: read_committed or read_uncommitted.

        For one that ends at a known end, `extra` is TO_AN_END. With `errors` a partition that
        cannot be read on is noted there and the others go on; without, `read` raises Exit.
        `passed`: batches that two persons passed over.
        """
        self._passed = passed or {}
        self._topic = topic
        self._config = {
            **connection,
            **READING,
            "isolation.level": isolation,
            "max.partition.fetch.bytes": 8 * 1024 * 1024,
            "queued.max.messages.kbytes": 64 * 1024,
            **(extra or {}),
        }
        self._next = dict(start)
        self.trouble: PartitionError | None = None  # what the client said last of a partition
        self._unreadable: dict[int, PartitionError] = {}
        self._errors = errors
        if errors is not None:
            errors.forget()
        self._rest = None if errors is None else Rest(errors)
        self._liveness = BrokerLiveness(SystemClock())
        self._consumer = self._assigned()

    def _assigned(self) -> Consumer:
        consumer = Consumer(self._liveness.told_by(self._config))
        places = [ClientPartition(self._topic, n, offset) for n, offset in self._next.items()]
        call(Step.READ, consumer.assign, places)
        return consumer

    def read(self, count: int, wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        """Records by partition in order, and for partitions that came to their end that offset.

        A client that does not reach the brokers any more is replaced; an end may come again then.
        Raises Exit: UNREADABLE for a batch that no client can read (see `errors`), once what is
        before it was given; OFFSETS_LOST for a position that is not on the log.
        """
        for unreadable in self._unreadable.values():
            raise Exit(UNREADABLE, str(unreadable))
        batches: dict[int, list[LogRecord]] = {}
        ends: dict[int, int] = {}
        for message in call(Step.READ, self._consumer.consume, count, wait_s):
            error = message.error()
            if error is not None:
                if is_end_of_partition(error):
                    ends[_int(message.partition())] = _int(message.offset())
                else:
                    self._note(check_message_error(message))
                continue
            record = to_log_record(message)
            batch = batches.get(record.partition)
            if batch is None:
                batches[record.partition] = [record]
            else:
                batch.append(record)
        for number in self._next.keys() & batches.keys():
            self._next[number] = batches[number][-1].offset + 1
        if self._errors is not None and self._rest is not None:
            read = {n: records[-1].offset + 1 for n, records in batches.items()}
            self._errors.given({(self._topic, n): at for n, at in (read | ends).items()})
            self._rest.keep(self._consumer)
        if batches or ends:
            self._liveness.answered()
        elif self._liveness.lost(self._consumer.list_topics, self._topic):
            close_aside(self._consumer)
            self._consumer = self._assigned()
            self._liveness.answered()
            if self._rest is not None:
                self._rest.forget()
        return batches, ends

    def _note(self, error: PartitionError | None) -> None:
        if error is None:
            return
        after = go_on_behind(self._consumer, self._passed, error)
        if after is not None:
            self._next[error.partition] = after
            return
        self.trouble = error
        if self._errors is not None:
            self._errors.note(error)
        elif error.lasts:
            self._unreadable[error.partition] = error

    def stop(self, partition: int) -> None:
        """No more of this partition."""
        self._unreadable.pop(partition, None)
        if self._next.pop(partition, None) is not None:
            call(
                Step.READ,
                self._consumer.incremental_unassign,
                [ClientPartition(self._topic, partition)],
            )

    def close(self) -> None:
        """Give the client back."""
        self._consumer.close()


class LogEnds:
    """Asks the brokers where partitions begin and end."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        clock: Clock | None = None,
        deadline_s: float = QUERY_DEADLINE_S,
    ) -> None:
        """`deadline_s`: how long a question is asked again."""
        self._connection = {"log_level": 4, **connection}
        self._admin = call(Step.READ, AdminClient, self._connection)
        self._clock = clock or SystemClock()
        self._deadline_s = deadline_s
        self._unanswered_s: float | None = None
        self._replaced: AdminClient | None = None

    def query(
        self, partitions: Sequence[tuple[str, int]], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[tuple[str, int], int]:
        """Offsets by (topic, partition); asks again until the deadline. Raises Exit then."""
        deadline_s = self._clock.monotonic_s() + self._deadline_s
        return call_until(
            self._clock, deadline_s, Step.READ, self._asked, partitions, spec, isolation
        )

    def _asked(
        self, partitions: Sequence[tuple[str, int]], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[tuple[str, int], int]:
        try:
            return call(
                Step.READ,
                self._query,
                partitions,
                spec,
                isolation,
                min(QUERY_S, self._deadline_s),
            )
        except Retry:
            self._find_leaders()
            raise

    def _find_leaders(self) -> None:
        """Look all leaders up again: the client itself goes on asking an old one, or with an old
        epoch, for minutes. A client whom nobody has answered for LOST_AFTER_S is replaced.

        Raises any of the five meanings."""
        now_s = self._clock.monotonic_s()
        try:
            call(Step.READ, self._admin.list_topics, timeout=ONCE_S)
            self._unanswered_s = None
        except Retry:
            self._unanswered_s = self._unanswered_s or now_s
            if now_s - self._unanswered_s >= LOST_AFTER_S:
                # The old one ends what is still asked of it.
                self._replaced, self._admin = self._admin, AdminClient(self._connection)
                self._unanswered_s = None
            raise

    def _query(
        self,
        partitions: Sequence[tuple[str, int]],
        spec: OffsetSpec,
        isolation: IsolationLevel,
        timeout_s: float = QUERY_S,
    ) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        futures = self._admin.list_offsets(
            {ClientPartition(t, p): spec for t, p in partitions},
            isolation_level=isolation,
            request_timeout=timeout_s,
        )
        return results(futures)

    def low(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """First offset that is still there."""
        return self.query(partitions, earliest(), IsolationLevel.READ_UNCOMMITTED)

    def high(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Next offset to be written, records of open transactions included."""
        return self.query(partitions, latest(), IsolationLevel.READ_UNCOMMITTED)

    def stable(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Last stable offset: everything below it is decided."""
        return self.query(partitions, latest(), IsolationLevel.READ_COMMITTED)

    def high_once(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """High watermarks, asked once and quickly. Raises any of the five meanings."""
        return self._once(partitions, IsolationLevel.READ_UNCOMMITTED)

    def stable_once(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Last stable offsets, asked once and quickly. Raises any of the five meanings."""
        return self._once(partitions, IsolationLevel.READ_COMMITTED)

    def _once(
        self, partitions: Sequence[tuple[str, int]], isolation: IsolationLevel
    ) -> dict[tuple[str, int], int]:
        """Not asked again here; but the next caller asks today's leaders."""
        try:
            return call(Step.READ, self._query, partitions, latest(), isolation, ONCE_S)
        except Retry:
            with contextlib.suppress(Retry):
                self._find_leaders()
            raise

    def ask_high(
        self, partitions: Sequence[tuple[str, int]]
    ) -> Callable[[], dict[tuple[str, int], int] | None]:
        """High watermarks without waiting: the function given answers None until they are known."""
        return self._ask(partitions, IsolationLevel.READ_UNCOMMITTED)

    def ask_stable(
        self, partitions: Sequence[tuple[str, int]]
    ) -> Callable[[], dict[tuple[str, int], int] | None]:
        """Last stable offsets without waiting, as `ask_high`."""
        return self._ask(partitions, IsolationLevel.READ_COMMITTED)

    def _ask(
        self, partitions: Sequence[tuple[str, int]], isolation: IsolationLevel
    ) -> Callable[[], dict[tuple[str, int], int] | None]:
        if not partitions:
            return dict
        asked = self._futures(partitions, isolation)

        def answer() -> dict[tuple[str, int], int] | None:
            nonlocal asked
            if not all(future.done() for future in asked.values()):
                return None
            try:
                return call(Step.READ, results, asked)
            except Retry:
                with contextlib.suppress(Retry):  # this is asked again as often as it takes
                    self._find_leaders()
                asked = self._futures(partitions, isolation)
                return None

        return answer

    def _futures(
        self, partitions: Sequence[tuple[str, int]], isolation: IsolationLevel
    ) -> dict[ClientPartition, Any]:
        futures: dict[ClientPartition, Any] = self._admin.list_offsets(
            {ClientPartition(t, p): latest() for t, p in partitions},
            isolation_level=isolation,
            request_timeout=ONCE_S,
        )
        return futures

    def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Partitions by topic; 0 for one that is not there."""
        deadline_s = self._clock.monotonic_s() + QUERY_DEADLINE_S
        return call_until(self._clock, deadline_s, Step.READ, self._counts, topics)

    def _counts(self, topics: Sequence[str]) -> dict[str, int]:
        return counts(self._admin.list_topics(timeout=QUERY_S), topics)

    def cluster_id(self) -> str:
        """The cluster's own id."""
        deadline_s = self._clock.monotonic_s() + QUERY_DEADLINE_S
        return str(call_until(self._clock, deadline_s, Step.READ, self._admin.cluster_id, QUERY_S))


def read_all(
    connection: Mapping[str, Any],
    topic: str,
    *,
    start: Mapping[int, int] | None = None,
    ends: Mapping[int, int] | None = None,
    partitions: Sequence[int] | None = None,
    isolation: str = "read_committed",
    clock: Clock | None = None,
    extra: Mapping[str, Any] | None = None,
    passed: Passed | None = None,
) -> Iterator[list[LogRecord]]:
    """Batches of records of some or all partitions, each partition in offset order, up to the
    captured ends.

    `start` defaults to the first offset there is, `ends` to the current high watermarks.
    Records at or past an end are not given, nor those of batches that were `passed` over. `extra`:
    the client's options beside our own. Raises Exit READ_STUCK when nothing moves for
    NO_PROGRESS_S_MAX.
    """
    clock = clock or SystemClock()
    log = LogEnds(connection, clock)
    numbers = list(
        partitions if partitions is not None else range(log.partition_counts([topic])[topic])
    )
    names = [(topic, n) for n in numbers]
    until = dict(ends) if ends is not None else {n: o for (_, n), o in log.high(names).items()}
    low = {n: o for (_, n), o in log.low(names).items()}
    position = {n: max(low[n], (start or {}).get(n, 0)) for n in numbers}
    position = {n: o for n, o in position.items() if o < until.get(n, 0)}
    if not position:
        return
    options = {**TO_AN_END, **(extra or {})}
    reader = PartitionReader(
        connection, topic, position, isolation=isolation, extra=options, passed=passed
    )
    moved_s = clock.monotonic_s()
    try:
        while position:
            batches, reached = reader.read(READ_COUNT, READ_WAIT_S)
            if batches or reached:
                moved_s = clock.monotonic_s()
            elif clock.monotonic_s() - moved_s > NO_PROGRESS_S_MAX:
                said = f": {reader.trouble}" if reader.trouble else ""
                raise Exit("READ_STUCK", f"{topic}: nothing for {NO_PROGRESS_S_MAX:.0f} s{said}")
            for number, records in batches.items():
                if number not in position:
                    continue
                end = until[number]
                position[number] = records[-1].offset + 1
                if records[-1].offset >= end:
                    records = [r for r in records if r.offset < end]
                if records:
                    yield records
            for number, end in reached.items():
                if number in position:
                    position[number] = max(position[number], end)
            for number in [n for n, at in position.items() if at >= until[n]]:
                del position[number]
                reader.stop(number)
    finally:
        reader.close()


def _int(value: int | None) -> int:
    if value is None:
        raise ValueError("a record without partition or offset")
    return value
