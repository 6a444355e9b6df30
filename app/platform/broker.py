"""A real Apache Kafka (KRaft) on loopback for demo and tests: one node or several, plain or with
SCRAM and ACLs. Nodes can be killed, paused and restarted by handle; the data folder survives.
Not a way to run Kafka in production.
"""

from __future__ import annotations

import base64
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from app.platform.broker_properties import ADMIN, LOG4J, Node, Security, node_properties
from app.platform.children import (
    Child,
    end_child,
    free_ports,
    kill_child,
    pause_child,
    start_child,
    tail_of,
)
from app.platform.fetch import FetchError, Say, ensure_platform, say_on_stderr
from app.platform.java import JVM_FAST_START, JVM_STEADY, JavaMissingError, Jvm, find_java
from engine.clock import Clock, SystemClock

START_WAIT_SECONDS = 180.0  # a loaded machine; one that ended is noticed at once
STOP_WAIT_SECONDS = 20.0
FORMAT_WAIT_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.05
STARTED_MARK = b"Kafka Server started"

ClientConfig = dict[str, str | int | float | bool]


class BrokerError(RuntimeError):
    """A broker did not start, or exited; the message has the end of its log."""


@dataclass
class Cluster:
    """`nodes` brokers, each also a controller, on loopback.

    `data` is kept: another Cluster on the same folder reads the same records. `users` maps a name
    to its password (SASL only; `admin` is the super user and is added when absent); they are
    written when the folder is formatted. `advertised` maps a node's index to the port clients are
    told, for a proxy in between; set it, and `properties` (Kafka's own names), before `start`.
    """

    data: Path
    nodes: int = 1
    security: Security = "PLAINTEXT"
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: list[int] = field(default_factory=list)
    advertised: Mapping[int, int] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 512
    jvm: Jvm = JVM_FAST_START
    clock: Clock = field(default_factory=SystemClock, repr=False)

    def __post_init__(self) -> None:
        self.data = Path(self.data).absolute()
        if self.security != "PLAINTEXT":
            self.users = {ADMIN: "admin-of-a-throw-away-broker", **self.users}
        if not self.ports:
            self.ports = free_ports(self.nodes)
        if len(self.ports) != self.nodes:
            raise ValueError(f"{self.nodes} nodes need {self.nodes} ports, got {self.ports}")
        self._controller_ports = free_ports(self.nodes)
        self._children: list[Child | None] = [None] * self.nodes
        self._log_start: list[int] = [0] * self.nodes
        self._base: list[str] = []

    # -- what clients need ---------------------------------------------------------------------

    @property
    def bootstrap(self) -> str:
        ports = (self.advertised.get(index, port) for index, port in enumerate(self.ports))
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def client_config(self, user: str = ADMIN) -> ClientConfig:
        """librdkafka's connection properties for this cluster, as the given user."""
        config: ClientConfig = {"bootstrap.servers": self.bootstrap}
        if self.security != "PLAINTEXT":
            config |= {
                "security.protocol": self.security,
                "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": user,
                "sasl.password": self.users[user],
            }
        return config

    def log_file(self, index: int = 0) -> Path:
        return self.data / f"node{index + 1}.log"

    def pid(self, index: int = 0) -> int:
        return self._running(index).pid

    def alive(self, index: int = 0) -> bool:
        child = self._children[index]
        return child is not None and child.poll() is None

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Cluster:
        """Format new nodes, start all, return once all are in the quorum; raises BrokerError."""
        try:
            self._prepare()
        except (FetchError, JavaMissingError) as error:
            raise BrokerError(str(error)) from error
        try:
            for index in range(self.nodes):
                self._launch(index)
            for index in range(self.nodes):
                self._await_started(index)
        except BaseException:
            self.stop()
            raise
        return self

    def kill(self, index: int = 0) -> None:
        """SIGKILL one node."""
        kill_child(self._running(index))

    def pause(self, index: int = 0) -> None:
        """SIGSTOP one node: its connections stay open and nothing answers."""
        pause_child(self._running(index))

    def unpause(self, index: int = 0) -> None:
        self._running(index).send_signal(signal.SIGCONT)

    def restart(self, index: int = 0) -> None:
        """Start a node again that was killed or stopped, on its data; waits until it takes part."""
        if self.alive(index):
            raise BrokerError(f"node {index} is running")
        self._launch(index)
        self._await_started(index)

    def stop_node(self, index: int = 0) -> int:
        """SIGTERM one node; returns its exit code."""
        child = self._children[index]
        return 0 if child is None else end_child(child, STOP_WAIT_SECONDS)

    def stop(self) -> None:
        """End every node, cleanly where it can be. Calling it again does nothing."""
        for child in self._children:
            if child is not None and child.poll() is None:
                child.terminate()
        for index in range(self.nodes):
            self.stop_node(index)

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- inside --------------------------------------------------------------------------------

    def _running(self, index: int) -> Child:
        child = self._children[index]
        if child is None or child.poll() is not None:
            raise BrokerError(f"node {index} is not running")
        return child

    def _properties_file(self, index: int) -> Path:
        return self.data / f"node{index + 1}.properties"

    def _prepare(self) -> None:
        libs = ensure_platform().kafka_libs
        self.data.mkdir(parents=True, exist_ok=True)
        log4j = self.data / "log4j2.yaml"
        log4j.write_text(LOG4J)
        logging = f"-Dlog4j2.configurationFile={log4j}"
        temporary = self.data / "tmp"  # a killed node leaves libraries that it has unpacked there
        temporary.mkdir(exist_ok=True)
        self._base = [
            *(find_java(), *self.jvm.arguments(self.heap_mb)),
            *(logging, f"-Djava.io.tmpdir={temporary}", "-cp", f"{libs}/*"),
        ]
        quorum = ",".join(
            f"{index + 1}@127.0.0.1:{port}" for index, port in enumerate(self._controller_ports)
        )
        cluster_id = self._cluster_id()
        for index in range(self.nodes):
            node = Node(
                number=index + 1,
                of=self.nodes,
                port=self.ports[index],
                controller_port=self._controller_ports[index],
                advertised_port=self.advertised.get(index, self.ports[index]),
                quorum=quorum,
                log_dir=self.data / f"node{index + 1}",
            )
            settings = node_properties(node, self.security, self.users) | dict(self.properties)
            lines = "".join(f"{name}={value}\n" for name, value in settings.items())
            file = self._properties_file(index)
            file.touch(mode=0o600)
            file.write_text(lines)
            if not (node.log_dir / "meta.properties").exists():
                self._format(index, cluster_id)

    def _cluster_id(self) -> str:
        """Made once per data folder; a formatted node refuses to start under another."""
        file = self.data / "cluster.id"
        if not file.exists():
            file.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return file.read_text().strip()

    def _format(self, index: int, cluster_id: str) -> None:
        command = [*self._base, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        command += ["-c", str(self._properties_file(index))]
        for user, password in self.users.items():
            command += ["--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]"]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=FORMAT_WAIT_SECONDS, check=False
        )
        if answer.returncode:
            raise BrokerError(f"formatting node {index} failed: {answer.stdout}{answer.stderr}")

    def _launch(self, index: int) -> None:
        log = self.log_file(index)
        self._log_start[index] = log.stat().st_size if log.exists() else 0
        command = [*self._base, "kafka.Kafka", str(self._properties_file(index))]
        self._children[index] = start_child(command, log_file=log)

    def _await_started(self, index: int) -> None:
        """Wait until the broker's log says that it has started and is unfenced.

        A client cannot tell: the listener may require a password, or a proxy may be in between.
        """
        child, log = self._running(index), self.log_file(index)
        deadline = self.clock.monotonic_s() + START_WAIT_SECONDS
        while self.clock.monotonic_s() < deadline:
            with log.open("rb") as stream:
                stream.seek(self._log_start[index])
                if STARTED_MARK in stream.read():
                    return
            if child.poll() is not None:
                code = child.returncode
                raise BrokerError(f"node {index} ended with {code}:\n{tail_of(log)}")
            self.clock.sleep(LOOK_EVERY_SECONDS)
        raise BrokerError(f"node {index} not started in {START_WAIT_SECONDS} s:\n{tail_of(log)}")


def run_foreground(
    data_dir: Path,
    port: int,
    *,
    say: Say = say_on_stderr,
    heap_mb: int = 512,
    up: Callable[[str, Path], None] | None = None,
) -> int:
    """`npp broker start`: one plain node until SIGINT or SIGTERM. Returns the exit code.
    `up` gets address and folder once it is running.

    Must be called on the main thread. Raises BrokerError when the node does not start.
    """
    cluster = Cluster(data_dir, ports=[port] if port else [], heap_mb=heap_mb, jvm=JVM_STEADY)
    asked_to_end = threading.Event()
    restore = _on_end_signals(asked_to_end.set)
    try:
        with cluster:
            say(f"Kafka is up: {cluster.bootstrap}, data in {cluster.data}. Ctrl-C ends it.")
            if up is not None:
                up(cluster.bootstrap, cluster.data)
            while not asked_to_end.wait(1.0):
                if not cluster.alive():
                    raise BrokerError(f"the broker ended by itself:\n{tail_of(cluster.log_file())}")
    finally:
        restore()
    say("Kafka has ended.")
    return 0


def _on_end_signals(call: Callable[[], None]) -> Callable[[], None]:
    """Call `call` on SIGINT and SIGTERM; the returned function restores the former handlers."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        call()

    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, was in former.items():
            signal.signal(number, was)

    return restore
