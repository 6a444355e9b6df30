"""A throw-away Kafka and registry with the product's topics, for one run of the bench."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from app.platform.broker import Cluster
from app.platform.children import free_ports
from app.platform.java import JVM_COMPILED
from app.platform.registry import Registry
from bench.client_loop import SCRATCH
from bench.load import Load
from bench.process import Process
from engine.clients.groups import GroupAdmin
from schemas import catalogue
from schemas.codec import Codec
from schemas.registry.setup import Options, open_codec

GROUP: Final = "npp-payments"
RULE_SET: Final = "1"
COMMAND_SECONDS_MAX: Final = 120
QUEUE_POLL_EVERY: Final = 1_000
DRAIN_WAIT_SECONDS: Final = 600.0
LOOK_EVERY_SECONDS: Final = 0.02
HEAP_MB: Final = 1_024


class Bench:
    """The running cluster and what the bench does with it."""

    def __init__(self, folder: Path, bootstrap: str, registry_url: str) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.environment = {
            "NPP_PROFILE": "test",
            "NPP_BOOTSTRAP_SERVERS": bootstrap,
            "NPP_SCHEMA_REGISTRY_URL": registry_url,
            "NPP_DATA_DIR": str(folder / "data"),
            "NPP_LOG_LEVEL": "ERROR",
        }
        self.topics = catalogue.load()
        self.partitions = self.topics.partition_count("npp.payment.events.v1", "embedded")
        self.npp("schemas", "register")
        self.npp("topics", "apply", "--rules", RULE_SET)
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
        self.codec: Codec = open_codec(
            registry_url,
            self.topics,
            folder / "data" / "ids.lock",
            Options(monotonic_seconds=time.monotonic),
        )
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "compression.type": "lz4",
                "acks": "1",
                "log_level": 2,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
            }
        )
        made = self.admin.create_topics([NewTopic(SCRATCH, self.partitions, 1)])
        made[SCRATCH].result()

    def npp(self, *arguments: str) -> str:
        """Run one `npp` command. Raises RuntimeError with what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.npp", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npp {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def processor(self) -> Process:
        """A payments processor; the same instance, so the same store, each time."""
        port = free_ports(1)[0]
        environment = {
            **self.environment,
            "NPP_INSTANCE_ID": "bench-1",
            "NPP_METRICS_PORT": str(port),
        }
        command = [sys.executable, "-m", "app.cli.npp", "run", "payments"]
        return Process(command, environment, self.folder / "payments.log", GROUP)

    def produce(self, load: Load) -> None:
        """All of it, confirmed."""
        produce, poll = self.producer.produce, self.producer.poll
        for count, (topic, partition, key, value) in enumerate(load):
            produce(topic, value, key, partition)
            if count % QUEUE_POLL_EVERY == 0:
                poll(0)
        if left := self.producer.flush(DRAIN_WAIT_SECONDS):
            raise RuntimeError(f"{left} records were not taken by Kafka")

    def ends(self, topic: str) -> dict[int, int]:
        """End offset of each partition."""
        count = len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client's stub lacks it
        asked = {TopicPartition(topic, n): latest for n in range(count)}
        return {tp.partition: f.result().offset for tp, f in self.admin.list_offsets(asked).items()}

    def wait_drained(self, topic: str, group: str = GROUP) -> None:
        """Until `group` has committed all of `topic`. Raises RuntimeError after a time."""
        ends = self.ends(topic)
        groups = GroupAdmin({"bootstrap.servers": self.bootstrap})
        deadline = time.monotonic() + DRAIN_WAIT_SECONDS
        while time.monotonic() < deadline:
            got = groups.committed(group)
            if all(got.get((topic, n), -1) >= end for n, end in ends.items()):
                return
            time.sleep(LOOK_EVERY_SECONDS)
        raise RuntimeError(f"{topic} was not drained in {DRAIN_WAIT_SECONDS} s")


@contextmanager
def running(folder: Path) -> Iterator[Bench]:
    """Start it all, and end it."""
    registry = Registry(folder / "registry")
    with Cluster(folder / "kafka", heap_mb=HEAP_MB, jvm=JVM_COMPILED) as kafka:
        registry.start()
        try:
            yield Bench(folder, kafka.bootstrap, registry.url)
        finally:
            registry.stop()
