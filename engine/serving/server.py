"""An HTTP server that slow, silent or very many clients cannot block: uvicorn with
`BoundedProtocol`. The API, the rail's callbacks and the metrics use it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.clock import Clock, SystemClock
from engine.serving.connections import Connections
from engine.serving.metrics import Count, uncounted
from engine.serving.protocol import BoundedProtocol, Patience

HEAD_BYTES_MAX: Final = 32_768  # of a request line and its headers; a token may have 8 KiB
BACKLOG: Final = 1_024
DRAIN_S_MAX: Final = 15  # open requests, after the stop
OTHER_FILES_COUNT: Final = 1_024  # open in addition to connections: stores, Kafka, the database
START_S_MAX: Final = 10.0
STOP_S_MAX: Final = 20.0
LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one port. `proxies` are addresses or networks that carry many clients: they have no
    per-address limit.
    """

    connections_max: int = 1_000
    of_one_max: int = 100
    patience: Patience = field(default_factory=Patience)
    proxies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM certificate for serving TLS 1.2 or later; the key may be in the same file.

    A handshake has asyncio's timeout of a minute and counts against no limit here, so use it only
    on networks behind a proxy with its own limits.
    """

    file: Path
    key: Path | None = None

    def settings(self) -> dict[str, Any]:
        """As uvicorn's settings."""
        return {"ssl_certfile": self.file, "ssl_keyfile": self.key}


def config(
    app: Any,
    bounds: Bounds,
    count: Count = uncounted,
    certificate: Certificate | None = None,
    **settings: Any,
) -> uvicorn.Config:
    """uvicorn's configuration within these bounds; `settings` are uvicorn's own. Events caused by
    strangers are counted and not logged, because they could fill the log. Plain HTTP without a
    certificate.
    """
    if certificate is not None:
        settings |= certificate.settings()
    make_room_for_files(bounds.connections_max + OTHER_FILES_COUNT)
    made = Connections(bounds.connections_max, bounds.of_one_max, proxy_among(bounds.proxies))
    protocol: Any = partial(
        BoundedProtocol, open_connections=made, patience=bounds.patience, count=count
    )
    protocol_type: type[H11Protocol] = protocol
    return uvicorn.Config(
        app,
        http=protocol_type,
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        backlog=BACKLOG,
        timeout_keep_alive=int(bounds.patience.idle_s),
        timeout_graceful_shutdown=DRAIN_S_MAX,
        **settings,
    )


def proxy_among(proxies: Sequence[str]) -> Callable[[str], bool]:
    """A predicate: whether an address is in these addresses and networks; invalid entries match
    nothing.
    """
    networks = []
    for each in proxies:
        with contextlib.suppress(ValueError):
            networks.append(ipaddress.ip_network(each, strict=False))

    def is_proxy(host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return is_proxy


def make_room_for_files(count: int) -> None:
    """Raise the process's open-file limit, as far as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server(uvicorn.Server):
    """Leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ThreadedServer:
    """Serves on its own thread. The constructor binds the port: raises OSError."""

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        bounds: Bounds,
        name: str,
        clock: Clock | None = None,
        lifespan: bool = True,
        count: Count = uncounted,
        certificate: Certificate | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Inherited by each connection: without it a body waits 40 ms for its head's
        # acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken = self._socket.getsockname()
        self._address = (str(taken[0]), int(taken[1]))
        self._server = Server(
            config(app, bounds, count, certificate, lifespan="auto" if lifespan else "off")
        )
        self._name = name
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name=name, daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        return self._address

    @property
    def port(self) -> int:
        """The port it listens on (useful if port 0 was requested)."""
        return self._address[1]

    def start(self) -> None:
        """Raises RuntimeError when it does not start."""
        self._thread.start()
        deadline_s = self._clock.monotonic_s() + START_S_MAX
        while not self._server.started:
            if not self._thread.is_alive() or self._clock.monotonic_s() > deadline_s:
                raise RuntimeError(f"{self._name} does not start")
            self._clock.sleep(0.02)

    def run(self) -> None:
        """Serve until a stop is requested. Raises RuntimeError if it ends otherwise."""
        self.start()
        while self._thread.is_alive() and not self._server.should_exit:
            self._thread.join(LOOK_EVERY_S)
        if not self._server.should_exit:
            raise RuntimeError(f"{self._name} has ended")
        self._thread.join(STOP_S_MAX)

    def request_stop(self) -> None:
        """Finish running requests; safe from a signal handler."""
        self._server.should_exit = True

    def close(self) -> None:
        """Finish running requests, within a time limit; also if it was never started."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)
        self._socket.close()
