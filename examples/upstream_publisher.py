"""An upstream system: a Kafka client and the published schemas, nothing else.

It computes paymentIntentId and partition by the published recipes, and like the systems of real
life it is not always right: it repeats itself, changes its mind, and sends garbage. It says exactly
what it published.

    python -m examples.upstream_publisher --payments 100 --rate 50 --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from typing import Any

from confluent_kafka import Producer

from examples.upstream_load import MISTAKES, SOURCES, Encoder, Load, now_ms, partition_of

FLUSH_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 30.0
RUN_HEADER = "upstream-run"  # of every record: which run of this program published it
MISTAKES_FROM_PAYMENTS = 20  # a smaller load is all happy_path


def plan(payments: int, draw: random.Random) -> list[str]:
    """The kinds of all records in order: first a payment, mistakes strewn among the rest."""
    mistakes: list[str] = []
    if payments >= MISTAKES_FROM_PAYMENTS:
        for kind, (per_thousand, _) in MISTAKES.items():
            mistakes += [kind] * max(1, round(payments * per_thousand / 1000))
    rest = ["payment"] * (payments - 1) + mistakes
    draw.shuffle(rest)
    return ["payment"] * min(1, payments) + rest


def publish(options: argparse.Namespace) -> dict[str, Any]:
    """Publish the whole load and print what it was. Raises RuntimeError if a record was refused."""
    connection = dict(each.split("=", 1) for each in options.kafka)
    producer = Producer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "compression.type": "lz4",
            **connection,
        }
    )
    known = producer.list_topics(timeout=ANSWER_SECONDS_MAX).topics
    partitions = {topic: len(known[topic].partitions) for topic in SOURCES}
    draw = random.Random(options.seed)
    run = options.run or f"run{options.seed}-{now_ms():x}"
    load = Load(Encoder(options.schema_registry_url), draw, run, partitions)
    failures: list[str] = []
    delivered = 0

    def on_delivery(error: Any, _message: Any) -> None:
        nonlocal delivered
        if error is None:
            delivered += 1
        else:
            failures.append(str(error))

    kinds: Counter[str] = Counter()
    topics: Counter[str] = Counter()
    started = time.monotonic()
    for number, kind in enumerate(plan(options.payments, draw)):
        if options.rate:
            time.sleep(max(0.0, started + number / options.rate - time.monotonic()))
        record = load.payment() if kind == "payment" else load.mistake(kind)
        partition = record.partition
        if partition is None:
            assert record.key is not None
            partition = partition_of(record.key, partitions[record.topic])
        producer.produce(
            record.topic,
            record.value,
            record.key,
            partition,
            headers=[(RUN_HEADER, run.encode())],
            on_delivery=on_delivery,
        )
        producer.poll(0)
        kinds[record.kind] += 1
        topics[record.topic] += 1
    left = producer.flush(FLUSH_SECONDS_MAX)
    if left or failures:
        raise RuntimeError(f"{left + len(failures)} records were not taken: {failures[:3]}")
    return {
        "run": run,
        "records": delivered,
        "payments": kinds["payment"],
        "byKind": dict(sorted(kinds.items())),
        "byTopic": dict(sorted(topics.items())),
        "expected": expected(kinds),
        "seconds": round(time.monotonic() - started, 3),
    }


def expected(kinds: Counter[str]) -> dict[str, int]:
    """What has to become of the records; `either` are those where the clock decides."""
    counts = Counter({"accepted": kinds["payment"]})
    for kind, (_, becomes) in MISTAKES.items():
        counts[becomes] += kinds[kind]
    return {
        name: counts[name]
        for name in ("accepted", "duplicates", "rejected", "quarantined", "either")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--payments", type=int, default=100, help="good payments; faulty records are added"
    )
    parser.add_argument(
        "--rate", type=float, default=0, help="records per second; 0 = as fast as it goes"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same load")
    parser.add_argument(
        "--run",
        default="",
        help="part of every idempotency key, header of every record; default: seed and time",
    )
    parser.add_argument("--bootstrap-servers", default=os.environ.get("NPP_BOOTSTRAP_SERVERS"))
    parser.add_argument("--schema-registry-url", default=os.environ.get("NPP_SCHEMA_REGISTRY_URL"))
    parser.add_argument(
        "--kafka", action="append", default=[], metavar="OPTION=VALUE", help="librdkafka option"
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    if not options.bootstrap_servers or not options.schema_registry_url:
        parser.error("name Kafka and the schema registry (options, or NPP_* variables)")
    try:
        report = publish(options)
    except RuntimeError as error:
        print(f"upstream publisher: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report))
    else:
        print(f"published {report['records']} records in {report['seconds']} s: {report['byKind']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
