"""What an upstream system sends: good payments and mistakes, drawn from a seed, in Kafka's bytes.

paymentIntentId and partition by the published recipes; a Kafka client and the published schemas,
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

APP_TOPIC, APP_SOURCE = "npp.payment.commands.v1", "mobile-app"
BATCH_TOPIC, BATCH_SOURCE = "npp.payment.commands.batch.v1", "payroll-batch"
SOURCES = {APP_TOPIC: APP_SOURCE, BATCH_TOPIC: BATCH_SOURCE}
NAMESPACE = "au.npp.orchestrator.v1"
PARTIES_AVSC = Path(__file__).resolve().parent.parent / "schemas" / "avro" / "Parties.avsc"

BATCH_OF_100 = 30  # so many of 100 payments come from payroll

# Records beside the good ones: how many per 1,000 payments (at least one each), and what must
# become of them.
MISTAKES: dict[str, tuple[int, str]] = {
    "exactDuplicate": (30, "duplicates"),
    "alteredDuplicate": (15, "rejected"),
    "wrongId": (8, "rejected"),
    "wrongSource": (8, "rejected"),
    "badAmount": (8, "rejected"),
    "badCurrency": (4, "rejected"),
    "badBsb": (5, "rejected"),
    "badPayId": (5, "rejected"),
    "unreadableParties": (3, "rejected"),
    "undecodable": (10, "quarantined"),
    "nullValue": (2, "quarantined"),
    "wrongPartition": (6, "quarantined"),
    "nullKey": (4, "quarantined"),
    "otherKey": (4, "quarantined"),
    "expireUnknown": (4, "rejected"),
    "expire": (15, "either"),  # accepted while the payment waits for its time, else rejected
}


def payment_intent_id(source: str, idempotency_key: str) -> str:
    """pi_ + base32 (lower case, no padding) of 16 bytes of SHA-256(source, NUL, key)."""
    digest = hashlib.sha256(source.encode() + b"\0" + idempotency_key.encode()).digest()
    return "pi_" + base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def partition_of(key: bytes, partitions: int) -> int:
    """murmur2 as Kafka's Java client computes it, made positive, modulo the partition count."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


@dataclass
class Record:
    """One record to publish: what it is meant to be, where it goes, its key and its value."""

    kind: str
    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None


@dataclass
class Payment:
    """A good payment that was published, kept to repeat, alter or expire it."""

    topic: str
    body: dict[str, Any]
    parties: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.body["header"]["paymentIntentId"])


class Encoder:
    """Values to bytes: Confluent's wire format; plain Avro binary for the parties inside."""

    def __init__(self, registry_url: str) -> None:
        self._registry = SchemaRegistryClient({"url": registry_url})
        self._parties = fastavro.parse_schema(json.loads(PARTIES_AVSC.read_text()))
        self._serializers: dict[tuple[str, str], AvroSerializer] = {}

    def record(self, topic: str, name: str, body: dict[str, Any]) -> bytes:
        serializer = self._serializers.get((topic, name))
        if serializer is None:
            subject = f"{topic}-{NAMESPACE}.{name}"
            schema = self._registry.get_latest_version(subject).schema
            serializer = AvroSerializer(
                self._registry,
                schema.schema_str,
                conf={
                    "auto.register.schemas": False,
                    "subject.name.strategy": topic_record_subject_name_strategy,
                },
            )
            self._serializers[(topic, name)] = serializer
        raw = serializer(body, SerializationContext(topic, MessageField.VALUE))
        assert isinstance(raw, bytes)
        return raw

    def sealed(self, parties: dict[str, Any]) -> dict[str, Any]:
        """scheme avro.1: Avro binary of Parties, no prefix."""
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, self._parties, parties)
        return {"scheme": "avro.1", "keyId": None, "bytes": buffer.getvalue()}


@dataclass
class Load:
    """Draws the records of a run from a seed."""

    encoder: Encoder
    draw: random.Random
    run: str
    partitions: dict[str, int]
    good: list[Payment] = field(default_factory=list)
    waiting: list[Payment] = field(default_factory=list)
    serial: int = 0

    # -- good payments -----------------------------------------------------------------------------

    def payment(self) -> Record:
        topic = BATCH_TOPIC if self.draw.randrange(100) < BATCH_OF_100 else APP_TOPIC
        payment = self._new(topic, SOURCES[topic])
        self._times(payment)
        self.good.append(payment)
        return self._create("payment", payment)

    def _new(self, topic: str, source: str) -> Payment:
        self.serial += 1
        key = f"{self.run}-{self.serial:07d}"
        parties = self._parties()
        payment_id = payment_intent_id(source, key)
        body = {
            "header": self._header(payment_id),
            "source": source,
            "idempotencyKey": key,
            "amount": self.draw.choice(
                (self.draw.randint(1, 9_999), self.draw.randint(10_000, 450_000))
            ),
            "currency": "AUD",
            "parties": self.encoder.sealed(parties),
            "endToEndId": f"E2E-{self.run}-{self.serial}"[:35],
            "service": self.draw.choice(("x2p1", "sct")),
            "uetr": None,
            "customerId": f"cust_{self.draw.randrange(100_000):05d}",
            "requestedExecutionTime": None,
            "expiresAt": None,
        }
        return Payment(topic, body, parties)

    def _times(self, payment: Payment) -> None:
        """Most at once; some later, some only until a time, a few that wait to be expired."""
        now, chance = now_ms(), self.draw.random()
        if chance < 0.05:
            payment.body["requestedExecutionTime"] = now + self.draw.randint(1_000, 5_000)
        elif chance < 0.12:
            payment.body["expiresAt"] = now + self.draw.randint(30_000, 120_000)
        elif chance < 0.14:
            at = now + self.draw.randint(1_000, 4_000)
            payment.body |= {"requestedExecutionTime": at, "expiresAt": at + 60_000}
        elif chance < 0.17:
            payment.body["requestedExecutionTime"] = now + 12_000
            self.waiting.append(payment)

    def _parties(self) -> dict[str, Any]:
        draw = self.draw
        debtor = {"name": "Debtor " + str(draw.randrange(1_000)), **self._account()}
        creditor: dict[str, Any] = {
            "name": "Creditor " + str(draw.randrange(1_000)),
            **self._account(),
        }
        if draw.random() < 0.3:
            kind = draw.choice(("TELI", "EMAL", "AUBN", "ORGN"))
            pay_id = {
                "TELI": f"+61-4{draw.randrange(10**8):08d}",
                "EMAL": f"person{draw.randrange(10**6)}@example.com",
                "AUBN": f"{draw.randrange(10**10, 10**11)}",
                "ORGN": f"shop{draw.randrange(10**4)}.example",
            }[kind]
            creditor |= {"bsb": None, "account": None, "payIdType": kind, "payId": pay_id}
        remittance = f"invoice {draw.randrange(10**6)}" if draw.random() < 0.7 else None
        return {"debtor": debtor, "creditor": creditor, "remittance": remittance}

    def _account(self) -> dict[str, Any]:
        bsb, account = self.draw.randrange(10**6), self.draw.randrange(10**5, 10**9)
        return {"bsb": f"{bsb:06d}", "account": str(account), "payIdType": None, "payId": None}

    def _header(self, payment_id: str) -> dict[str, Any]:
        command_id = f"cmd-{self.draw.getrandbits(64):016x}"
        return {
            "paymentIntentId": payment_id,
            "commandId": command_id,
            "sentAt": now_ms(),
            "traceparent": None,
        }

    def _create(self, kind: str, payment: Payment) -> Record:
        value = self.encoder.record(payment.topic, "CreatePayment", payment.body)
        return Record(kind, payment.topic, payment.id.encode(), value)

    # -- the others --------------------------------------------------------------------------------

    def mistake(self, kind: str) -> Record:
        makers: dict[str, Callable[[], Record]] = {
            "exactDuplicate": self._exact_duplicate,
            "alteredDuplicate": self._altered_duplicate,
            "wrongId": self._wrong_id,
            "undecodable": self._undecodable,
            "nullValue": lambda: Record("nullValue", APP_TOPIC, self._fresh().id.encode(), None),
            "wrongPartition": self._wrong_partition,
            "nullKey": self._null_key,
            "otherKey": self._other_key,
            "expire": self._expire,
            "expireUnknown": lambda: self._expire_of("expireUnknown", self._fresh()),
        }
        return makers.get(kind, lambda: self._refused(kind))()

    def _fresh(self) -> Payment:
        return self._new(APP_TOPIC, APP_SOURCE)

    def _exact_duplicate(self) -> Record:
        """The same content; as clients do, with a new command id and time."""
        first = self.draw.choice(self.good)
        body = {**first.body, "header": self._header(first.id)}
        return self._create("exactDuplicate", Payment(first.topic, body, first.parties))

    def _altered_duplicate(self) -> Record:
        first = self.draw.choice(self.good)
        body = {**first.body, "header": self._header(first.id)}
        if self.draw.random() < 0.5:
            body["amount"] = first.body["amount"] + 1
        else:
            parties = {**first.parties, "remittance": "another remittance"}
            body["parties"] = self.encoder.sealed(parties)
        return self._create("alteredDuplicate", Payment(first.topic, body, first.parties))

    def _wrong_id(self) -> Record:
        payment = self._fresh()
        payment.body["header"] = self._header(payment_intent_id(APP_SOURCE, f"not-{payment.id}"))
        return self._create("wrongId", payment)

    def _refused(self, kind: str) -> Record:
        """A separate payment with one thing wrong."""
        payment = self._fresh()
        draw, body, parties = self.draw, payment.body, payment.parties
        if kind == "wrongSource":
            payment = self._new(APP_TOPIC, BATCH_SOURCE)
        elif kind == "badAmount":
            body["amount"] = draw.choice((0, -1, -500, 10**15))
        elif kind == "badCurrency":
            body["currency"] = draw.choice(("USD", "aud", ""))
        elif kind == "badBsb":
            parties["debtor"]["bsb"] = draw.choice(("12345", "12-345", "1234567", "abcdef"))
            body["parties"] = self.encoder.sealed(parties)
        elif kind == "badPayId":
            bad = draw.choice(
                (("TELI", "0412345678"), ("EMAL", "no-at-sign"), ("AUBN", "123"), ("XXXX", "x"))
            )
            parties["creditor"] |= {
                "bsb": None,
                "account": None,
                "payIdType": bad[0],
                "payId": bad[1],
            }
            body["parties"] = self.encoder.sealed(parties)
        elif kind == "unreadableParties":
            body["parties"] = {"scheme": "avro.1", "keyId": None, "bytes": b"\xff" * 5}
        return self._create(kind, payment)

    def _undecodable(self) -> Record:
        payment = self._fresh()
        good = self.encoder.record(payment.topic, "CreatePayment", payment.body)
        value = self.draw.choice(
            (
                self.draw.randbytes(40),
                good[:-3],
                good + b"\0\0",
                b"\0\x7f\xff\xff\xff" + good[5:],  # an unregistered schema id
                b"",
                json.dumps({"amount": 1}).encode(),
            )
        )
        return Record("undecodable", payment.topic, payment.id.encode(), value)

    def _wrong_partition(self) -> Record:
        record = self._create("wrongPartition", self._fresh())
        assert record.key is not None
        count = self.partitions[record.topic]
        record.partition = (partition_of(record.key, count) + 1) % count
        return record

    def _null_key(self) -> Record:
        record = self._create("nullKey", self._fresh())
        record.key, record.partition = None, self.draw.randrange(self.partitions[record.topic])
        return record

    def _other_key(self) -> Record:
        record = self._create("otherKey", self._fresh())
        record.key = self._fresh().id.encode()
        return record

    def _expire(self) -> Record:
        payment = self.waiting.pop(0) if self.waiting else self.draw.choice(self.good)
        return self._expire_of("expire", payment)

    def _expire_of(self, kind: str, payment: Payment) -> Record:
        body = {"header": self._header(payment.id), "operator": None, "reason": "no longer wanted"}
        value = self.encoder.record(payment.topic, "ExpirePayment", body)
        return Record(kind, payment.topic, payment.id.encode(), value)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
