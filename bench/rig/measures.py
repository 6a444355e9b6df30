"""What is measured, one function per figure. All on one running cluster, in one run."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from bench.rig.cluster import Bench
from bench.rig.load import STAGES, Load, payment_ids, stage
from bench.rig.process import Measured
from core.values import external_ref
from engine.partitioner import partition_of
from schemas import topology

CLIENT_LOOP_SECONDS_MAX: Final = 600
COUNT_SECONDS_MAX: Final = 120.0
# Deposits Core's answer to a hold comes two stages after the request. After 30 s
# (`funds_repeat_waits_ms`) the processor would repeat the request, and the traffic would differ.
STAGE_SECONDS: Final = 4.0
WAVE_MIN: Final = 1_000
SEED_CHUNK: Final = 50_000
OUTPUTS: Final = (
    topology.EVENTS,
    topology.LIFECYCLE,
    topology.RAIL_SUBMISSIONS,
    topology.DEPOSITS_REQUESTS,
    topology.RESOLVE_REQUESTS,
)

Say = Callable[[str], None]


def throughput(
    bench: Bench, process: Measured, run: str, payments: int, say: Say, wave: int = 0
) -> dict[str, Any]:
    """Inputs per second and CPU seconds, stage by stage; the processor is stopped while a stage is
    produced. Payments go through all stages `wave` at a time (0: all at once).
    """
    ids = payment_ids(run, payments)
    taken, cpu = dict.fromkeys(STAGES, 0.0), 0.0
    memory_before, memory_open = process.memory_bytes(), 0
    wave = wave or payments
    for first in range(0, payments, wave):
        now_ms = int(time.time() * 1000)
        some = ids[first : first + wave]
        loads = [
            (name, stage(bench.codec, name, run, some, bench.partitions, now_ms, first))
            for name in STAGES
        ]
        for name, load in loads:
            process.pause()
            bench.produce(load)
            used, started = process.cpu_seconds(), time.monotonic()
            process.resume()
            bench.wait_drained(load[0][0], process)
            taken[name] += time.monotonic() - started
            cpu += process.cpu_seconds() - used
            memory_open = memory_open or process.memory_bytes()
    stages = {name: round(payments / taken[name]) for name in STAGES}
    for name, rate in stages.items():
        say(f"  {name:12} {rate:>9,} inputs/s")
    inputs = payments * len(STAGES)
    return {
        "inputs": inputs,
        "inputsPerSecond": round(inputs / sum(taken.values())),
        "cpuSecondsPerMillionInputs": round(cpu / inputs * 1e6, 2),
        "bytesPerOpenPayment": round((memory_open - memory_before) / min(wave, payments)),
        "stages": stages,
    }


def wave_for(figures: dict[str, Any], payments: int) -> int:
    """How many payments this machine takes through a stage in time, from the warm-up's figures."""
    slowest = min(figures["stages"].values())
    return max(WAVE_MIN, min(payments, int(slowest * STAGE_SECONDS)))


def client_loop(bench: Bench, inputs: int) -> dict[str, Any]:
    """The yardstick over the inputs of `throughput`, in a separate process."""
    topics = [topology.COMMANDS, topology.RESOLVE_DECISIONS, topology.DEPOSITS_RESULTS]
    topics.append(topology.RAIL_REPORTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.rig.client_loop", bench.bootstrap, str(inputs)),
            *(",".join(topics), ",".join(OUTPUTS)),
        ],
        capture_output=True,
        text=True,
        timeout=CLIENT_LOOP_SECONDS_MAX,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def replay(bench: Bench) -> dict[str, Any]:
    """Events per second of all strengths over the whole log, by the command people use, its start
    included; the same per CPU second of all its processes, without the broker's.
    """
    started, used = time.monotonic(), _children_cpu_seconds()
    bench.npp("replay", "verify", "--json")
    seconds, used = time.monotonic() - started, _children_cpu_seconds() - used
    events = count_records(bench, topology.EVENTS)
    return {
        "replayEventsPerSecond": round(events / seconds),
        "replayEventsPerCpuSecond": round(events / used),
        "replayEvents": events,
    }


def _children_cpu_seconds() -> float:
    """User and system seconds of this process's children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def count_records(bench: Bench, topic: str) -> int:
    """The committed records of a topic, counted by reading them all. Raises RuntimeError after
    COUNT_SECONDS_MAX.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bench.bootstrap, "group.id": "bench-count", "log_level": 2,
            "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "enable.auto.commit": False, "enable.partition.eof": True,
        }
    )  # fmt: skip
    open_partitions = set(bench.ends(topic))
    consumer.assign([TopicPartition(topic, number, 0) for number in open_partitions])
    total, deadline = 0, time.monotonic() + COUNT_SECONDS_MAX
    while open_partitions:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic} was not read to its end in {COUNT_SECONDS_MAX} s")
        for message in consumer.consume(10_000, 0.5):
            if message.error():
                open_partitions.discard(message.partition() or 0)
            else:
                total += 1
    consumer.close()
    return total


def seed(bench: Bench, example_id: str, payments: int, say: Say) -> None:
    """Publish `payments` known payments: the lifecycle record of `example_id`, which is at rest,
    under other ids.
    """
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
