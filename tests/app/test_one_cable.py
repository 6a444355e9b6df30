"""An attacker on the internal network can read and alter plaintext: a process with a certificate
serves each of its ports over TLS only (ASVS 12.3.1, 12.3.3).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from app.config.settings import Settings, load
from app.exits import Problem
from app.process import ProcessContext
from engine.clock import SystemClock
from engine.health import HealthServer, Probes
from engine.serving.metrics import uncounted
from engine.serving.server import Bounds, Certificate, ThreadedServer
from processors.rail.webhook import WebhookServer
from tests.gateways.certificates import Authority

pytestmark = pytest.mark.slow

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
Made = Callable[[Certificate | None], ThreadedServer]


async def _said(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def _well() -> tuple[bool, dict[str, Any]]:
    return True, {}


PORTS: dict[str, Made] = {
    "metrics": lambda certificate: HealthServer(
        "127.0.0.1", 0, CollectorRegistry(), Probes(_well, _well, _well), uncounted,
        certificate=certificate,
    ),
    "callbacks": lambda certificate: WebhookServer(
        _said, host="127.0.0.1", port=0, clock=SystemClock(), count=uncounted,
        certificate=certificate,
    ),
    "api": lambda certificate: ThreadedServer(
        _said, host="127.0.0.1", port=0, bounds=Bounds(), name="api", lifespan=False,
        certificate=certificate,
    ),
}  # fmt: skip


@contextmanager
def serving(made: Made, certificate: Certificate | None) -> Iterator[int]:
    server = made(certificate)
    server.start()
    try:
        yield server.port
    finally:
        server.close()


def in_the_clear(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
        one.sendall(GET)
        try:
            return one.recv(100)
        except ConnectionError:
            return b""


def over_tls(port: int, context: ssl.SSLContext) -> tuple[bytes, str | None]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as one,
        context.wrap_socket(one, server_hostname="127.0.0.1") as safe,
    ):
        safe.sendall(GET)
        return safe.recv(100), safe.version()


@pytest.mark.parametrize("name", PORTS)
def test_a_port_with_a_certificate_serves_tls_only(name: str, tmp_path: Path) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    certificate = Certificate(ours.certificate(tmp_path, name))
    with serving(PORTS[name], certificate) as port:
        answer, version = over_tls(port, ssl.create_default_context(cafile=ours.file(tmp_path)))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert version in ("TLSv1.2", "TLSv1.3")
        assert not in_the_clear(port).startswith(b"HTTP/")
        with pytest.raises(ssl.SSLCertVerificationError):
            over_tls(port, ssl.create_default_context(cafile=theirs.file(tmp_path, "other")))


def test_without_a_certificate_it_serves_plain_http() -> None:
    with serving(PORTS["metrics"], None) as port:
        assert in_the_clear(port).startswith(b"HTTP/1.1 200 ")


def test_a_process_uses_the_certificate_in_its_settings(tmp_path: Path) -> None:
    context = ProcessContext.__new__(ProcessContext)
    file = Authority("ours").certificate(tmp_path, "mine")
    context.settings = with_certificate(file)
    assert context.certificate() == Certificate(file)
    context.settings = load({}).settings
    assert context.certificate() is None
    for bad in (tmp_path / "none.pem", Authority("ours").file(tmp_path)):
        context.settings = with_certificate(bad)
        with pytest.raises(Problem, match="NPP_TLS_CERTIFICATE"):
            context.certificate()


def with_certificate(file: Path) -> Settings:
    return load({"NPP_PROFILE": "test", "NPP_TLS_CERTIFICATE": str(file)}).settings
