"""`npp doctor` with settings that cannot work: a finding, never a traceback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.cluster import doctor
from app.cli.npp import run_cli
from app.exits import ExitCode

VERDICT_SECONDS_MAX = 15.0


@pytest.fixture
def plaintext_port() -> Iterator[int]:
    """A listener that closes a connection starting with TLS, as Kafka's PLAINTEXT one does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    connection.recv(64)
                    connection.close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture(autouse=True)
def a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plaintext_port: int) -> None:
    monkeypatch.setenv("NPP_PROFILE", "test")
    monkeypatch.setenv("NPP_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NPP_BOOTSTRAP_SERVERS", f"127.0.0.1:{plaintext_port}")
    monkeypatch.setenv("NPP_SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")


def test_a_missing_ca_file_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NPP_KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("NPP_KAFKA_SSL_CA_LOCATION", str(tmp_path / "nothing.pem"))
    assert run_cli(["doctor"]) == ExitCode.UNREACHABLE
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("FAILED   broker")  # the failed check comes first
    assert "ssl.ca.location" in first
    assert last == "1 failed, 0 warnings, 2 ok"


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_tls_against_a_plaintext_port_is_found_in_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "ANSWER_S_MAX", 3.0)
    monkeypatch.setenv("NPP_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("NPP_KAFKA_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("NPP_KAFKA_SASL_USERNAME", "a")
    monkeypatch.setenv("NPP_KAFKA_SASL_PASSWORD", "b")
    began_s = time.monotonic()
    assert run_cli(["doctor"]) == ExitCode.UNREACHABLE
    assert time.monotonic() - began_s < VERDICT_SECONDS_MAX
    out = capsys.readouterr().out
    assert "SSL" in out
    assert "NPP_KAFKA_SECURITY_PROTOCOL" in out
