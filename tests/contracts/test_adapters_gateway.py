"""The gateway's HTTP against peers that behave badly: each ends as one technical result."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters import gateway
from adapters.gateway import BODY_BYTES_MAX, Gateway
from adapters.http_call import HttpAnswer, call
from engine.clock import SystemClock

CLOCK = SystemClock()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"
BODY = b'{"a": 1}'


class Peer:
    """Answers each request with the next of `answers`, bytes as they are; None closes."""

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


def test_a_connection_that_the_peer_has_closed_is_not_used_again() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with peer(closing + BODY, OK + BODY) as (_, client):
        assert get(client).technical_result == "HTTP_200"
        assert get(client).technical_result == "HTTP_200"


def test_a_chunked_answer_is_whole() -> None:
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
        (b"HTTP/1.1 503 no\r\ncontent-length: 2\r\n\r\nno", "HTTP_503"),
        (
            b"HTTP/1.1 301 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            "HTTP_301",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n" + b" " * (BODY_BYTES_MAX + 1_000),
            "TIMEOUT",
        ),
    ],
)
def test_a_bad_answer_is_a_technical_result_and_its_connection_is_given_up(
    answer: bytes | None, result: str
) -> None:
    with peer(answer, OK + BODY) as (_, client):
        found = get(client)
        assert (found.technical_result, found.body) == (result, None)


def test_nobody_there_and_silence_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "READ_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert get(Gateway(url)).technical_result == "TIMEOUT"
    assert get(Gateway(url)).technical_result == "CONNECT_FAILED"


def test_a_peer_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CALL_SECONDS_MAX", 0.0)
    with peer(OK + BODY) as (_, client):
        assert get(client).technical_result == "TIMEOUT"
