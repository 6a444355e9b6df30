"""Redrives on a real Kafka: by reference, and those that cannot succeed. No process ends because of
one.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from app.cluster import Cluster as ProductCluster
from app.config import settings
from app.exits import ExitCode
from app.platform.broker import Cluster
from control import quarantine
from control.redrive_plan import HEADER_REDRIVEN
from core.control_records import RedriveDone
from engine.clients.producing import MESSAGE_BYTES_MAX
from engine.clients.publisher import Publisher, Refused
from engine.clients.reader import read_all
from engine.clock import SystemClock
from engine.records import LogRecord
from examples import upstream_load as upstream
from processors.adapter.kafka import KafkaRecords
from schemas import topology
from tests.broker.harness import Harness
from tests.broker.source import Kafka
from tests.engine.kafka_rig import Rig, rig
from tests.engine.toy import ADD

SECONDS_MAX = 60.0
ZEROS = bytes(5 * 1024 * 1024)
KEY = b"pi_" + b"c" * 26
PARTITION = 1
LARGE_BYTES = 1_048_400  # more than the client's former size limit; fits the topic's 1 MiB
LARGEST_BYTES = 1_048_460  # fits the topic's 1 MiB, but not with the header that a redrive adds


class Redrives:
    """A set-up, its topics, and two users who redrive."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.cluster = ProductCluster(settings.load(harness.env))

    def put(self, value: bytes, compression: str, headers: Any = None) -> int:
        """Put one record on the command topic; return its offset."""
        producer = self.harness.producer(
            **{"compression.type": compression, "message.max.bytes": 60_000_000}
        )
        placed: list[Any] = []
        producer.produce(
            upstream.APP_TOPIC, value, KEY, PARTITION, headers=headers,
            on_delivery=lambda error, message: placed.append((error, message.offset())),
        )  # fmt: skip
        assert not producer.flush(30.0)
        ((error, offset),) = placed
        assert error is None, error
        return int(offset)

    def read(self, topic: str, partition: int = 0) -> list[LogRecord]:
        connection = {"bootstrap.servers": self.harness.bootstrap}
        batches = read_all(connection, topic, partitions=[partition])
        return [record for batch in batches for record in batch]

    def inputs(self) -> dict[int, LogRecord]:
        return {record.offset: record for record in self.read(upstream.APP_TOPIC, PARTITION)}

    def quarantined(self, origin: int) -> LogRecord:
        """The quarantined copy of the input at this offset, once it exists."""

        def found() -> LogRecord | None:
            for record in self.read(topology.QUARANTINE):
                if quarantine.parse(record.headers).offset == origin:
                    return record
            return None

        copy: LogRecord = until(found)
        return copy

    def ask(self, *offsets: int) -> str:
        said = self.harness.npp(
            "quarantine", "redrive", "--request", "--as", "ann", "--reason", "try",
            *(word for offset in offsets for word in ("--offset", str(offset))),
        ).stdout  # fmt: skip
        name = said.split(":")[0].strip()
        self.harness.npp("quarantine", "redrive", "--confirm", name, "--as", "bob")
        return name

    def done(self, name: str) -> RedriveDone:
        """The redrive's result, once it has ended. No process has exited."""

        def found() -> RedriveDone | None:
            self.harness.all_alive()
            for entry in self.cluster.read(topology.CONTROL, 0):
                said = entry.record
                if isinstance(said, RedriveDone) and said.request_id == name:
                    return said
            return None

        done: RedriveDone = until(found)
        return done


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS_MAX
    while (it := found()) is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return it


def test_every_confirmed_redrive_ends_and_the_adapters_continue(
    own: tuple[Cluster, Harness],
) -> None:
    """One by reference is put back from its original, and one that barely fits its topic. One that
    no longer fits, one for a partition that does not exist and one whose original is gone are
    refused, each with its reason on the control topic; the next is carried out.
    """
    kafka, harness = own
    harness.ready(harness.start_payments())
    redrives = Redrives(harness)
    noise = random.Random(3)
    zeros = redrives.put(ZEROS, "gzip", headers=[("trace", b"1")])
    large = redrives.put(noise.randbytes(LARGE_BYTES), "none")
    largest = redrives.put(noise.randbytes(LARGEST_BYTES), "none")
    small = redrives.put(b"small rubbish", "none")
    origins = (zeros, large, largest, small)
    at = {origin: redrives.quarantined(origin).offset for origin in origins}
    copy = redrives.quarantined(zeros)
    assert quarantine.parse(copy.headers).reference == quarantine.reference_of(
        redrives.inputs()[zeros]
    )
    assert quarantine.parse(redrives.quarantined(largest).headers).reference is None, "it fits"

    done = redrives.done(redrives.ask(at[zeros]))
    assert (done.redriven, done.refused) == (1, None)
    again = max(redrives.inputs())
    record = redrives.inputs()[again]
    assert (record.key, record.value) == (KEY, ZEROS)
    assert [name for name, _ in record.headers] == ["trace", HEADER_REDRIVEN]
    assert quarantine.parse(redrives.quarantined(again).headers).reference is not None

    done = redrives.done(redrives.ask(at[large]))
    assert (done.redriven, done.refused) == (1, None)
    assert redrives.inputs()[max(redrives.inputs())].value == redrives.inputs()[large].value

    done = redrives.done(redrives.ask(at[large], at[largest], at[small]))
    assert done.redriven == 1, "those before it, in order"
    assert "MSG_SIZE_TOO_LARGE" in str(done.refused)
    nothing = ("--as", "ann", "--reason", "try", "--offset", str(10**9))
    refused = harness.npp("quarantine", "redrive", "--request", *nothing, check=False)
    assert refused.returncode == ExitCode.NOT_FOUND, "a missing record cannot be requested"

    admin = AdminClient(kafka.client_config())
    behind = TopicPartition(upstream.APP_TOPIC, PARTITION, zeros + 1)
    for deleted in admin.delete_records([behind]).values():
        deleted.result(10.0)
    done = redrives.done(redrives.ask(at[zeros]))
    assert f"is gone: {upstream.APP_TOPIC}/{PARTITION}/{zeros} holds no record" in str(done.refused)

    done = redrives.done(redrives.ask(at[small]))
    assert (done.redriven, done.refused) == (1, None)
    harness.all_alive()


@pytest.fixture
def toy(kafka: Kafka, tmp_path: Path) -> Iterator[Rig]:
    """Topics of its own on the shared Kafka."""
    with rig(kafka.bootstrap, tmp_path, f"rdr{uuid.uuid4().hex[:8]}") as made:
        yield made


def test_a_record_refused_for_its_content_is_recognised_and_affects_no_other(toy: Rig) -> None:
    """Refused by its topic, which counts compressed bytes, or by the client, which does not.
    Records that fit are accepted before and after, also above the client's default limit.
    """
    plain = Publisher(toy.connection, "plain", compression="none")
    squeezed = Publisher(toy.connection, "squeezed")
    topic = toy.topic(ADD)
    plain.publish(topic, None, random.Random(1).randbytes(LARGE_BYTES), partition=0)
    for size, through in ((LARGE_BYTES + 1_000, plain), (MESSAGE_BYTES_MAX + 1, squeezed)):
        with pytest.raises(Refused, match="MSG_SIZE_TOO_LARGE"):
            through.publish(topic, None, bytes(size), partition=0)
    for each in (plain, squeezed):
        each.publish(topic, None, b"after", partition=0)
    at = squeezed.publish(topic, b"key", ZEROS, partition=0, headers=[("a", b"b")]).offset
    plain.close()
    squeezed.close()

    records = KafkaRecords(toy.connection, SystemClock())
    found = records.original(topic, 0, at)
    assert found is not None
    assert (found.offset, found.key, found.value, found.headers) == (
        at, b"key", ZEROS, [("a", b"b")],
    )  # fmt: skip
    assert records.original(topic, 0, at + 1) is None, "beyond the end"
    assert records.original(topic, toy.partitions, 0) is None, "no such partition"
