"""An attacker without credentials on one connection: whatever is slow, large or ambiguous is
closed, counted, and never read as a request.
"""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from engine.serving.metrics import Closed
from engine.serving.protocol import Patience
from engine.serving.server import HEAD_BYTES_MAX, Bounds, ThreadedServer
from tests.api.slow_clients import connect, held, rest, said

pytestmark = pytest.mark.slow

QUICK = Patience(head_s=1.0, body_s=1.0, idle_s=1.0, write_s=1.0)


UNREAD = "/401"
BEGUN = "/402"


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path says: after reading the body, for UNREAD without
    reading it, for BEGUN with the head before and the bytes after.
    """

    async def read_body() -> None:
        while (await receive()).get("more_body"):
            pass

    path = scope["path"]
    if path not in (UNREAD, BEGUN):
        await read_body()
    size = int(path.strip("/") or 2)
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == BEGUN:
        await read_body()
    await send({"type": "http.response.body", "body": b"x" * size})


COUNTED: Counter[Closed] = Counter()


def _count(reason: Closed) -> None:
    COUNTED[reason] += 1


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server with short timeouts."""
    COUNTED.clear()
    bounds = Bounds(connections_max=20, of_one_max=10, patience=QUICK)
    server = ThreadedServer(
        _echo, host="127.0.0.1", port=0, bounds=bounds, name="echo", lifespan=False, count=_count
    )
    server.start()
    yield server.port
    server.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        GET,
    ],
    ids=["silent", "half a head", "half a body", "half a chunk", "idle after its answer"],
)
def test_a_slow_client_is_closed(echo: int, sent: bytes) -> None:
    _, closed = said(echo, sent, 3.0)
    assert closed


@pytest.mark.parametrize(
    "first", [b"", b"POST / HTTP/1.1\r\nContent-Length: 100\r\nHost: x\r\n\r\n"]
)
def test_single_bytes_do_not_extend_the_timeout(echo: int, first: bytes) -> None:
    begun = time.monotonic()
    with connect(echo) as one:
        one.sendall(first)
        try:
            while time.monotonic() < begun + 8:
                one.sendall(b"G")
                time.sleep(0.1)
        except ConnectionError:
            pass
    assert time.monotonic() - begun < 4.0


def test_a_client_that_does_not_read_its_answer_is_closed(echo: int) -> None:
    with connect(echo) as one:
        one.sendall(b"GET /50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 10.0  # on a busy machine
        while not COUNTED and time.monotonic() < deadline:
            time.sleep(0.1)
        answer, closed = rest(one, 10.0)
    assert closed
    assert len(answer) < 50_000_000
    assert COUNTED == {Closed.UNREAD: 1}  # as a client that does not read, not as idle


def test_a_kept_connection_serves_one_request_after_the_other(echo: int) -> None:
    there = http.client.HTTPConnection("127.0.0.1", echo, timeout=5)
    for size in (5, 70_000, 1):
        there.request("POST", f"/{size}", b"y" * size)
        assert len(there.getresponse().read()) == size
        time.sleep(0.2)
    there.close()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
TWO_WAYS = {
    "both lengths": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, other case": HEAD + b"transfer-ENCODING: chunked\r\ncontent-LENGTH: 3\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "other lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "two encodings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "another encoding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 3\r\n\r\nabc",
    "bare LF after a header": b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\nabc",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: x\n\n",
    "bare LF within the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "a continued line": b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "bare LF in a chunk's size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", TWO_WAYS.values(), ids=TWO_WAYS)
@pytest.mark.parametrize("step", [1, 100_000], ids=["byte by byte", "at once"])
def test_an_ambiguous_request_is_refused_and_closed(echo: int, sent: bytes, step: int) -> None:
    """Bytes that follow it on the connection are never read as a request."""
    with connect(echo) as one:
        try:
            for start in range(0, len(sent), step):
                one.sendall(sent[start : start + step])
            one.sendall(GET)
        except ConnectionError:
            pass  # it is closed already
        answer, closed = rest(one, 3.0)
    assert closed
    assert b"HTTP/1.1 200 " not in answer
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""


@pytest.mark.parametrize(
    "sent",
    [
        GET[:-2] + b"X: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"GET /" + b"a" * HEAD_BYTES_MAX,
        GET[:-2] + b"X: y\r\n" * HEAD_BYTES_MAX,
    ],
    ids=["a header", "a request line without end", "many headers"],
)
def test_an_oversized_head_is_refused_and_closed(echo: int, sent: bytes) -> None:
    answer, closed = said(echo, sent, 3.0)
    assert closed
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""


def test_a_second_request_before_the_first_is_answered_is_not_read(echo: int) -> None:
    answer, closed = said(echo, b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\nGET /7 HTTP/1.1\r\n\r\n", 3.0)
    assert closed
    assert answer.count(b"HTTP/1.1 ") == 1


MALFORMED = Closed.MALFORMED
EARLY = HEAD.replace(b"/", UNREAD.encode(), 1)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n3\r\n"


@pytest.mark.parametrize(
    ("head", "rest_of_body", "answers", "reason"),
    [
        (b"Content-Length: 10\r\n\r\n12345", b"67890", 2, None),
        (b"Content-Length: 10\r\n\r\n12345", b"67890" + GET, 3, None),
        (b"Content-Length: 10\r\n\r\n12345", b"67890" + TWO_WAYS["a continued line"], 2, MALFORMED),
        (CHUNKED, b"abc\r\n0\r\n\r\n", 2, None),
        (CHUNKED, b"abc\r\nno\r\n", 1, MALFORMED),
    ],
    ids=["alone", "with a request", "with an ambiguous request", "chunks", "a malformed chunk"],
)
def test_the_rest_of_an_answered_body_is_discarded_and_a_request_behind_it_is_checked(
    echo: int,
    head: bytes,
    rest_of_body: bytes,
    answers: int,
    reason: Closed | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A request in the same packet is an honest client's, too: it sends the rest of the body, has
    the answer already and goes on. Its head passes the checks of every other.
    """
    with connect(echo) as one:
        one.sendall(EARLY + head)
        first, closed = rest(one, 0.5)
        assert (first.count(b"HTTP/1.1 200 "), closed) == (1, False)
        one.sendall(rest_of_body)
        try:
            time.sleep(0.2)
            one.sendall(GET)
        except ConnectionError:
            pass  # it is closed already
        second, closed = rest(one, 3.0)
    assert closed
    assert (first + second).count(b"HTTP/1.1 ") == answers
    assert ({} if reason is None else {reason: 1}) == COUNTED
    assert caplog.records == []


def test_a_malformed_body_of_a_request_whose_answer_has_begun_is_closed_and_fills_no_log(
    echo: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(echo) as one:
        one.sendall(HEAD.replace(b"/", BEGUN.encode(), 1) + CHUNKED)
        assert rest(one, 0.5)[0].startswith(b"HTTP/1.1 200 ")
        one.sendall(b"abc\r\nno\r\n")
        assert rest(one, 3.0) == (b"", True)
    assert COUNTED == {Closed.MALFORMED: 1}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", Closed.LATE),
        (TWO_WAYS["both lengths"], Closed.MALFORMED),
        (TWO_WAYS["a NUL"], Closed.MALFORMED),
        (b"GET /" + b"a" * HEAD_BYTES_MAX, Closed.MALFORMED),
        (GET, None),
    ],
    ids=["silent", "two lengths", "a NUL", "too large", "idle after its answer"],
)
def test_events_caused_by_strangers_are_counted_and_fill_no_log(
    echo: int, sent: bytes, reason: Closed | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(echo, sent, 3.0)[1]
    assert ({} if reason is None else {reason: 1}) == COUNTED
    assert caplog.records == []


def test_a_connection_closed_to_make_room_is_counted(echo: int) -> None:
    with held(echo, 15, lambda _: b""):
        assert said(echo, GET, 0.5)[0].startswith(b"HTTP/1.1 200 ")
    assert COUNTED[Closed.MADE_ROOM] == 6


def test_the_head_may_arrive_byte_by_byte(echo: int) -> None:
    with connect(echo) as one:
        for byte in b"GET /9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            one.sendall(bytes([byte]))
        answer, _ = rest(one, 3.0)
    assert answer.startswith(b"HTTP/1.1 200 ")
