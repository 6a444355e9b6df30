"""The embedded Kafka and registry by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from app.platform.broker import BrokerError, ClientConfig, Cluster
from app.platform.registry import Registry
from tests.broker.source import Kafka

pytestmark = pytest.mark.broker

CLIENT_WAIT_SECONDS = 30.0


def make_topic(config: ClientConfig, name: str) -> None:
    admin = AdminClient(config)
    for done in admin.create_topics([NewTopic(name, num_partitions=1)]).values():
        done.result(CLIENT_WAIT_SECONDS)


def committed_values(config: ClientConfig, topic: str, count: int) -> list[bytes]:
    """The first `count` values that a read_committed reader sees, and any that follow."""
    reading: ClientConfig = {
        **config,
        "group.id": "reader",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
    }
    consumer = Consumer(reading)
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + CLIENT_WAIT_SECONDS
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error() is None:
            values.append(message.value() or b"")
        elif len(values) >= count:  # the end of the partition
            break
    consumer.close()
    return values


def in_transaction(producer: Producer, topic: str, value: bytes) -> None:
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(CLIENT_WAIT_SECONDS)


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(kafka: Kafka) -> None:
    config = kafka.client_config()
    make_topic(config, "platform.committed")
    producer = Producer({**config, "transactional.id": "platform.committed"})
    producer.init_transactions(CLIENT_WAIT_SECONDS)
    in_transaction(producer, "platform.committed", b"first")
    producer.begin_transaction()
    producer.produce("platform.committed", b"never")
    producer.flush()
    producer.abort_transaction(CLIENT_WAIT_SECONDS)
    in_transaction(producer, "platform.committed", b"second")
    assert committed_values(config, "platform.committed", 2) == [b"first", b"second"]


def test_topics_are_not_created_automatically(kafka: Kafka) -> None:
    producer = Producer({**kafka.client_config(), "message.timeout.ms": 3000})
    errors: list[object] = []
    producer.produce("platform.nobody", b"x", on_delivery=lambda error, _: errors.append(error))
    producer.flush(10)
    assert len(errors) == 1
    assert errors[0] is not None


def test_committed_records_survive_the_kill_of_the_broker(
    fresh_cluster: Callable[..., Cluster],
) -> None:
    cluster = fresh_cluster()
    config = cluster.client_config()
    make_topic(config, "t")
    producer = Producer({**config, "transactional.id": "t"})
    producer.init_transactions(CLIENT_WAIT_SECONDS)
    in_transaction(producer, "t", b"before")
    producer.begin_transaction()
    producer.produce("t", b"open")
    producer.flush()
    cluster.kill()
    assert not cluster.alive()
    cluster.restart()
    producer.abort_transaction(CLIENT_WAIT_SECONDS)
    in_transaction(producer, "t", b"after")
    assert committed_values(config, "t", 2) == [b"before", b"after"]


def test_another_cluster_object_reopens_the_data_folder(tmp_path: Path) -> None:
    with Cluster(tmp_path / "data", heap_mb=256) as first:
        make_topic(first.client_config(), "kept")
    with Cluster(tmp_path / "data", heap_mb=256) as second:
        topics = AdminClient(second.client_config()).list_topics(timeout=CLIENT_WAIT_SECONDS).topics
    assert "kept" in topics


def test_with_scram_a_user_may_do_what_an_acl_allows_and_nothing_else(
    fresh_cluster: Callable[..., Cluster],
) -> None:
    users = {"writer": "writers-secret", "stranger": "strangers-secret"}
    cluster = fresh_cluster(security="SASL_PLAINTEXT", users=users)
    make_topic(cluster.client_config(), "guarded")
    allow = AclBinding(
        ResourceType.TOPIC,
        "guarded",
        ResourcePatternType.LITERAL,
        "User:writer",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient(cluster.client_config())
    for done in admin.create_acls([allow]).values():
        done.result(CLIENT_WAIT_SECONDS)
    every: Any = AclBindingFilter  # its types do not know that None means any
    rules = every(
        *(ResourceType.ANY, None, ResourcePatternType.ANY, None, None),
        *(AclOperation.ANY, AclPermissionType.ANY),
    )
    deadline = time.monotonic() + CLIENT_WAIT_SECONDS
    while not admin.describe_acls(rules).result(CLIENT_WAIT_SECONDS):
        assert time.monotonic() < deadline, "the broker does not get the rule"
        time.sleep(0.05)

    def outcome_of(user: str) -> object:
        producer = Producer({**cluster.client_config(user), "message.timeout.ms": 30_000})
        outcome: list[object] = []
        producer.produce(
            "guarded",
            b"x",
            on_delivery=lambda error, _: outcome.append(error and error.name()),
        )
        producer.flush(CLIENT_WAIT_SECONDS)
        return outcome[0]

    assert outcome_of("writer") is None
    assert outcome_of("stranger") == "TOPIC_AUTHORIZATION_FAILED"


def test_three_nodes_continue_when_one_is_killed(fresh_cluster: Callable[..., Cluster]) -> None:
    cluster = fresh_cluster(nodes=3)
    make_topic(cluster.client_config(), "replicated")
    producer = Producer({**cluster.client_config(), "acks": "all"})
    failures: list[object] = []
    for number in range(200):
        if number == 100:
            producer.flush(CLIENT_WAIT_SECONDS)
            cluster.kill(2)
        producer.produce(
            "replicated",
            str(number).encode(),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(CLIENT_WAIT_SECONDS) == 0
    assert failures == []
    cluster.restart(2)
    values = committed_values(cluster.client_config(), "replicated", 200)
    assert sorted(values, key=int) == [str(number).encode() for number in range(200)]


def test_a_broker_that_cannot_start_reports_the_reason(
    fresh_cluster: Callable[..., Cluster],
) -> None:
    with pytest.raises(BrokerError, match=r"num\.io\.threads"):
        fresh_cluster(properties={"num.io.threads": "none"})


ORPHANING = """
import os, sys
from pathlib import Path
from app.platform.broker import Cluster
cluster = Cluster(Path(sys.argv[1]), heap_mb=256).start()
print(cluster.pid(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_broker_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANING, str(tmp_path / "data")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pid = int(ended.stdout)
    deadline = time.monotonic() + CLIENT_WAIT_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from pathlib import Path; from app.platform.broker import run_foreground; "
        "sys.exit(run_foreground(Path(sys.argv[1]), 0))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield child
    child.kill()
    child.wait()


def test_a_broker_in_the_foreground_ends_cleanly_on_sigterm(
    foreground: subprocess.Popen[str],
) -> None:
    assert foreground.stderr is not None
    line = foreground.stderr.readline()
    while line and "Kafka is up" not in line:  # a first run also says what it fetches
        line = foreground.stderr.readline()
    assert "Kafka is up: 127.0.0.1:" in line
    os.kill(foreground.pid, signal.SIGTERM)
    assert foreground.wait(CLIENT_WAIT_SECONDS) == 0


def record(*fields: dict[str, object]) -> Schema:
    return Schema(json.dumps({"type": "record", "name": "Thing", "fields": list(fields)}), "AVRO")


def test_a_restarted_registry_gives_the_same_ids_for_the_same_order(
    fresh_registry: Registry,
) -> None:
    schemas = [
        ("a", record({"name": "x", "type": "long"})),
        ("b", record({"name": "y", "type": "string"})),
        ("c", record({"name": "x", "type": "long"})),
    ]

    def register_all() -> list[int]:
        client = SchemaRegistryClient({"url": fresh_registry.url})
        return [client.register_schema(subject, schema) for subject, schema in schemas]

    before = register_all()
    fresh_registry.kill()
    fresh_registry.start()
    assert SchemaRegistryClient({"url": fresh_registry.url}).get_subjects() == []
    assert register_all() == before


def test_the_registry_knows_what_is_compatible(registry: str) -> None:
    client = SchemaRegistryClient({"url": registry})
    amount: dict[str, object] = {"name": "amount", "type": "long"}
    note: dict[str, object] = {"name": "note", "type": ["null", "string"], "default": None}
    client.set_compatibility("platform-value", "FULL_TRANSITIVE")
    client.register_schema("platform-value", record(amount))
    assert client.test_compatibility("platform-value", record(amount, note))
    assert not client.test_compatibility("platform-value", record(note))


def test_a_kafka_that_is_not_there_is_an_error_and_not_a_skip() -> None:
    from tests.broker.source import _require_answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.broker.source.KAFKA_ANSWER_SECONDS", 2.0)
        with pytest.raises(KafkaException):
            _require_answer("127.0.0.1:1")
