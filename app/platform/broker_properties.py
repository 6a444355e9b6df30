"""The configuration of each node of the embedded Kafka: server properties and logging, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Security = Literal["PLAINTEXT", "SASL_PLAINTEXT"]
ADMIN = "admin"

INTERNAL_PARTITIONS = 4  # of __consumer_offsets and __transaction_state: keeps the start short
OFFSETS_RETENTION_MINUTES = 5_256_000  # ten years: a committed offset must not expire in a demo
TRANSACTIONAL_ID_EXPIRATION_MS = 2_147_483_647  # 24 days, the greatest that Kafka takes
CLEANER_BUFFER_BYTES = 16 << 20  # of the default 128 MiB, which a small heap has no room for

LOG4J = """Configuration:
  status: ERROR
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: {pattern: "%d %p %m (%c)%n"}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: STDOUT}}
    Logger:
      - {name: kafka.server.KafkaRaftServer, level: INFO}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One node's place: its number from 1, of how many, its ports, the voters, its folder."""

    number: int
    of: int
    port: int
    controller_port: int
    advertised_port: int
    quorum: str
    log_dir: Path


def node_properties(node: Node, security: Security, users: Mapping[str, str]) -> dict[str, str]:
    """A node's whole configuration except the caller's properties, by Kafka's names."""
    return _network(node, security) | _durability(node) | _small() | _sasl(security, users)


def _network(node: Node, security: Security) -> dict[str, str]:
    own = f"{security}://127.0.0.1"
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "controller.quorum.voters": node.quorum,
        "listeners": f"{own}:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"{own}:{node.advertised_port}",
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{security}:{security}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": security,
        "log.dirs": str(node.log_dir),
        # A killed node is let in again when its old session has expired: 2 s instead of 9.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "controlled.shutdown.max.retries": "1",
    }


def _durability(node: Node) -> dict[str, str]:
    replicas = str(min(3, node.of))
    in_sync = "2" if node.of >= 3 else "1"
    return {
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "log.message.timestamp.type": "LogAppendTime",
        "offsets.retention.minutes": str(OFFSETS_RETENTION_MINUTES),
        "transactional.id.expiration.ms": str(TRANSACTIONAL_ID_EXPIRATION_MS),
        # A dead processor's open transaction blocks readers until it is aborted: check often.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }


def _small() -> dict[str, str]:
    return {
        "num.partitions": "1",
        "offsets.topic.num.partitions": str(INTERNAL_PARTITIONS),
        "transaction.state.log.num.partitions": str(INTERNAL_PARTITIONS),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(CLEANER_BUFFER_BYTES),
    }


def _sasl(security: Security, users: Mapping[str, str]) -> dict[str, str]:
    if security == "PLAINTEXT":
        return {}
    login = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{ADMIN}" password="{users[ADMIN]}";'
    )
    return {
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-256",
        f"listener.name.{security.lower()}.scram-sha-256.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # ANONYMOUS is only ever the controllers' own listener: clients cannot come without SASL.
        "super.users": f"User:{ADMIN};User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
