"""The HTTP side of a process: /metrics, /livez, /readyz and /startupz. It never calls Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine.loop.watch import Health, Phase
from engine.serving.metrics import Count
from engine.serving.protocol import Patience
from engine.serving.server import Bounds, Certificate, ThreadedServer

# Prometheus and the probes: a handful of connections, requests without a body.
BOUNDS: Final = Bounds(
    connections_max=64, of_one_max=32, patience=Patience(head_s=5.0, body_s=5.0, write_s=10.0)
)
_JSON: Final = "application/json"


Answer = tuple[bool, dict[str, Any]]
Probe = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of a process: each returns true or false, and details for people.

    `live`: it makes progress; must not call Kafka. `ready`: false while it restores, is blocked or
    stopped. `started`: progress of the start.
    """

    live: Probe
    ready: Probe
    started: Probe


def progress(health: Health, s_max: float) -> Probe:
    """Live if the last heartbeat is at most `s_max` seconds old."""

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


def readiness(ready: Probe) -> Probes:
    """Probes of a process that is live as long as it responds."""
    return Probes(lambda: (True, {}), ready, ready)


class HealthServer(ThreadedServer):
    """Serves until closed. `port` 0 picks a free one; `address` has it."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        probes: Probes,
        count: Count,
        certificate: Certificate | None = None,
    ) -> None:
        routes: dict[str, Probe] = {
            "/livez": probes.live,
            "/readyz": probes.ready,
            "/startupz": probes.started,
        }
        super().__init__(
            _application(routes, registry),
            host=host,
            port=port,
            bounds=BOUNDS,
            name="npp-health",
            lifespan=False,
            count=count,
            certificate=certificate,
        )


def _application(routes: dict[str, Probe], registry: CollectorRegistry) -> Any:
    """The ASGI application. Responses are computed in threads: a probe may wait for a database."""

    def answer(method: str, path: str) -> tuple[int, str, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, _JSON, b'{"code": "METHOD_NOT_ALLOWED"}'
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
        route = routes.get(path)
        if route is None:
            return 404, _JSON, b'{"code": "NOT_FOUND"}'
        good, body = route()
        return 200 if good else 503, _JSON, json.dumps(body).encode()

    async def application(scope: Any, _: Any, send: Any) -> None:
        status, kind, body = await asyncio.to_thread(answer, scope["method"], scope["path"])
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application
