"""A connection that is refused has no request read, however early it arrives."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

from engine.serving.server import Bounds, Certificate, ThreadedServer
from tests.gateways.certificates import Authority

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT_S = 5.0


def answer_to_an_early_request(port: int) -> bytes:
    """Over TLS, with the request in the same segment as the end of the client's handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(received, sent)
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as one:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                one.sendall(sent.read())
                received.write(one.recv(65_536))
        client.write(GET)
        one.sendall(sent.read())
        while True:
            try:
                return client.read(65_536)
            except ssl.SSLWantReadError:
                received.write(one.recv(65_536))


def test_a_request_of_a_connection_without_room_is_not_carried_out(tmp_path: Path) -> None:
    """The client is answered 503, so it may send the request again."""
    carried_out: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        carried_out.append(scope["path"])

    certificate = Certificate(Authority("ours").certificate(tmp_path, "server"))
    server = ThreadedServer(
        app, host="127.0.0.1", port=0, bounds=Bounds(connections_max=0), name="full",
        lifespan=False, certificate=certificate,
    )  # fmt: skip
    server.start()
    try:
        assert answer_to_an_early_request(server.port).startswith(b"HTTP/1.1 503 ")
        time.sleep(0.2)
    finally:
        server.close()
    assert carried_out == []
