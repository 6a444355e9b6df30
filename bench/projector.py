"""Speed of the projector's fold and of its database together, without Kafka.

python -m bench.projector --database sqlite|postgres --payments N [--json]: histories made by the
product's own code go through the feed that `npp run projector` runs; the last line is one JSON
object. `eventsPerCpuSecond` is of this process alone: PostgreSQL's own work comes on top.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from app.config import memory
from bench.rig.answer import give, options_of
from engine.clients.topics_reader import Reading
from engine.clock import SystemClock
from engine.ports import TopicPartition
from engine.records import LogRecord
from readmodel.model import default_url, open_model
from schemas import topology as t
from tests.postgres import open_postgres
from tests.processors.payments.clean_history import PARTITIONS, Outside
from tests.processors.projector import harness

PAYMENTS: Final = 3_000
FETCHED: Final = 1_000  # records of one partition that come at once


class Log(harness.MemorySource):
    """Offsets without holes: a slice of each partition in turn."""

    def read(self, count: int, wait_s: float) -> Reading:
        records: dict[TopicPartition, list[LogRecord]] = {}
        for place, at in self._position.items():
            taken = self.log[place][at : at + min(count, FETCHED)]
            count -= len(taken)
            if taken:
                records[place] = taken
        for place, taken in records.items():
            self._position[place] += len(taken)
        return Reading(records, {})


def histories(payments: int) -> tuple[Outside, list[LogRecord]]:
    """Payments that are acknowledged and settled: twelve events each."""
    world = Outside()
    world.settle = lambda: None  # type: ignore[method-assign]
    names = [world.create(f"bench-{number}") for number in range(payments)]
    Outside.settle(world)
    now = world.driver.clock.now_ms()
    for kind, code, times in (
        ("RECEIVED", "RCVD", {"submitted_at": now, "answered_at": now + 30}),
        ("ACCEPTED", "ACSP", {}),
        ("SETTLED", "ACSC", {}),
    ):
        for name in names:
            world.report(name, kind, code=code, **times)
    Outside.settle(world)
    return world, harness.log_of(world)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The address of an empty database."""
    with tempfile.TemporaryDirectory(prefix="npp-bench-") as folder:
        if kind == "sqlite":
            yield default_url(Path(folder))
            return
        with open_postgres({}) as server, server.database() as url:
            yield url


def measure(url: str, world: Outside, log: list[LogRecord]) -> Mapping[str, Any]:
    many = dict.fromkeys((t.EVENTS, t.OPERATOR_COMMANDS, t.CHECKPOINTS), PARTITIONS)
    model = open_model(url)
    writer, reader = model.writer(), model.reader()
    feed = harness.feed_of(Log(log, many), writer, world.codec, SystemClock())
    feed.open(reader)
    events = 0
    memory.freeze_heap()  # as the process does
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while (written := feed.step(0.0)) is not None:
        events += written.records.get(t.EVENTS, 0)
    seconds, cpu = time.perf_counter() - began_s, time.process_time() - cpu_s
    for each in (writer, reader, model):
        each.close()
    return {
        "events": events,
        "seconds": round(seconds, 2),
        "eventsPerSecond": round(events / seconds),
        "eventsPerCpuSecond": round(events / cpu),
    }


def main() -> int:
    parser = options_of("bench.projector", __doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--payments", type=int, default=PAYMENTS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    world, log = histories(options.payments)
    with database(options.database) as url:
        figures = measure(url, world, log)
    give({"database": options.database, **figures}, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
