"""Authentication to a gateway over real TLS on loopback: certificate and client credentials."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from gateways.connections import ConnectError, Gateway
from gateways.credentials import EARLY_S, ClientCredentials, tls
from tests.clock import HeldClock
from tests.gateways.certificates import Authority

NOW_MS = 1_790_000_000_000


class Peer:
    """A gateway with its token issuer; records requests and answers as configured."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str | None, bytes]] = []
        self.token_status = 200
        self.granted: dict[str, Any] = {"token_type": "Bearer", "expires_in": 120}
        self.bought = 0
        self.taken: set[str] | None = None  # None: any
        self.port = 0

    def answer(self, path: str, authorization: str | None, body: bytes) -> tuple[int, bytes]:
        self.came.append((path, authorization, body))
        if path == "/token":
            self.bought += 1
            granted = {"access_token": f"t{self.bought}"} | self.granted
            return self.token_status, json.dumps(granted).encode()
        if self.taken is not None and authorization not in self.taken:
            return 401, b"{}"
        return 200, b'{"ok": true}'


@contextmanager
def serving(peer: Peer, server: Path, clients: Path | None = None) -> Iterator[Peer]:
    """Over TLS; with `clients` only holders of their certificates are admitted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, content = peer.answer(self.path, self.headers.get("authorization"), body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Keeps the test's output clean."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    there = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.daemon_threads = True
    there.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes
    there.socket = context.wrap_socket(
        there.socket, server_side=True, do_handshake_on_connect=False
    )
    peer.port = there.server_address[1]
    thread = threading.Thread(target=there.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        there.shutdown()
        there.server_close()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock(NOW_MS)


def post(gateway: Gateway, clock: HeldClock) -> int:
    return gateway.exchange("POST", "/payments", b"{}", clock)[0]


def test_the_client_certificate_is_required_and_presented(tmp_path: Path, clock: HeldClock) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    trust = theirs.file(tmp_path)
    mine, other = ours.certificate(tmp_path, "client"), theirs.certificate(tmp_path, "other")
    server = theirs.certificate(tmp_path, "server")
    with serving(Peer(), server, ours.file(tmp_path, "clients")) as peer:
        url = f"https://127.0.0.1:{peer.port}"
        assert post(Gateway(url, tls=tls(mine, None, trust)), clock) == 200
        for stranger in (tls(None, None, trust), tls(other, None, trust)):
            with pytest.raises(Exception, match=r"(?i)ssl|certificate|reset|closed"):
                post(Gateway(url, tls=stranger), clock)
    assert len(peer.came) == 1


def test_a_peer_of_another_authority_is_sent_nothing(tmp_path: Path, clock: HeldClock) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    with serving(Peer(), theirs.certificate(tmp_path, "server")) as peer:
        gateway = Gateway(
            f"https://127.0.0.1:{peer.port}", tls=tls(None, None, ours.file(tmp_path))
        )
        with pytest.raises(ConnectError):
            post(gateway, clock)
        by_system = Gateway(f"https://127.0.0.1:{peer.port}")
        with pytest.raises(ConnectError):
            post(by_system, clock)
    assert peer.came == []


def test_a_peer_of_another_name_is_sent_nothing(tmp_path: Path, clock: HeldClock) -> None:
    """A certificate of the right authority for another name is not the gateway's."""
    authority = Authority("theirs")
    context = tls(None, None, authority.file(tmp_path))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    other = authority.certificate(tmp_path, "server", "127.0.0.2")
    with serving(Peer(), other) as peer, pytest.raises(ConnectError):
        post(Gateway(f"https://127.0.0.1:{peer.port}", tls=context), clock)
    assert peer.came == []


@contextmanager
def signing_in(tmp_path: Path) -> Iterator[tuple[Peer, Gateway]]:
    """A token issuer, and a gateway client that signs in there with client credentials."""
    authority = Authority("theirs")
    context = tls(None, None, authority.file(tmp_path))
    with serving(Peer(), authority.certificate(tmp_path, "server")) as peer:
        url = f"https://127.0.0.1:{peer.port}"
        credentials = ClientCredentials(
            Gateway(f"{url}/token", tls=context), "npp & co", "s=cret", "payments"
        )
        yield peer, Gateway(url, tls=context, tokens=credentials)


def test_a_token_is_requested_once_and_again_before_it_expires(
    tmp_path: Path, clock: HeldClock
) -> None:
    with signing_in(tmp_path) as (peer, gateway):
        assert [post(gateway, clock) for _ in range(3)] == [200] * 3
        assert peer.bought == 1
        clock.advance(int((120 - EARLY_S) * 1_000))
        assert post(gateway, clock) == 200
    tokens = [authorization for path, authorization, _ in peer.came if path == "/payments"]
    assert tokens == ["Bearer t1"] * 3 + ["Bearer t2"]
    requested = parse_qs(peer.came[0][2].decode())
    assert requested == {
        "grant_type": ["client_credentials"],
        "client_id": ["npp & co"],
        "client_secret": ["s=cret"],
        "scope": ["payments"],
    }


def test_a_token_is_used_for_a_day_at_most_whatever_its_issuer_says(
    tmp_path: Path, clock: HeldClock
) -> None:
    with signing_in(tmp_path) as (peer, gateway):
        peer.granted["expires_in"] = 10**12
        assert post(gateway, clock) == 200
        clock.advance(86_400 * 1_000)
        assert post(gateway, clock) == 200
        assert peer.bought == 2


def test_a_refused_token_is_not_sent_again(tmp_path: Path, clock: HeldClock) -> None:
    """The call ends with that answer: nothing is retried automatically."""
    with signing_in(tmp_path) as (peer, gateway):
        assert post(gateway, clock) == 200
        peer.taken = {"Bearer t2"}
        assert [post(gateway, clock), post(gateway, clock)] == [401, 200]
    assert len([path for path, _, _ in peer.came if path == "/payments"]) == 3


@pytest.mark.parametrize(
    ("status", "granted"),
    [
        (503, {}),
        (401, {}),
        (200, {"access_token": ""}),
        (200, {"access_token": "a b"}),
        (200, {"access_token": "t\r\nx: y"}),
        (200, {"access_token": 7}),
        (200, {"access_token": "t" * 8_193}),
        (200, {"token_type": "mac"}),
    ],
)
def test_without_a_token_nothing_is_sent(
    tmp_path: Path, clock: HeldClock, status: int, granted: dict[str, Any]
) -> None:
    """A ConnectError: the gateway has certainly not received it."""
    with signing_in(tmp_path) as (peer, gateway):
        peer.token_status = status
        peer.granted |= granted
        with pytest.raises(ConnectError):
            post(gateway, clock)
    assert [path for path, _, _ in peer.came] == ["/token"]
