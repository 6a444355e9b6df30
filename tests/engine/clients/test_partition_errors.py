"""Partitions that a client cannot read on: named, counted, tried again, and never a reason to
replace the client (engine.md)."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, generate_latest

import engine.clients.reader
import engine.clients.topics_reader
from engine.clients.partition_errors import (
    LOG_EVERY_S,
    PASSING_S,
    TRY_EVERY_S,
    PartitionErrorMetrics,
    PartitionErrors,
    Rest,
)
from engine.clients.reader import PartitionReader
from engine.clients.topics_reader import TopicsReader
from engine.clock import HeldClock
from engine.errors import ConsumerLost, Exit, PartitionError, check_message_error
from engine.metrics import catalogue

P4, P5 = ("t", 4), ("t", 5)
WORDS = "Decompression of message at 7 failed"
BROKEN = PartitionError("t", 4, 7, "_BAD_COMPRESSION", WORDS, True)


class Said:
    """A message of the client that is an error."""

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
    """`place`: topic, partition and offset, if it speaks of them."""
    return Said(error, place)


# -- what the client says
# ------------------------------------------------------------------------------


def test_a_fatal_consumer_error_costs_the_consumer_and_a_broken_connection_does_not() -> None:
    """Errors that are delivered in place of records; the client delivers a fatal one unmarked."""
    for fatal in (True, False):
        with pytest.raises(ConsumerLost):
            check_message_error(said(KafkaError(KafkaError._FATAL, fatal=fatal)))
    with pytest.raises(Exit):
        check_message_error(said(KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)))
    assert check_message_error(said(KafkaError(KafkaError._ALL_BROKERS_DOWN))) is None


def test_what_the_client_says_of_one_partition_names_it() -> None:
    """Topic, partition, offset and the client's words, in everything that follows."""
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


# -- who remembers it
# ----------------------------------------------------------------------------------


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(0)


def test_an_error_is_shown_until_the_partition_is_read_on(
    clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log now and then, in the metric all the time, with the client's words."""
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


def test_the_next_bad_batch_of_a_partition_is_a_new_one(
    clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    errors = PartitionErrors(clock).of("r")
    errors.note(BROKEN)
    errors.note(BROKEN._replace(offset=9))
    assert caplog.text.count("cannot read on") == 2
    assert [each.offset for each in errors.all()] == [9]


def test_other_partitions_are_read_from_now_on(clock: HeldClock) -> None:
    """A rebalance: whoever has the partition now meets the batch itself."""
    errors = PartitionErrors(clock).of("r")
    errors.note(BROKEN)
    errors.forget()
    assert errors.all() == []


def test_what_passed_is_shown_long_enough_for_an_alert(clock: HeldClock) -> None:
    """A position that was off the log: the adapter goes on elsewhere, and somebody must know."""
    errors = PartitionErrors(clock).of("r")
    errors.note_passing(BROKEN)
    assert P4 not in errors
    clock.sleep(PASSING_S - 1)
    assert errors.all() == [BROKEN]
    clock.sleep(2)
    assert errors.all() == []


def test_a_label_holds_so_many_words_and_no_more(clock: HeldClock) -> None:
    registry = CollectorRegistry()
    process = PartitionErrors(clock)
    PartitionErrorMetrics(registry).watch(process)
    process.of("r").note(BROKEN._replace(words="x" * 10_000))
    assert len(generate_latest(registry)) < 1_000


def test_the_metric_is_in_the_reference_with_its_labels_before_anything_went_wrong() -> None:
    registry = CollectorRegistry()
    PartitionErrorMetrics(registry)
    (line,) = catalogue(registry)
    assert line.name == "npp_partition_unreadable"
    assert line.labels == ("error", "offset", "partition", "reader", "topic")


class Pausing:
    """What a consumer was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []

    def pause(self, places: list[Any]) -> None:
        self.told.append(("pause", [each.partition for each in places]))

    def resume(self, places: list[Any]) -> None:
        self.told.append(("resume", [each.partition for each in places]))


def test_a_bad_batch_is_tried_again_now_and_then(clock: HeldClock) -> None:
    """Each try may unpack 100 MB; its neighbours are fetched all the time."""
    consumer: Any = Pausing()
    errors = PartitionErrors(clock).of("r")
    rest = Rest(errors)
    rest.keep(consumer)
    assert consumer.told == []
    errors.note(BROKEN)
    for _ in range(3):
        rest.keep(consumer)
    assert consumer.told == [("pause", [4])]
    clock.sleep(TRY_EVERY_S)
    rest.keep(consumer)
    errors.note(BROKEN)
    rest.keep(consumer)
    assert consumer.told[1:] == [("resume", [4]), ("pause", [4])]
    errors.given({P4: 8})
    rest.keep(consumer)
    assert consumer.told[3:] == [("resume", [4])]


# -- readers
# -------------------------------------------------------------------------------------------


class Record(Said):
    """A message of the client that is a record."""

    def __init__(self, *place: Any) -> None:
        super().__init__(KafkaError(0), place)

    def error(self) -> None:  # type: ignore[override]
        return None

    def timestamp(self) -> tuple[int, int]:
        return 2, 0

    def key(self) -> bytes:
        return b"k"

    value = key

    def headers(self) -> None:
        return None


class Consumer(Pausing):
    """Gives a record of partition 4, the error behind it, and nothing else."""

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


def test_a_reader_that_ends_fails_at_once_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay, recovery, restore: what they have to read cannot be read, and waiting helps
    nothing. What is before it is given."""
    monkeypatch.setattr(engine.clients.reader, "Consumer", Consumer)
    reader = PartitionReader({}, "t", {4: 6, 5: 0})
    assert [r.offset for r in reader.read(10, 0.0)[0][4]] == [6]
    with pytest.raises(Exit, match=r"UNREADABLE: t partition 4 at offset 7: _BAD_COMPRESSION"):
        reader.read(10, 0.0)


def test_a_reader_that_has_all_it_wants_of_a_partition_reads_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evidence and redrive: the record may stand directly before the batch."""
    monkeypatch.setattr(engine.clients.reader, "Consumer", Consumer)
    reader = PartitionReader({}, "t", {4: 6, 5: 0})
    assert [r.offset for r in reader.read(10, 0.0)[0][4]] == [6]
    reader.stop(4)
    assert reader.read(10, 0.0) == ({}, {})


def test_a_reader_that_follows_reads_its_other_partitions(
    monkeypatch: pytest.MonkeyPatch, clock: HeldClock
) -> None:
    """Verifier, control, the rail adapter's look ahead; and the projector and the API's tail."""
    for module in (engine.clients.reader, engine.clients.topics_reader):
        monkeypatch.setattr(module, "Consumer", Consumer)
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
        assert consumer.told == [("pause", [4])]
