"""Partitions that a client cannot read: named, counted, retried, and never a reason to replace the
client (engine.md).
"""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, generate_latest

import engine.clients.assigned_reader
from engine.clients.partition_errors import (
    LOG_EVERY_S,
    PASSING_S,
    TRY_EVERY_S,
    PartitionErrorMetrics,
    PartitionErrors,
    RetryPauses,
)
from engine.clients.reader import PartitionReader
from engine.clients.topics_reader import TopicsReader
from engine.errors import ConsumerLost, Exit, PartitionError, check_message_error
from engine.metrics import catalogue
from tests.clock import HeldClock
from tests.engine.clients.doubles import Record

P4, P5 = ("t", 4), ("t", 5)
WORDS = "Decompression of message at 7 failed"
BROKEN = PartitionError("t", 4, 7, "_BAD_COMPRESSION", WORDS, True)


class Said:
    """A message of the client that carries an error."""

    def __init__(self, error: KafkaError, place: tuple[str, int, int] | tuple[()]) -> None:
        self._error = error
        self._place = place or (None, None, None)

    def error(self) -> KafkaError:
        return self._error

    def topic(self) -> str | None:
        return self._place[0]

    def partition(self) -> int | None:
        return self._place[1]

    def offset(self) -> int | None:
        return self._place[2]


def said(error: KafkaError, *place: Any) -> Any:
    """`place`: topic, partition and offset, if the error has them."""
    return Said(error, place)


# -- errors of the client --------------------------------------------------------------------------


def test_a_fatal_consumer_error_replaces_the_consumer_and_a_broken_connection_does_not() -> None:
    """Errors are delivered in place of records, and fatal ones are not marked as such."""
    for fatal in (True, False):
        with pytest.raises(ConsumerLost):
            check_message_error(said(KafkaError(KafkaError._FATAL, fatal=fatal)))
    with pytest.raises(Exit):
        check_message_error(said(KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)))
    assert check_message_error(said(KafkaError(KafkaError._ALL_BROKERS_DOWN))) is None


def test_an_error_about_one_partition_names_it() -> None:
    """Topic, partition, offset and the client's text, in the log, metric and exception."""
    broken = KafkaError(KafkaError._BAD_COMPRESSION, "Decompression of message at 7 failed")
    found = check_message_error(said(broken, "t", 4, 7))
    assert found is not None
    assert str(found) == (
        "t partition 4 at offset 7: _BAD_COMPRESSION: Decompression of message at 7 failed"
    )
    assert found.lasts
    passing = check_message_error(said(KafkaError(KafkaError.KAFKA_STORAGE_ERROR), "t", 4, 7))
    assert passing is not None
    assert not passing.lasts
    off = said(KafkaError(KafkaError._AUTO_OFFSET_RESET, "not there"), "t", 5, 9)
    with pytest.raises(Exit, match=r"OFFSETS_LOST: t partition 5 at offset 9.*not there"):
        check_message_error(off)


# -- how long an error is remembered ---------------------------------------------------------------


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(0)


def test_an_error_is_shown_until_the_partition_is_readable(
    clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log occasionally and in the metric continuously, with the client's text."""
    process = PartitionErrors(clock)
    registry = CollectorRegistry()
    PartitionErrorMetrics(registry).watch(process)
    errors = process.of("npp-payments")
    labels = {
        "reader": "npp-payments", "topic": "t", "partition": "4", "offset": "7",
        "error": f"_BAD_COMPRESSION: {WORDS}",
    }  # fmt: skip

    def shown() -> float | None:
        return registry.get_sample_value("npp_partition_unreadable", labels)

    assert shown() is None
    assert process.first() == ""
    for _ in range(int(2 * LOG_EVERY_S)):
        errors.note(BROKEN)
        clock.sleep(1.0)
    assert caplog.text.count("npp-payments cannot read on: t partition 4 at offset 7") == 2
    assert shown() == 1.0
    assert process.first() == f"npp-payments: {BROKEN}"
    assert P4 in errors
    assert P5 not in errors
    errors.given({P5: 100})
    assert shown() == 1.0
    errors.given({P4: 7})  # the record before it came in the same poll
    assert shown() == 1.0
    errors.given({P4: 8})
    assert shown() is None
    assert not errors
    assert process.of("npp-payments") is errors


@pytest.mark.parametrize(
    ("records", "ends", "readable"),
    [
        ([6], {}, False),
        ([6], {P4: 7}, False),
        ([6, 7], {}, True),
        ([], {P4: 8}, True),
        ([8], {P4: 7}, True),  # the end came first
        ([6], {P4: 8}, True),
    ],
)
def test_a_poll_behind_the_bad_batch_makes_the_partition_readable(
    clock: HeldClock, records: list[int], ends: dict[Any, int], readable: bool
) -> None:
    errors = PartitionErrors(clock).of("r")
    errors.note(BROKEN)
    polled: list[Any] = [Record("t", 4, offset) for offset in records]
    errors.polled(polled, ends)
    assert (P4 not in errors) == readable


def test_the_next_bad_batch_of_a_partition_is_a_new_error(
    clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    errors = PartitionErrors(clock).of("r")
    errors.note(BROKEN)
    errors.note(BROKEN._replace(offset=9))
    assert caplog.text.count("cannot read on") == 2
    assert [each.offset for each in errors.all()] == [9]


def test_a_rebalance_forgets_the_errors(clock: HeldClock) -> None:
    """The new owner of the partition finds the batch itself."""
    errors = PartitionErrors(clock).of("r")
    errors.note(BROKEN)
    errors.forget()
    assert errors.all() == []


def test_an_error_that_has_passed_is_shown_long_enough_for_an_alert(clock: HeldClock) -> None:
    """A position outside the log: the adapter continues, and an operator must know."""
    errors = PartitionErrors(clock).of("r")
    errors.note_passing(BROKEN)
    assert P4 not in errors
    clock.sleep(PASSING_S - 1)
    assert errors.all() == [BROKEN]
    clock.sleep(2)
    assert errors.all() == []


def test_a_label_has_a_maximum_length(clock: HeldClock) -> None:
    registry = CollectorRegistry()
    process = PartitionErrors(clock)
    PartitionErrorMetrics(registry).watch(process)
    process.of("r").note(BROKEN._replace(words="x" * 10_000))
    assert len(generate_latest(registry)) < 1_000


def test_the_metric_is_in_the_reference_with_its_labels_before_any_error() -> None:
    registry = CollectorRegistry()
    PartitionErrorMetrics(registry)
    (line,) = catalogue(registry)
    assert line.name == "npp_partition_unreadable"
    assert line.labels == ("error", "offset", "partition", "reader", "topic")


class Pausing:
    """Records pauses and resumes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []

    def pause(self, places: list[Any]) -> None:
        self.calls.append(("pause", [each.partition for each in places]))

    def resume(self, places: list[Any]) -> None:
        self.calls.append(("resume", [each.partition for each in places]))


def test_a_bad_batch_is_retried_from_time_to_time(clock: HeldClock) -> None:
    """Each try may unpack 100 MB; the other partitions are fetched all the time."""
    consumer: Any = Pausing()
    errors = PartitionErrors(clock).of("r")
    rest = RetryPauses(errors)
    rest.keep(consumer)
    assert consumer.calls == []
    errors.note(BROKEN)
    for _ in range(3):
        rest.keep(consumer)
    assert consumer.calls == [("pause", [4])]
    clock.sleep(TRY_EVERY_S)
    rest.keep(consumer)
    errors.note(BROKEN)
    rest.keep(consumer)
    assert consumer.calls[1:] == [("resume", [4]), ("pause", [4])]
    errors.given({P4: 8})
    rest.keep(consumer)
    assert consumer.calls[3:] == [("resume", [4])]


# -- readers ---------------------------------------------------------------------------------------


class Consumer(Pausing):
    """Returns a record of partition 4, the error after it, and nothing else."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.gives = [
            Record("t", 4, 6),
            said(KafkaError(KafkaError._BAD_COMPRESSION, WORDS), "t", 4, 7),
        ]

    def assign(self, places: list[Any]) -> None:
        self.assigned = places

    def incremental_unassign(self, places: list[Any]) -> None:
        return None

    def consume(self, count: int, wait_s: float) -> list[Any]:
        given, self.gives = self.gives, []
        return given

    def list_topics(self, *_: Any, timeout: float) -> None:
        return None

    def close(self) -> None:
        return None


def test_a_reader_with_an_end_fails_at_once_and_names_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replay, recovery and restore cannot skip the batch, and waiting does not help. The records
    before it are returned.
    """
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", Consumer)
    reader = PartitionReader({}, "t", {4: 6, 5: 0})
    assert [r.offset for r in reader.read(10, 0.0)[0][4]] == [6]
    with pytest.raises(Exit, match=r"UNREADABLE: t partition 4 at offset 7: _BAD_COMPRESSION"):
        reader.read(10, 0.0)


def test_a_reader_that_has_read_all_it_needs_of_a_partition_reads_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evidence and redrive: the record may be directly before the batch."""
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", Consumer)
    reader = PartitionReader({}, "t", {4: 6, 5: 0})
    assert [r.offset for r in reader.read(10, 0.0)[0][4]] == [6]
    reader.stop(4)
    assert reader.read(10, 0.0) == ({}, {})


def test_a_reader_without_an_end_reads_its_other_partitions(
    monkeypatch: pytest.MonkeyPatch, clock: HeldClock
) -> None:
    """Verifier, control and the rail adapter's look-ahead; the projector and the API's tail."""
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", Consumer)
    process = PartitionErrors(clock)
    one = PartitionReader({}, "t", {4: 6, 5: 0}, errors=process.of("verifier"))
    assert [r.offset for r in one.read(10, 0.0)[0][4]] == [6]
    several = TopicsReader({}, {P4: 6, P5: 0}, queued_kb=1, errors=process.of("projector"))
    assert [r.offset for r in several.read(10, 0.0).records[P4]] == [6]
    assert [(name, error) for name, error in process] == [
        ("verifier", BROKEN), ("projector", BROKEN),
    ]  # fmt: skip
    for reader in (one, several):
        consumer: Any = reader._consumer
        assert consumer.calls == [("pause", [4])]
