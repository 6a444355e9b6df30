"""What is measured, one function per figure. All on one running cluster, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, Message, TopicPartition

from bench.cluster import Bench
from bench.load import STAGES, Load, payment_ids, stage
from bench.process import Process
from core.values import external_ref
from engine.partitioner import partition_of
from schemas import topology

CLIENT_LOOP_SECONDS_MAX: Final = 600
RATE_PER_SECOND: Final = 2_000
TICK_SECONDS: Final = 0.005
STAGE_LAG_SECONDS: Final = 3.0  # an answer that overtook its question would be quarantined
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
Place = tuple[str, int, int]
Input = tuple[str, int, bytes, bytes]


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
        bench.wait_drained(load[0][0], process.group)
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


def warm_up(bench: Bench, process: Process, run: str, seconds: float, rate: int) -> None:
    """The paced load, unjudged: a cold broker may be so slow that an answer overtakes its
    question.
    """
    _pace(bench, process, run, seconds, rate)


def latency(bench: Bench, process: Process, run: str, seconds: float) -> dict[str, Any]:
    """Milliseconds from publishing an input to reading its first event committed, at 2,000 inputs a
    second of all six stages at once; and the processor's share of a core meanwhile.

    Each payment's inputs come seconds apart. The time in which not all stages run is not measured.
    Raises RuntimeError when an input has no event.
    """
    sent, arrived, share = _pace(bench, process, run, seconds, RATE_PER_SECOND)
    if missing := sent.keys() - arrived.keys():
        topics = dict(Counter(topic for topic, _, _ in missing))
        raise RuntimeError(f"of {len(sent)} inputs have no event: {topics}")
    millis = sorted((arrived[place] - at) * 1000 for place, at in sent.items())
    picked = {"p50": 0.50, "p99": 0.99, "p999": 0.999}
    figures = {name: round(millis[int(q * (len(millis) - 1))], 1) for name, q in picked.items()}
    return {"endToEndMillisAt2000": figures, "cpuShareAt2000": round(share, 3)}


def _pace(
    bench: Bench, process: Process, run: str, seconds: float, rate: int
) -> tuple[dict[Place, float], dict[Place, float], float]:
    """When each measured input was published, when its first event was read, and the processor's
    share of a core.
    """
    paced = _paced(bench, run, seconds, rate)
    reader = _journal_reader(bench)
    sent: dict[Place, float] = {}
    arrived: dict[Place, float] = {}
    decode = bench.codec.decode

    def note(messages: list[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            value = message.value()
            if value is not None:
                cause = decode(topology.EVENTS, value).header.cause
                arrived.setdefault((cause.topic, cause.partition, cause.offset), now)

    used, begun, started = 0.0, 0.0, time.monotonic()
    for due_s, measured, (topic, partition, key, value) in paced:
        while (now := time.monotonic()) - started < due_s:
            bench.producer.poll(0)
            note(reader.consume(10_000, TICK_SECONDS))
        if measured and not begun:
            used, begun = process.cpu_seconds(), now
        report = _noting(sent, now) if measured else None
        bench.producer.produce(topic, value, key, partition, report)
    share = (process.cpu_seconds() - used) / (time.monotonic() - begun)
    bench.producer.flush(ARRIVAL_WAIT_SECONDS)
    deadline = time.monotonic() + ARRIVAL_WAIT_SECONDS
    while sent.keys() - arrived.keys() and time.monotonic() < deadline:
        note(reader.consume(10_000, TICK_SECONDS))
    reader.close()
    return sent, arrived, share


def _paced(bench: Bench, run: str, seconds: float, rate: int) -> list[tuple[float, bool, Input]]:
    """(second at which it is due, whether all stages run then, input), in order."""
    payments_per_second = rate / len(STAGES)
    lag = int(payments_per_second * STAGE_LAG_SECONDS)
    last = lag * (len(STAGES) - 1)
    count = int(payments_per_second * seconds) + last
    ids = payment_ids(run, count)
    now_ms = int(time.time() * 1000)
    loads = [stage(bench.codec, name, run, ids, bench.partitions, now_ms) for name in STAGES]
    return [
        (tick / payments_per_second, last <= tick < count, load[tick - number * lag])
        for tick in range(count + last)
        for number, load in enumerate(loads)
        if 0 <= tick - number * lag < count
    ]


def _journal_reader(bench: Bench) -> Consumer:
    """A read_committed reader at the journal's end."""
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
    return reader


def _noting(sent: dict[Place, float], at: float) -> Callable[[Any, Message], None]:
    def report(error: Any, message: Message) -> None:
        if error is not None:
            raise RuntimeError(f"an input was not taken: {error}")
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        sent[topic, partition, offset] = at

    return report


def replay(bench: Bench) -> dict[str, Any]:
    """Events per second of all strengths over the whole log, by the command people use."""
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
