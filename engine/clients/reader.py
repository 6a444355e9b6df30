"""Reads a topic without a consumer group, from given offsets: restore, control, replay, verifier,
show and tail.

It commits nothing and joins no group. `read_all` stops at the ends captured when it started.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import IsolationLevel, Message
from confluent_kafka import TopicPartition as ClientPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from engine.clients.assigned_reader import AssignedReader
from engine.clients.membership import LOST_AFTER_S
from engine.clients.offset_answers import counts, earliest, latest, results
from engine.clients.partition_errors import Passed, ReaderErrors
from engine.clock import Clock, SystemClock
from engine.errors import Exit, Retry, Step, call, call_until
from engine.ports import TopicPartition
from engine.records import LogRecord, to_log_record

READ_COUNT: Final = 10_000
READ_WAIT_S: Final = 0.02
# for readers that stop at an end: there the broker holds each fetch this long
FETCH_WAIT_MS: Final = 10
QUERY_S: Final = 10.0
ONCE_S: Final = 2.0
QUERY_DEADLINE_S: Final = 60.0
NO_PROGRESS_S_MAX: Final = 60.0
TO_AN_END: Final = {"fetch.wait.max.ms": FETCH_WAIT_MS}


class PartitionReader(AssignedReader):
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

        For a reader with a known end, `extra` is TO_AN_END. With `errors` an unreadable partition
        is noted there and the others continue; without it, `read` raises Exit. `passed`: batches
        skipped under dual control.
        """
        limits = {
            "isolation.level": isolation,
            "max.partition.fetch.bytes": 8 * 1024 * 1024,
            "queued.max.messages.kbytes": 64 * 1024,
            **(extra or {}),
        }
        self._topic = topic
        places = {(topic, number): offset for number, offset in start.items()}
        super().__init__(connection, places, limits, errors, passed or {})

    def read(self, count: int, wait_s: float) -> tuple[dict[int, list[LogRecord]], dict[int, int]]:
        """Records by partition in order, and the end offset of partitions that are at it now.

        A client that no longer reaches the brokers is replaced; an end may then be reported again.
        Raises Exit: UNREADABLE for a batch that no client can read (see `errors`), after the
        records before it; OFFSETS_LOST for a position that is not on the log.
        """
        batches, ends = self.polled(count, wait_s)
        return {n: [*map(to_log_record, found)] for n, found in batches.items()}, ends

    def polled(self, count: int, wait_s: float) -> tuple[dict[int, list[Message]], dict[int, int]]:
        """As `read`, for a caller that takes from the messages what it needs."""
        messages, reached = self._poll(count, wait_s)
        batches: defaultdict[int, list[Message]] = defaultdict(list)
        for message in messages:
            batches[_int(message.partition())].append(message)
        read = {(self._topic, n): _int(found[-1].offset()) + 1 for n, found in batches.items()}
        ends = self._advance(read, reached)
        return batches, {number: end for (_, number), end in ends.items()}

    def stop(self, partition: int) -> None:
        """Stop reading this partition."""
        place = (self._topic, partition)
        self._unreadable.pop(place, None)
        if self._next.pop(place, None) is not None:
            call(Step.READ, self._consumer.incremental_unassign, [ClientPartition(*place)])


class LogEnds:
    """Requests the first and end offsets of partitions; retries for `deadline_s` seconds."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        clock: Clock | None = None,
        deadline_s: float = QUERY_DEADLINE_S,
    ) -> None:
        self._connection = {"log_level": 4, **connection}
        self._admin = call(Step.READ, AdminClient, self._connection)
        self._clock = clock or SystemClock()
        self._deadline_s = deadline_s
        self._failing_s: float | None = None  # since when no request has succeeded
        self._replaced: AdminClient | None = None

    def query(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        """Offsets by (topic, partition); retries until the deadline. Raises Exit then."""
        deadline_s = self._clock.monotonic_s() + self._deadline_s
        return call_until(
            self._clock, deadline_s, Step.READ, self._requested, partitions, spec, isolation
        )

    def _requested(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        try:
            found = call(
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
        self._failing_s = None
        return found

    def _find_leaders(self) -> None:
        """After a request that failed, refresh all leaders: the client itself keeps using an old
        leader or epoch for minutes. If requests have failed for LOST_AFTER_S, it is replaced: it
        reaches no broker, or lost the leader of a partition for good. Raises EngineError.
        """
        now_s = self._clock.monotonic_s()
        if self._failing_s is None:
            self._failing_s = now_s
        elif now_s - self._failing_s >= LOST_AFTER_S:
            # The old client finishes its pending requests.
            self._replaced, self._admin = self._admin, AdminClient(self._connection)
            self._failing_s = None
        call(Step.READ, self._admin.list_topics, timeout=ONCE_S)

    def _query(
        self,
        partitions: Sequence[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel,
        timeout_s: float = QUERY_S,
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        futures = self._admin.list_offsets(
            {ClientPartition(t, p): spec for t, p in partitions},
            isolation_level=isolation,
            request_timeout=timeout_s,
        )
        return results(futures)

    def low(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """First available offset."""
        return self.query(partitions, earliest(), IsolationLevel.READ_UNCOMMITTED)

    def high(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Next offset to be written, including records of open transactions."""
        return self.query(partitions, latest(), IsolationLevel.READ_UNCOMMITTED)

    def stable(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Last stable offset: every transaction below it has ended."""
        return self.query(partitions, latest(), IsolationLevel.READ_COMMITTED)

    def high_once(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """High watermarks, requested once, quickly. Raises EngineError."""
        return self._once(partitions, IsolationLevel.READ_UNCOMMITTED)

    def stable_once(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Last stable offsets, requested once, quickly. Raises EngineError."""
        return self._once(partitions, IsolationLevel.READ_COMMITTED)

    def _once(
        self, partitions: Sequence[TopicPartition], isolation: IsolationLevel
    ) -> dict[TopicPartition, int]:
        """No retry here; but the next caller uses refreshed leaders."""
        try:
            found = call(Step.READ, self._query, partitions, latest(), isolation, ONCE_S)
        except Retry:
            with contextlib.suppress(Retry):
                self._find_leaders()
            raise
        self._failing_s = None
        return found

    def ask_high(
        self, partitions: Sequence[TopicPartition]
    ) -> Callable[[], dict[TopicPartition, int] | None]:
        """High watermarks without waiting: the result is a function, None until known."""
        return self._ask(partitions, IsolationLevel.READ_UNCOMMITTED)

    def ask_stable(
        self, partitions: Sequence[TopicPartition]
    ) -> Callable[[], dict[TopicPartition, int] | None]:
        """Last stable offsets without waiting, as `ask_high`."""
        return self._ask(partitions, IsolationLevel.READ_COMMITTED)

    def _ask(
        self, partitions: Sequence[TopicPartition], isolation: IsolationLevel
    ) -> Callable[[], dict[TopicPartition, int] | None]:
        if not partitions:
            return dict
        requested = self._futures(partitions, isolation)

        def answer() -> dict[TopicPartition, int] | None:
            nonlocal requested
            if not all(future.done() for future in requested.values()):
                return None
            try:
                found = call(Step.READ, results, requested)
            except Retry:
                with contextlib.suppress(Retry):  # retried as often as needed
                    self._find_leaders()
                requested = self._futures(partitions, isolation)
                return None
            self._failing_s = None
            return found

        return answer

    def _futures(
        self, partitions: Sequence[TopicPartition], isolation: IsolationLevel
    ) -> dict[ClientPartition, Any]:
        futures: dict[ClientPartition, Any] = self._admin.list_offsets(
            {ClientPartition(t, p): latest() for t, p in partitions},
            isolation_level=isolation,
            request_timeout=ONCE_S,
        )
        return futures

    def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Partition counts by topic; 0 for a missing one."""
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

    `start` defaults to the first available offset, `ends` to the current high watermarks. Records
    at or past an end are not returned, nor those of skipped batches (`passed`). `extra`: client
    options in addition to ours. Raises Exit READ_STUCK without progress for NO_PROGRESS_S_MAX.
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
                trouble = f": {reader.trouble}" if reader.trouble else ""
                raise Exit("READ_STUCK", f"{topic}: nothing for {NO_PROGRESS_S_MAX:.0f} s{trouble}")
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
