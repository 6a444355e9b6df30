"""Publishes one payment and follows it to its end, with a Kafka client and the registry's schemas.

    python -m examples.publish_and_follow --key my-key-1 --amount 1250

Exit 0: settled; 1: anything else. Kafka and registry: NPP_BOOTSTRAP_SERVERS and
NPP_SCHEMA_REGISTRY_URL, or the options.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from examples.upstream_load import (
    APP_SOURCE,
    APP_TOPIC,
    Encoder,
    now_ms,
    partition_of,
    payment_intent_id,
)

LIFECYCLE, OUTCOMES = "npp.payment.lifecycle.v1", "npp.payment.outcomes.v1"
FINAL = ("SETTLED", "FAILED", "EXPIRED")
ANSWER_SECONDS_MAX = 30.0
FOLLOW_SECONDS_MAX = 60.0


def command(encoder: Encoder, payment: str, command_id: str, key: str, cents: int) -> bytes:
    """CreatePayment in the registry's wire format."""
    account = {"payIdType": None, "payId": None}
    parties = {
        "debtor": {"name": "Ada Debtor", "bsb": "062000", "account": "12345678", **account},
        "creditor": {"name": "Bo Creditor", "bsb": "082000", "account": "87654321", **account},
        "remittance": "invoice 1",
    }
    header = {"paymentIntentId": payment, "commandId": command_id, "sentAt": now_ms()}
    body = {
        "header": {**header, "traceparent": None},
        "source": APP_SOURCE,
        "idempotencyKey": key,
        "amount": cents,
        "currency": "AUD",
        "parties": encoder.sealed(parties),
        "endToEndId": "NOTPROVIDED",
        "service": "x2p1",
        "uetr": None,
        "customerId": None,
        "requestedExecutionTime": None,
        "expiresAt": None,
    }
    return encoder.record(APP_TOPIC, "CreatePayment", body)


def at_the_ends(consumer: Consumer) -> None:
    """Seek both topics to their ends, so that later records are read."""
    known = consumer.list_topics(timeout=ANSWER_SECONDS_MAX).topics
    places = []
    for topic in (LIFECYCLE, OUTCOMES):
        for number in known[topic].partitions:
            place = TopicPartition(topic, number)
            _, place.offset = consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS_MAX)
            places.append(place)
    consumer.assign(places)


def publish(bootstrap: str, payment: str, value: bytes) -> None:
    """Raises RuntimeError when Kafka does not take it."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
        }
    )
    count = len(producer.list_topics(APP_TOPIC, ANSWER_SECONDS_MAX).topics[APP_TOPIC].partitions)
    failures: list[str] = []
    key = payment.encode()
    producer.produce(
        APP_TOPIC,
        value,
        key,
        partition_of(key, count),
        on_delivery=lambda error, _: failures.append(str(error)) if error else None,
    )
    if producer.flush(ANSWER_SECONDS_MAX) or failures:
        raise RuntimeError(f"Kafka did not take the record: {failures}")


def follow(consumer: Consumer, registry: str, payment: str, command_id: str) -> bool:
    """Print what happens to it; whether it is settled."""
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    until, seen = time.monotonic() + FOLLOW_SECONDS_MAX, 0
    while time.monotonic() < until:
        message = consumer.poll(0.2)
        if message is None or message.error() or message.key() != payment.encode():
            continue
        topic = str(message.topic())
        record: Any = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
        if record is None:
            continue
        if topic == OUTCOMES:
            if record["cause"]["commandId"] == command_id:
                print(record["result"], record["rule"], record["sentence"])
                return False  # a duplicate or a refusal; an accepted payment has no outcome
        elif record["sequence"] > seen:  # else one that was seen already
            seen = record["sequence"]
            print(seen, record["state"], record["moneyOutcome"], flush=True)
            if record["state"] in FINAL:
                return bool(record["state"] == "SETTLED")
    print("not at its end yet")
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--key", required=True, help="idempotency key: the same is one payment")
    parser.add_argument("--amount", type=int, required=True, help="cents")
    parser.add_argument("--bootstrap-servers", default=os.environ.get("NPP_BOOTSTRAP_SERVERS"))
    parser.add_argument("--schema-registry-url", default=os.environ.get("NPP_SCHEMA_REGISTRY_URL"))
    options = parser.parse_args()
    kafka, registry = options.bootstrap_servers, options.schema_registry_url
    payment = payment_intent_id(APP_SOURCE, options.key)
    command_id = f"cmd-{uuid.uuid4()}"
    print(payment, flush=True)
    value = command(Encoder(registry), payment, command_id, options.key, options.amount)
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "not-used",  # partitions are assigned, offsets are not stored
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    try:
        at_the_ends(consumer)
        publish(kafka, payment, value)
        return 0 if follow(consumer, registry, payment, command_id) else 1
    finally:
        consumer.close()


if __name__ == "__main__":
    sys.exit(main())
