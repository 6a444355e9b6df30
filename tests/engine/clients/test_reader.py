"""Ends that the readers report: only of partitions that are at their end now."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

import engine.clients.assigned_reader
from engine.clients.partition_errors import PartitionErrors
from engine.clients.reader import PartitionReader
from engine.clients.topics_reader import TopicsReader
from tests.clock import HeldClock
from tests.engine.clients import test_partition_errors as fake
from tests.engine.clients.doubles import Record


class Consumer(fake.Consumer):
    """An end, then the first record of the next transaction: the client returns both at once. The
    other partition is at its end, after a record and its marker.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        eof = KafkaError(KafkaError._PARTITION_EOF)
        self.gives = [
            fake.said(eof, "t", 4, 7),
            Record("t", 5, 1),
            Record("t", 4, 7),
            fake.said(eof, "t", 5, 3),
        ]


def test_an_end_that_records_have_passed_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier took the first of a transaction's events for all of them and stopped
    processing, at 200 payments a second.
    """
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", Consumer)
    records, ends = PartitionReader({}, "t", {4: 7, 5: 0}).read(10, 0.0)
    assert {n: [each.offset for each in found] for n, found in records.items()} == {5: [1], 4: [7]}
    assert ends == {5: 3}


def test_nor_is_it_by_the_reader_of_several_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.clients.assigned_reader, "Consumer", Consumer)
    errors = PartitionErrors(HeldClock(0))
    reader = TopicsReader({}, {("t", 4): 7, ("t", 5): 0}, queued_kb=64, errors=errors.of("r"))
    assert reader.read(10, 0.0).ends == {("t", 5): 3}
