"""Clients that keep a server waiting: many raw sockets at once, from loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.serving.server import make_room_for_files

FILES_COUNT = 6_000
CONNECT_S_MAX = 20.0


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=CONNECT_S_MAX)


@contextmanager
def held(port: int, count: int, sent: Callable[[int], bytes]) -> Iterator[list[socket.socket]]:
    """That many connections, each having sent `sent(number)`; closed at the end."""
    make_room_for_files(FILES_COUNT)
    made: list[socket.socket] = []
    try:
        for number in range(count):
            one = connect(port)
            made.append(one)
            try:
                one.sendall(sent(number))
            except ConnectionError:
                continue  # closed to make room
        yield made
    finally:
        for one in made:
            one.close()


def said(port: int, request: bytes, seconds: float = 10.0) -> tuple[bytes, bool]:
    """The response until the other side closes or `seconds` have passed, and whether it
    has closed.
    """
    with connect(port) as one:
        one.sendall(request)
        return rest(one, seconds)


def rest(one: socket.socket, seconds: float) -> tuple[bytes, bool]:
    """What still arrives, and whether the other side has closed in time."""
    until = time.monotonic() + seconds
    found = b""
    while (left := until - time.monotonic()) > 0:
        one.settimeout(left)
        try:
            chunk = one.recv(65_536)
        except TimeoutError:
            return found, False
        except ConnectionError:
            return found, True
        if not chunk:
            return found, True
        found += chunk
    return found, False
