"""The partitions that the clients of one process cannot read further, and since when.

A batch that cannot be decompressed stops one partition of one client; the others continue. A new
client could not read it either, so this one is not replaced: the error is reported (topic,
partition, offset, the client's message) in the log and in metrics, and the partition is retried
from time to time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.clock import Clock
from engine.errors import PartitionError, Step, call, is_end_of_partition
from engine.ports import TopicPartition

TRY_EVERY_S: Final = 10.0  # each try may unpack 100 MB
LOG_EVERY_S: Final = 60.0
PASSING_S: Final = 600.0  # a resolved error stays visible this long, so that an alert sees it
WORDS_MAX: Final = 200  # of the client, in a metric's label

_log = logging.getLogger(__name__)


Passed = Mapping[TopicPartition, Sequence[tuple[int, int]]]
"""Unreadable batches passed over under dual control: first and last offset, by topic and
partition.
"""


def sort_messages(
    messages: Iterable[Message], note: Callable[[Message], object]
) -> tuple[list[Message], dict[TopicPartition, int]]:
    """The records, and the end offsets of partitions that reached them. Each error that the client
    delivered in place of a record goes to `note`.
    """
    records: list[Message] = []
    ends: dict[TopicPartition, int] = {}
    for message in messages:
        error = message.error()
        if error is None:
            records.append(message)
        elif is_end_of_partition(error):
            ends[message.topic() or "", message.partition() or 0] = message.offset() or 0
        else:
            note(message)
    return records, ends


def go_on_behind(consumer: Consumer, passed: Passed, error: PartitionError) -> int | None:
    """Continue the consumer after the unreadable batch if two people skipped it. Returns the new
    offset, or None if they did not.
    """
    for first, last in passed.get((error.topic, error.partition), ()):
        if first <= error.offset <= last:
            place = ClientPartition(error.topic, error.partition, last + 1)
            call(Step.READ, consumer.seek, place)
            return last + 1
    return None


class ReaderErrors:
    """Errors of one client; only its thread writes them. `in` and `bool` are for its hot path."""

    def __init__(self, reader: str, clock: Clock) -> None:
        """`reader`: the client's name for people, such as the group it belongs to."""
        self.reader = reader
        self._clock = clock
        self._errors: dict[TopicPartition, PartitionError] = {}
        self._tried_s: dict[TopicPartition, float] = {}
        self._logged_s: dict[TopicPartition, float] = {}
        self._passing: dict[TopicPartition, tuple[PartitionError, float]] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._errors)

    def __contains__(self, name: object) -> bool:
        return name in self._errors

    def note(self, error: PartitionError) -> None:
        """The client reported this in place of a record; logged from time to time while it
        lasts.
        """
        name, now_s = (error.topic, error.partition), self._clock.monotonic_s()
        with self._lock:
            known = self._errors.get(name)
            self._errors[name] = error
            self._tried_s[name] = now_s
            due = now_s - self._logged_s.get(name, float("-inf")) >= LOG_EVERY_S
            if due or known is None or known.offset != error.offset:
                self._logged_s[name] = now_s
                _log.error("%s cannot read on: %s", self.reader, error)

    def note_passing(self, error: PartitionError) -> None:
        """The partition continues, but not at the expected offset: shown for PASSING_S."""
        with self._lock:
            until_s = self._clock.monotonic_s() + PASSING_S
            self._passing[error.topic, error.partition] = error, until_s
        _log.error("%s continues with its other partitions: %s", self.reader, error)

    def given(self, reached: Mapping[TopicPartition, int]) -> None:
        """Next offsets of partitions that returned a record or their end. A partition past its
        unreadable batch is readable again; an earlier record may arrive in the same poll.
        """
        if not self._errors:
            return
        with self._lock:
            for name in [each for each in reached if each in self._errors]:
                if reached[name] > self._errors[name].offset:
                    _log.warning("%s reads on: %s partition %d", self.reader, *name)
                    self._forget(name)

    def polled(self, records: Iterable[Message], ends: Mapping[TopicPartition, int]) -> None:
        """As `given`, for the records and ends of one poll."""
        if not self._errors:
            return
        reached = {**ends}
        for message in records:
            name = message.topic() or "", message.partition() or 0
            reached[name] = max(reached.get(name, 0), (message.offset() or 0) + 1)
        self.given(reached)

    def forget(self) -> None:
        """Other partitions are read from here on."""
        with self._lock:
            for name in list(self._errors):
                self._forget(name)

    def _forget(self, name: TopicPartition) -> None:
        del self._errors[name], self._tried_s[name], self._logged_s[name]

    def awaiting_retry(self) -> frozenset[TopicPartition]:
        """Partitions not to fetch at the moment, because they were just tried."""
        if not self._errors:
            return frozenset()
        now_s = self._clock.monotonic_s()
        return frozenset(n for n, at_s in self._tried_s.items() if now_s - at_s < TRY_EVERY_S)

    def all(self) -> list[PartitionError]:
        """Current and recently resolved errors; from any thread."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            passing = [e for e, until_s in self._passing.values() if now_s < until_s]
            return [*self._errors.values(), *passing]


class RetryPauses:
    """Pauses the partitions of one consumer after a failed try, and resumes them when due; for
    clients whose partitions nothing else pauses individually.
    """

    def __init__(self, errors: ReaderErrors) -> None:
        self._errors = errors
        self._paused: frozenset[TopicPartition] = frozenset()

    def keep(self, consumer: Consumer) -> None:
        """Called after each poll."""
        awaiting_retry = self._errors.awaiting_retry()
        if awaiting_retry == self._paused:
            return
        for names, function in (
            (awaiting_retry - self._paused, consumer.pause),
            (self._paused - awaiting_retry, consumer.resume),
        ):
            if names:
                call(Step.READ, function, [ClientPartition(t, p) for t, p in names])
        self._paused = awaiting_retry

    def forget(self) -> None:
        """Partitions were reassigned: none is paused."""
        self._paused = frozenset()


class PartitionErrors:
    """Errors of all clients of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readers: dict[str, ReaderErrors] = {}

    def of(self, reader: str) -> ReaderErrors:
        """The errors of one client, by its name; always the same for one name."""
        return self._readers.setdefault(reader, ReaderErrors(reader, self._clock))

    def __iter__(self) -> Iterator[tuple[str, PartitionError]]:
        for reader, errors in list(self._readers.items()):
            for error in errors.all():
                yield reader, error

    def first(self) -> str:
        """One of them as text, or "" if every partition can be read."""
        return next((f"{reader}: {error}" for reader, error in self), "")


class PartitionErrorMetrics(Collector):
    """One series for each partition that cannot be read, while it lasts."""

    NAME: Final = "npp_partition_unreadable"
    LABELS: Final = ("reader", "topic", "partition", "offset", "error")

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sources: list[PartitionErrors] = []
        registry.register(self)

    def watch(self, errors: PartitionErrors) -> None:
        """Include these."""
        self._sources.append(errors)

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            self.NAME,
            "1 while a client cannot read a partition further; the offset and the client's error "
            "say from where and why.",
            labels=self.LABELS,
        )
        for source in self._sources:
            for reader, error in source:
                words = f"{error.code}: {error.words}"[:WORDS_MAX]
                place = (reader, error.topic, str(error.partition), str(error.offset))
                family.add_metric([*place, words], 1)
        yield family
