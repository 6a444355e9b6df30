"""The gateway's HTTP client against faulty peers: each call ends with one technical result."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from engine import tracing
from engine.clock import SystemClock
from gateways import connections as gateway
from gateways.connections import BODY_BYTES_MAX, Gateway
from gateways.http_call import HttpAnswer, call

CLOCK = SystemClock()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
LAST = OK[:-2] + b"connection: close\r\n\r\n"  # this connection is not kept
BODY = b'{"a": 1}'
WAIT_SECONDS_MAX = 30.0


class Peer:
    """Answers each request with the next of `answers`, as raw bytes; None closes."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers
        self.connections = 0
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self.answers:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while self.answers and (request := connection.recv(65_536)):
                    self.requests.append(request)
                    answer = self.answers.pop(0)
                    if answer is None:
                        break
                    connection.sendall(answer)
                    if b"content-length: 9" in answer:
                        break


@contextmanager
def peer(*answers: bytes | None) -> Iterator[tuple[Peer, Gateway]]:
    made = Peer(list(answers))
    client = Gateway(made.url + "/v1")
    try:
        yield made, client
    finally:
        client.close()
        made.socket.close()


def get(client: Gateway) -> HttpAnswer:
    return call(client, CLOCK, "GET", "/payments/N1", None)


def test_one_connection_carries_many_calls() -> None:
    with peer(OK + BODY, OK + BODY) as (made, client):
        assert [get(client).body, get(client).body] == [{"a": 1}, {"a": 1}]
        assert made.connections == 1
        assert made.requests[0].startswith(b"GET /v1/payments/N1 HTTP/1.1\r\n")


def test_a_connection_closed_by_the_peer_is_not_reused() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with peer(closing + BODY, OK + BODY) as (_, client):
        assert get(client).technical_result == "HTTP_200"
        assert get(client).technical_result == "HTTP_200"


def test_a_chunked_response_is_read_whole() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked = head + b'4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n'
    with peer(chunked, OK + BODY) as (made, client):
        assert get(client).body == {"a": 1}
        assert get(client).body == {"a": 1}
        assert made.connections == 1


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (None, "BROKEN"),
        (b"no http at all\r\n\r\n", "BROKEN"),
        (OK.replace(b"8", b"9") + BODY, "BROKEN"),  # one byte is missing when it closes
        (OK + b'{"a": 1]', "UNREADABLE"),
        (OK.replace(b"8", b"9") + b'{"a":"\xe4"}'[:9], "UNREADABLE"),
        (OK.replace(b"8", b"13") + b'{"a":1,"a":2}', "UNREADABLE"),
        (OK.replace(b"8", b"60000") + b"[" * 60_000, "UNREADABLE"),
        (b"HTTP/1.1 503 no\r\ncontent-length: 2\r\n\r\nno", "HTTP_503"),
        (
            b"HTTP/1.1 503 no\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
            "HTTP_503",
        ),
        (
            b"HTTP/1.1 301 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            "HTTP_301",
        ),
        (OK.replace(b"8", b"8, 9") + BODY, "BROKEN"),
        (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{"a"\r\nxx\r\n', "BROKEN"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b" " * (BODY_BYTES_MAX + 1_000),
            "TIMEOUT",
        ),
    ],
)
def test_a_bad_response_is_a_technical_result_and_nothing_is_sent_twice(
    answer: bytes | None, result: str
) -> None:
    with peer(answer, OK + BODY) as (made, client):
        found = get(client)
        assert (found.technical_result, found.body) == (result, None)
        assert len(made.requests) == 1


def test_a_refused_connection_and_silence_are_distinguished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "READ_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert get(Gateway(url)).technical_result == "TIMEOUT"
    assert get(Gateway(url)).technical_result == "CONNECT_FAILED"


def test_a_peer_that_sends_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CALL_SECONDS_MAX", 0.2)
    monkeypatch.setattr(gateway, "READ_TIMEOUT_SECONDS", 2.0)

    def trickle(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n")
        for _ in range(200):  # ten seconds, if allowed
            connection.sendall(b" ")
            time.sleep(0.05)

    with answering(trickle) as port:
        began = time.monotonic()
        assert get(Gateway(f"http://127.0.0.1:{port}")).technical_result == "TIMEOUT"
        assert time.monotonic() - began < 5.0


def test_an_oversized_response_frees_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(gateway, "POOL_TIMEOUT_SECONDS", 0.2)
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\n\r\n" + b" " * 90_000

    with peer(large, OK + BODY) as (made, client):
        assert get(client).technical_result == "TIMEOUT"
        assert get(client).technical_result == "HTTP_200"
        assert made.connections == 2


def test_after_an_idle_close_the_call_uses_a_new_connection() -> None:
    closed = threading.Event()

    def once(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK + BODY)
        connection.close()
        closed.set()

    with answering(once) as port:
        client = Gateway(f"http://127.0.0.1:{port}")
        for _ in range(3):
            closed.clear()
            assert get(client).technical_result == "HTTP_200"
            assert closed.wait(5.0)
            time.sleep(0.05)  # its FIN reaches us
        client.close()


def test_a_kept_connection_that_breaks_during_a_call_is_not_reported_as_not_sent() -> None:
    def then_silent(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK + BODY)
        connection.recv(65_536)  # receives the second request, and closes

    with answering(then_silent) as port:
        client = Gateway(f"http://127.0.0.1:{port}")
        assert get(client).technical_result == "HTTP_200"
        body = {"amount": 1}
        assert call(client, CLOCK, "POST", "/payments", body).technical_result == "BROKEN"
        client.close()


def test_a_call_without_a_free_connection_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CONNECTIONS_MAX", 1)
    monkeypatch.setattr(gateway, "POOL_TIMEOUT_SECONDS", 0.1)
    requested, release = threading.Event(), threading.Event()

    def slow(connection: socket.socket) -> None:
        connection.recv(65_536)
        requested.set()
        release.wait(WAIT_SECONDS_MAX)
        connection.sendall(LAST + BODY)

    with answering(slow) as port:
        client = Gateway(f"http://127.0.0.1:{port}")
        first = threading.Thread(target=get, args=(client,))
        first.start()
        assert requested.wait(WAIT_SECONDS_MAX)
        assert get(client).technical_result == "CONNECT_FAILED"
        release.set()
        first.join(WAIT_SECONDS_MAX)
        assert get(client).technical_result == "HTTP_200"
        client.close()


def test_a_closed_gateway_sends_nothing() -> None:
    with peer(OK + BODY) as (made, client):
        client.close()
        assert get(client).technical_result == "CONNECT_FAILED"
        assert made.requests == []


def test_only_a_certificate_that_the_system_trusts_for_this_host_gets_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = certificate(tmp_path, "localhost"), certificate(tmp_path, "other.test")
    for served, trusted, result in (
        (good, good, "HTTP_200"),
        (good, other, "CONNECT_FAILED"),  # not signed by a trusted authority
        (other, other, "CONNECT_FAILED"),  # for another host
    ):
        requests: list[bytes] = []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with answering(partial(over_tls, served, requests)) as port:
            client = Gateway(f"https://localhost:{port}")
            assert get(client).technical_result == result
            client.close()
        assert len(requests) == (1 if result == "HTTP_200" else 0)


def test_a_failed_or_hanging_handshake_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CONNECT_TIMEOUT_SECONDS", 0.3)
    for reply in (b"HTTP/1.1 400 no\r\n\r\n", b""):

        def no_tls(connection: socket.socket, reply: bytes = reply) -> None:
            connection.recv(65_536)
            if reply:
                connection.sendall(reply)
            else:
                connection.settimeout(5.0)
                connection.recv(65_536)  # until the caller gives up

        with answering(no_tls) as port:
            assert get(Gateway(f"https://localhost:{port}")).technical_result == "CONNECT_FAILED"


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which `serve` gets each connection, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def over_tls(pem: Path, requests: list[bytes], connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with context.wrap_socket(connection, server_side=True) as tls:
        if request := tls.recv(65_536):
            requests.append(request)
            tls.sendall(OK + BODY)


def certificate(folder: Path, host: str) -> Path:
    """A self-signed certificate for `host` and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{host}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_a_call_passes_on_the_trace_of_its_work_and_no_other() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with peer(OK + BODY, OK + BODY) as (there, client):
        with tracing.passing_on(trace):
            call(client, CLOCK, "GET", "/x", None)
        call(client, CLOCK, "GET", "/x", None)
    assert f"traceparent: {trace}".encode() in there.requests[0].lower()
    assert b"traceparent" not in there.requests[1].lower()
