"""What is measured, one function per figure. All on one running cluster, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, Message, TopicPartition

from bench.cluster import Bench
from bench.load import STAGES, Load, payment_ids, stage
from bench.process import Process
from core.values import external_ref
from engine.partitioner import partition_of
from processors import topology

CLIENT_LOOP_SECONDS_MAX: Final = 600
RATE_PER_SECOND: Final = 2_000
TICK_SECONDS: Final = 0.005
ARRIVAL_WAIT_SECONDS: Final = 30.0
SEED_CHUNK: Final = 50_000
OUTPUTS: Final = (
    topology.EVENTS,
    topology.LIFECYCLE,
    topology.RAIL_SUBMISSIONS,
    topology.DEPOSITS_REQUESTS,
    topology.RESOLVE_REQUESTS,
)

Say = Callable[[str], None]


def throughput(bench: Bench, process: Process, run: str, payments: int, say: Say) -> dict[str, Any]:
    """Inputs per second and CPU seconds, stage by stage; the processor sleeps while a stage is laid
    out.
    """
    ids = payment_ids(run, payments)
    seconds = cpu = 0.0
    memory_before, memory_open = process.memory_bytes(), 0
    stages: dict[str, int] = {}
    for name in STAGES:
        load = stage(bench.codec, name, run, ids, bench.partitions, int(time.time() * 1000))
        process.pause()
        bench.produce(load)
        used, started = process.cpu_seconds(), time.monotonic()
        process.resume()
        bench.wait_drained(load[0][0])
        took = time.monotonic() - started
        cpu += process.cpu_seconds() - used
        seconds += took
        stages[name] = round(payments / took)
        if name == "create":
            memory_open = process.memory_bytes()
        say(f"  {name:12} {payments / took:>9,.0f} inputs/s")
    inputs = payments * len(STAGES)
    return {
        "inputs": inputs,
        "inputsPerSecond": round(inputs / seconds),
        "cpuSecondsPerMillionInputs": round(cpu / inputs * 1e6, 2),
        "bytesPerOpenPayment": round((memory_open - memory_before) / payments),
        "stages": stages,
    }


def client_loop(bench: Bench, inputs: int) -> dict[str, Any]:
    """The yardstick over the inputs of `throughput`, in a process of its own."""
    topics = [topology.COMMANDS, topology.RESOLVE_DECISIONS, topology.DEPOSITS_RESULTS]
    topics.append(topology.RAIL_REPORTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.client_loop", bench.bootstrap, str(inputs)),
            *(",".join(topics), ",".join(OUTPUTS)),
        ],
        capture_output=True,
        text=True,
        timeout=CLIENT_LOOP_SECONDS_MAX,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def latency(bench: Bench, process: Process, run: str, seconds: float) -> dict[str, Any]:
    """Milliseconds from publishing a command to reading its first event committed, at 2,000 a
    second.
    """
    count = int(seconds * RATE_PER_SECOND)
    ids = payment_ids(run, count)
    load = stage(bench.codec, "create", run, ids, bench.partitions, int(time.time() * 1000))
    reader = Consumer(
        {
            "bootstrap.servers": bench.bootstrap,
            "group.id": "bench-latency",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5,
            "enable.auto.commit": False,
        }
    )
    ends = bench.ends(topology.EVENTS)
    reader.assign([TopicPartition(topology.EVENTS, n, end) for n, end in ends.items()])
    reader.consume(1, 0.5)
    sent: dict[bytes, float] = {}
    arrived: dict[bytes, float] = {}
    used, started = process.cpu_seconds(), time.monotonic()
    published = 0
    while published < count:
        due = min(count, int((time.monotonic() - started) * RATE_PER_SECOND))
        for topic, partition, key, value in load[published:due]:
            sent[key] = time.monotonic()
            bench.producer.produce(topic, value, key, partition)
        bench.producer.poll(0)
        published = max(published, due)
        _note(reader.consume(10_000, TICK_SECONDS), arrived)
    wall, cpu = time.monotonic() - started, process.cpu_seconds() - used
    deadline = time.monotonic() + ARRIVAL_WAIT_SECONDS
    while len(arrived) < count and time.monotonic() < deadline:
        bench.producer.poll(0)
        _note(reader.consume(10_000, TICK_SECONDS), arrived)
    reader.close()
    if len(arrived) < count:
        raise RuntimeError(f"{count - len(arrived)} of {count} payments have no event")
    millis = sorted((arrived[key] - sent[key]) * 1000 for key in sent)
    picked = {"p50": 0.50, "p99": 0.99, "p999": 0.999}
    figures = {name: round(millis[int(q * (count - 1))], 1) for name, q in picked.items()}
    return {"endToEndMillisAt2000": figures, "cpuShareAt2000": round(cpu / wall, 3)}


def _note(messages: list[Message], arrived: dict[bytes, float]) -> None:
    now = time.monotonic()
    for message in messages:
        key = message.key()
        if isinstance(key, bytes) and key not in arrived:
            arrived[key] = now


def replay(bench: Bench) -> dict[str, Any]:
    """Events per second of fold, chain and re-decide over the whole log, by the command people use.
    Events per second of fold, chain and re-decide over the whole log, by the command people use.
    """
    started = time.monotonic()
    bench.npp("replay", "verify", "--json")
    seconds = time.monotonic() - started
    events = count_records(bench, topology.EVENTS)
    return {"replayEventsPerSecond": round(events / seconds), "replayEvents": events}


def count_records(bench: Bench, topic: str) -> int:
    """Records of a topic, transaction markers left out, by reading their keys."""
    reader = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "bench-count"})
    ends = bench.ends(topic)
    reader.assign([TopicPartition(topic, n, 0) for n in ends])
    count, idle = 0, 0
    while idle < 3:
        got = len(reader.consume(10_000, 0.5))
        count, idle = count + got, 0 if got else idle + 1
    reader.close()
    return count


def seed(bench: Bench, example_id: str, payments: int, say: Say) -> None:
    """Known payments by the million: lifecycle records of a payment at rest, under other ids."""
    example = _lifecycle_of(bench, example_id)
    old_id, old_ref = example_id.encode(), external_ref(example_id, 1).encode()
    ids = payment_ids("seed", payments)
    for first in range(0, payments, SEED_CHUNK):
        load: Load = []
        for payment_id in ids[first : first + SEED_CHUNK]:
            key = payment_id.encode()
            value = example.replace(old_id, key)
            value = value.replace(old_ref, external_ref(payment_id, 1).encode())
            load.append((topology.LIFECYCLE, partition_of(key, bench.partitions), key, value))
        bench.produce(load)
        say(f"  seeded {min(first + SEED_CHUNK, payments):>9,} of {payments:,} payments")


def _lifecycle_of(bench: Bench, payment_id: str) -> bytes:
    reader = Consumer({"bootstrap.servers": bench.bootstrap, "group.id": "bench-example"})
    number = partition_of(payment_id.encode(), bench.partitions)
    reader.assign([TopicPartition(topology.LIFECYCLE, number, 0)])
    found: bytes | None = None
    idle = 0
    while idle < 3:
        messages = reader.consume(10_000, 0.5)
        idle = 0 if messages else idle + 1
        for message in messages:
            if message.key() == payment_id.encode():
                found = message.value()
    reader.close()
    if found is None:
        raise RuntimeError(f"{payment_id} has no lifecycle record")
    return found
