"""The yardstick: a loop that consumes the same inputs and produces the same bytes, and decides
nothing.

Run as a separate process, so that its CPU seconds can be read beside the processor's.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

BATCH_RECORDS: Final = 1_000
IDLE_SECONDS_MAX: Final = 30.0
SAMPLE_RECORDS: Final = 1_000
SCRATCH: Final = "bench.scratch"


def sample(bootstrap: str, topic: str) -> tuple[list[bytes], int]:
    """Some real output values of `topic`, and how many records its partitions hold."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-sample"})
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {n: consumer.get_watermark_offsets(TopicPartition(topic, n))[1] for n in numbers}
    consumer.assign([TopicPartition(topic, n, 0) for n in numbers])
    values: list[bytes] = []
    deadline = time.monotonic() + IDLE_SECONDS_MAX
    while len(values) < min(SAMPLE_RECORDS, sum(ends.values())) and time.monotonic() < deadline:
        for message in consumer.consume(SAMPLE_RECORDS, 0.5):
            value = message.value()
            if value is not None:
                values.append(value)
    consumer.close()
    return values, sum(ends.values())


def main() -> int:
    """argv: bootstrap, number of inputs, comma-separated input topics, then output topics."""
    bootstrap, count, inputs, outputs = sys.argv[1:5]
    expected = int(count)
    templates: list[tuple[list[bytes], float]] = []
    for topic in outputs.split(","):
        values, total = sample(bootstrap, topic)
        if values:
            templates.append((values, total / expected))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"bench-client-loop-{time.time_ns()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"bench-client-loop-{time.time_ns()}",
            "compression.type": "lz4",
            "linger.ms": 1,
        }
    )
    producer.init_transactions(30)
    consumer.subscribe(inputs.split(","))
    print(json.dumps(run(consumer, producer, expected, templates)))
    consumer.close()
    return 0


def run(
    consumer: Consumer,
    producer: Producer,
    expected: int,
    templates: list[tuple[list[bytes], float]],
) -> dict[str, Any]:
    owed = [0.0] * len(templates)
    done, produced, started, cpu = 0, 0, 0.0, 0.0
    idle_since = time.monotonic()
    while done < expected:
        messages = consumer.consume(min(BATCH_RECORDS, expected - done), 0.2)
        if not messages:
            if time.monotonic() - idle_since > IDLE_SECONDS_MAX:
                break
            continue
        if not done:
            started, cpu = time.monotonic(), time.process_time()
        idle_since = time.monotonic()
        producer.begin_transaction()
        places: Counter[tuple[str, int]] = Counter()
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if topic is None or partition is None or offset is None:
                raise RuntimeError("a record without a place")
            places[topic, partition] = offset + 1
            for index, (values, ratio) in enumerate(templates):
                owed[index] += ratio
                while owed[index] >= 1.0:
                    owed[index] -= 1.0
                    producer.produce(
                        SCRATCH, values[produced % len(values)], message.key(), partition
                    )
                    produced += 1
        offsets = [TopicPartition(t, p, o) for (t, p), o in places.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
        done += len(messages)
    seconds, used = time.monotonic() - started, time.process_time() - cpu
    return {
        "records": done,
        "produced": produced,
        "recordsPerSecond": round(done / seconds),
        "cpuSecondsPerMillion": round(used / done * 1e6, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
