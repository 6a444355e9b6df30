"""A throw-away Kafka and registry with the product's topics, for one run of the bench."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
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
from bench.rig import builds
from bench.rig.client_loop import SCRATCH
from bench.rig.load import Load
from bench.rig.process import Measured, Process, cpu_seconds
from engine.clients.groups import GroupAdmin
from schemas import catalogue
from schemas.codec import Codec
from schemas.registry.setup import Options, open_codec

GROUP: Final = "npp-payments"
RULE_SET: Final = "1"
COMMAND_SECONDS_MAX: Final = 120
QUEUE_POLL_EVERY: Final = 1_000
FLUSH_WAIT_SECONDS: Final = 600.0
STILL_SECONDS_MAX: Final = 120.0  # without one commit, while records wait
LOOK_EVERY_SECONDS: Final = 0.02
HEAP_MB: Final = 1_024


class Bench:
    """The running cluster and what the bench does with it."""

    def __init__(self, folder: Path, tree: Path, kafka: Cluster, registry_url: str) -> None:
        self.folder = folder
        self.broker_pid = kafka.pid()
        bootstrap = kafka.bootstrap
        self.tree = tree
        self.bootstrap = bootstrap
        self.environment = {
            "NPP_PROFILE": "test",
            "NPP_BOOTSTRAP_SERVERS": bootstrap,
            "NPP_SCHEMA_REGISTRY_URL": registry_url,
            "NPP_DATA_DIR": str(folder / "data"),
            "NPP_LOG_LEVEL": "ERROR",
        }
        self.topics = catalogue.load(tree / builds.TOPICS)
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
            cwd=self.tree,
            env={**builds.environment(self.tree), **self.environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npp {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def processor(
        self, instance: str = "bench-1", more: Mapping[str, str] | None = None
    ) -> Process:
        """A payments processor, with `more` settings; the same store each time for the same
        instance.
        """
        port = free_ports(1)[0]
        environment = {
            **builds.environment(self.tree),
            **self.environment,
            "NPP_INSTANCE_ID": instance,
            "NPP_METRICS_PORT": str(port),
            **(more or {}),
        }
        command = [sys.executable, "-m", "app.cli.npp", "run", "payments"]
        return Process(command, environment, self.folder / f"{instance}.log", GROUP, self.tree)

    def produce(self, load: Load) -> None:
        """All of it, confirmed."""
        produce, poll = self.producer.produce, self.producer.poll
        for count, (topic, partition, key, value) in enumerate(load):
            produce(topic, value, key, partition)
            if count % QUEUE_POLL_EVERY == 0:
                poll(0)
        if left := self.producer.flush(FLUSH_WAIT_SECONDS):
            raise RuntimeError(f"{left} records were not taken by Kafka")

    def ends(self, topic: str) -> dict[int, int]:
        """End offset of each partition."""
        count = len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client's stub lacks it
        requested = {TopicPartition(topic, n): latest for n in range(count)}
        return {
            tp.partition: f.result().offset for tp, f in self.admin.list_offsets(requested).items()
        }

    def broker_cpu_seconds(self) -> float:
        """User and system seconds of the broker so far."""
        return cpu_seconds(self.broker_pid)

    def wait_drained(self, topic: str, process: Measured) -> None:
        """Until its group has committed all of `topic`. Raises RuntimeError when the process ends,
        or commits nothing for a time.
        """
        ends = self.ends(topic)
        groups = GroupAdmin({"bootstrap.servers": self.bootstrap})
        done, moved_s = -1, time.monotonic()
        while True:
            got = groups.committed(process.group)
            if all(got.get((topic, n), -1) >= end for n, end in ends.items()):
                return
            now_s, committed = time.monotonic(), sum(got.values())
            if committed != done:
                done, moved_s = committed, now_s
            if process.has_ended() or now_s - moved_s > STILL_SECONDS_MAX:
                raise RuntimeError(
                    f"{topic} is not drained, and nothing was committed for "
                    f"{now_s - moved_s:.0f} s (load average {os.getloadavg()[0]:.1f}): "
                    f"{process.log_tail()}"
                )
            time.sleep(LOOK_EVERY_SECONDS)


@contextmanager
def running(folder: Path, tree: Path = builds.ROOT) -> Iterator[Bench]:
    """Start it all, and end it; the product's processes run from `tree`."""
    registry = Registry(folder / "registry")
    with Cluster(folder / "kafka", heap_mb=HEAP_MB, jvm=JVM_COMPILED) as kafka:
        registry.start()
        try:
            yield Bench(folder, tree, kafka, registry.url)
        finally:
            registry.stop()
