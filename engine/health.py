"""The HTTP side of a process: /metrics, /livez, /readyz and /startupz from one thread. It never
asks Kafka."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine.loop.watch import Health, Phase

REQUEST_S_MAX: Final = 5.0
_JSON: Final = "application/json"


Answer = tuple[bool, dict[str, Any]]
Probe = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Probes:
    """What a process says of itself: each gives whether, and what a person may want to know.

    `live`: it makes progress; must not ask Kafka. `ready`: false while it restores, is blocked or
    stopped. `started`: how far the start is.
    """

    live: Probe
    ready: Probe
    started: Probe


def progress(health: Health, s_max: float) -> Probe:
    """Live while the process has beaten within `s_max` seconds."""

    def live() -> Answer:
        age_s = health.age_s()
        return age_s <= s_max, {"progressSecondsAgo": round(age_s, 3)}

    return live


def engine_probes(health: Health, progress_s_max: float) -> Probes:
    """Probes of a loop or a worker."""

    def ready() -> Answer:
        return health.ready(), {
            "phase": health.phase.value,
            "reason": health.reason,
            "partitions": list(health.partitions),
            "unreadable": health.partition_errors.first(),
        }

    def started() -> Answer:
        waiting = (Phase.STARTING, Phase.BLOCKED, Phase.RESTORING)
        remaining = sorted(health.progress.remaining.items())
        return health.phase not in waiting, {
            "phase": health.phase.value,
            "reason": health.reason,
            "restoreRemaining": {str(number): left for number, left in remaining},
        }

    return Probes(progress(health, progress_s_max), ready, started)


class HealthServer:
    """Serves until closed. `port` 0 takes a free one; `address` says which."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, probes: Probes) -> None:
        routes: dict[str, Probe] = {
            "/livez": probes.live,
            "/readyz": probes.ready,
            "/startupz": probes.started,
        }
        self._server = ThreadingHTTPServer((host, port), _handler(routes, registry))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="npp-health", daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(
    routes: dict[str, Callable[[], tuple[bool, dict[str, Any]]]], registry: CollectorRegistry
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S_MAX

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                return
            route = routes.get(path)
            if route is None:
                self._answer(404, _JSON, b'{"code": "NOT_FOUND"}')
                return
            good, body = route()
            self._answer(200 if good else 503, _JSON, json.dumps(body).encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class says so
            """Requests are not logged: a probe comes every second."""

    return Handler
