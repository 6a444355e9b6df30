"""Where the tests' Kafka comes from: `NPP_TEST_BOOTSTRAP`, a Docker engine, or our own broker.

If there is no Kafka, the tests that need it fail; they are never skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from app.platform.broker import ClientConfig, Cluster
from app.platform.broker_properties import Node, node_properties
from app.platform.children import free_ports

DOCKER_IMAGE = "apache/kafka:4.3.1"
DOCKER_ANSWER_SECONDS = 5
KAFKA_ANSWER_SECONDS = 60.0
INSIDE_PORT, INSIDE_CONTROLLER_PORT = 9092, 9093


@dataclass(frozen=True)
class Kafka:
    """A running Kafka, and its kind."""

    bootstrap: str
    kind: str

    def client_config(self) -> ClientConfig:
        """librdkafka's properties for connecting to it."""
        return {"bootstrap.servers": self.bootstrap}


@contextmanager
def open_kafka(folder: Path) -> Iterator[Kafka]:
    """The session's Kafka; stopped at the end of the block unless it is external."""
    if bootstrap := os.environ.get("NPP_TEST_BOOTSTRAP"):
        _require_answer(bootstrap)
        yield Kafka(bootstrap, "NPP_TEST_BOOTSTRAP")
        return
    if docker_answers() and (started := _start_container()) is not None:
        bootstrap, end = started
        try:
            _require_answer(bootstrap)
            yield Kafka(bootstrap, "docker")
        finally:
            end()
        return
    with Cluster(folder, heap_mb=384) as cluster:
        yield Kafka(cluster.bootstrap, "jars")


def docker_answers() -> bool:
    """Whether a Docker engine answers within a few seconds; `NPP_TEST_DOCKER=0` says no."""
    if os.environ.get("NPP_TEST_DOCKER") == "0":
        return False
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, timeout=DOCKER_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _start_container() -> tuple[str, Callable[[], None]] | None:
    """A container with the settings of our own broker; None and a reason if it cannot start.

    The engine may answer and still be unable to get the image; our own broker is then used.
    """
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    port = free_ports(1)[0]
    node = Node(
        number=1,
        of=1,
        port=INSIDE_PORT,
        controller_port=INSIDE_CONTROLLER_PORT,
        advertised_port=port,
        quorum=f"1@127.0.0.1:{INSIDE_CONTROLLER_PORT}",
        log_dir=Path("/tmp/kafka-logs"),
    )
    settings = node_properties(node, "PLAINTEXT", {})
    settings["listeners"] = settings["listeners"].replace("PLAINTEXT://127.0.0.1", "PLAINTEXT://")
    container = DockerContainer(DOCKER_IMAGE).with_bind_ports(INSIDE_PORT, port)
    for name, value in settings.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    try:
        container.start()
    except (DockerException, OSError, RuntimeError) as error:
        print(f"Docker answers but {DOCKER_IMAGE} does not start: {error}", file=sys.stderr)
        return None
    return f"127.0.0.1:{port}", container.stop


def _require_answer(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.list_topics(timeout=KAFKA_ANSWER_SECONDS)
