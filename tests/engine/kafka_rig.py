"""Toy processes on a real Kafka for the engine's own tests: topics, process handles, committed
records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from engine.clients.reader import read_all
from engine.partitioner import partition_of
from engine.records import LogRecord
from engine.topics import TopicAdmin, TopicSpec
from tests.engine.toy import ADD, CONTROL, JOURNAL, QUARANTINE, TOPICS, named
from tests.rooms import ROOT

WAIT_S = 60.0
END_S = 30.0


class Rig:
    """One application with its own topics on a shared Kafka."""

    def __init__(self, bootstrap: str, folder: Path, application: str, partitions: int = 3) -> None:
        self.bootstrap = bootstrap
        self.connection: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap}
        self.folder = folder
        self.application = application
        self.partitions = partitions
        self.processes: list[subprocess.Popen[str]] = []
        self._producer = Producer({**self.connection, "acks": "all"})
        TopicAdmin(self.connection).apply(
            [
                TopicSpec(
                    self.topic(name),
                    1 if name in (CONTROL, QUARANTINE) else partitions,
                    1,
                    {"message.timestamp.type": "LogAppendTime"},
                )
                for name in (*TOPICS, CONTROL)
            ]
        )

    def topic(self, name: str) -> str:
        """The application's own topic of that name."""
        return named(name, self.application)

    def send(self, count: int, *, keys: int = 20, topic: str = ADD, value: bytes = b"add") -> None:
        """Send `count` records over `keys` keys, confirmed."""
        for at in range(count):
            key = b"key-%d" % (at % keys)
            self._producer.produce(
                self.topic(topic), value, key, partition_of(key, self.partitions)
            )
            if at % 10_000 == 0:
                self._producer.poll(0)
        assert self._producer.flush(END_S) == 0

    def control(self, value: bytes) -> None:
        """Send one control record, confirmed."""
        self._producer.produce(self.topic(CONTROL), value, None, 0)
        assert self._producer.flush(END_S) == 0

    def start(self, instance: str = "one", **environment: str) -> subprocess.Popen[str]:
        """Start a toy process."""
        log = (self.folder / f"{instance}.log").open("a")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.engine.toy_main",
                self.bootstrap,
                instance,
                str(self.folder / "data"),
                str(self.partitions),
                self.application,
            ],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, instance: str = "one") -> str:
        """The instance's log output so far."""
        return (self.folder / f"{instance}.log").read_text()

    def take_place(self, member: str, topics: list[str]) -> Consumer:
        """Take over a member's place in the group, and wait for an assignment; the caller closes
        the consumer.
        """
        consumer = Consumer(
            {
                **self.connection, "group.id": f"npp-{self.application}",
                "group.instance.id": member, "partition.assignment.strategy": "range",
                "enable.auto.commit": False, "session.timeout.ms": 6_000,
            }
        )  # fmt: skip
        consumer.subscribe([self.topic(name) for name in topics])
        deadline = time.monotonic() + WAIT_S
        while not consumer.assignment():
            assert time.monotonic() < deadline, "NV: the thief was given nothing"
            consumer.poll(0.05)
        return consumer

    def records(self, name: str) -> list[LogRecord]:
        """Committed records of a topic."""
        return [r for batch in read_all(self.connection, self.topic(name)) for r in batch]

    def lines(self) -> list[dict[str, Any]]:
        """The counts, partition by partition, in order."""
        found = [r for r in self.records(JOURNAL) if r.value and r.value.startswith(b"{")]
        return [
            json.loads(r.value or b"") for r in sorted(found, key=lambda r: (r.partition, r.offset))
        ]

    def wait_for(self, count: int, wait_s: float = WAIT_S) -> list[dict[str, Any]]:
        """Wait until that many are counted; fails with the processes' logs otherwise."""
        self.until(lambda: len(self.lines()) >= count, f"{count} counted", wait_s)
        return self.lines()

    def until(self, holds: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> float:
        """Wait until the condition holds; return the seconds it took."""
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > wait_s:
                logs = "\n".join(p.read_text()[-3000:] for p in self.folder.glob("*.log"))
                raise AssertionError(
                    f"not within {wait_s} s: {what}, {len(self.lines())} counted\n{logs}"
                )
            time.sleep(0.1)
        return time.monotonic() - started

    def check_counted_once(self, sent: int) -> None:
        """Each input has exactly one line, and each key counts 1..n without a gap."""
        lines = self.lines()
        causes = [line["cause"] for line in lines]
        assert len(causes) == len(set(causes)) == sent
        for key in {line["key"] for line in lines}:
            counts = [line["n"] for line in lines if line["key"] == key]
            assert counts == list(range(1, len(counts) + 1)), key

    def stop(self) -> None:
        """End the processes that still run."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(END_S)


@contextmanager
def rig(bootstrap: str, folder: Path, application: str, partitions: int = 3) -> Iterator[Rig]:
    """A rig whose processes end with the block."""
    made = Rig(bootstrap, folder, application, partitions)
    try:
        yield made
    finally:
        made.stop()
