"""The application: one router per resource, guarded by `api.auth.guard`, within `api.edge`.

`create_app` refuses to build when a route has no row in `api.auth.access` or is not guarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.auth.access import ACCESS
from api.auth.guard import GuardedRoute
from api.auth.sign_in import SignIn
from api.edge import middleware as edge
from api.edge import openapi, problems
from api.edge.limits import Limits, LimitSettings
from api.edge.metrics import ApiMetrics
from api.edge.params import in_thread
from api.routers import ROUTERS, VIEW_MODULES
from api.services import Services
from api.stream.streams import Streams
from api.summary.figures import Summary
from engine.clock import MS_PER_S
from engine.health import Answer as Found
from engine.health import Probes
from readmodel.ports import ReadModelDown

log = structlog.get_logger("npp.api")

SIGN_IN_THREADS_MAX: Final = 8  # a key server that hangs holds these at most, not the routes
UNKNOWN_KEY_THREADS_MAX: Final = 2  # tokens with an unknown key wait in their own threads
READ_THREADS_MAX: Final = 40
OBSERVE_S: Final = 5.0
BEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the HTTP side needs besides the services. `hosts`: host names that it serves, empty for
    any. `beat` is called every BEAT_S while the event loop runs."""

    limits: LimitSettings = field(default_factory=LimitSettings)
    https: bool = False
    hosts: frozenset[str] = frozenset()
    version: str = "0.1.0"
    probes: Probes | None = None
    beat: Callable[[], None] | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def create_app(services: Services, auth: SignIn, settings: ApiSettings | None = None) -> FastAPI:
    """The ASGI application. Raises LookupError for a route without a row in `api.auth.access`."""
    settings = settings or ApiSettings()
    app = FastAPI(
        title="NPP Orchestrator",
        version=settings.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    metrics = ApiMetrics(settings.registry)
    app.state.services = services
    app.state.auth = auth
    app.state.metrics = metrics
    app.state.beat = settings.beat
    app.state.summary = Summary(services)
    app.state.streams = Streams(services.reader, services.clock, services.partitions)
    app.state.sign_in_threads = CapacityLimiter(SIGN_IN_THREADS_MAX)
    app.state.unknown_key_threads = CapacityLimiter(UNKNOWN_KEY_THREADS_MAX)
    app.state.limits = Limits(settings.limits, services.clock)
    metrics.watch_malformed_keys(auth.malformed_keys)
    metrics.watch_streams(lambda: app.state.streams.count)
    for router in ROUTERS:
        for route in router.routes:
            check(route)
            app.router.routes.append(route)
    app.router.routes.extend(_probe_routes(settings.probes))
    problems.install(app)
    openapi.install(app, VIEW_MODULES)
    app.add_middleware(
        edge.Edge,
        clock=services.clock,
        metrics=metrics,
        https=settings.https,
        hosts=settings.hosts,
    )
    return app


def check(route: object) -> None:
    """Raises LookupError unless the route is guarded and has its row."""
    if not isinstance(route, GuardedRoute):
        path = route.path if isinstance(route, APIRoute) else repr(route)
        raise LookupError(f"{path} is not guarded: make its router with api.auth.guard.router()")
    for method in route.methods or ():
        if (method, route.path_format) not in ACCESS:
            raise LookupError(f"{method} {route.path_format} has no row in api.auth.access")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = READ_THREADS_MAX
    tasks = [asyncio.create_task(_observe(app)), asyncio.create_task(_beat(app.state.beat))]
    try:
        yield
    finally:
        app.state.streams.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _beat(beat: Callable[[], None] | None) -> None:
    while beat is not None:
        beat()
        await asyncio.sleep(BEAT_S)


async def _observe(app: FastAPI) -> None:
    """Reads the read model's delay every OBSERVE_S, for the gauge and the summary."""
    while True:
        try:
            seen = await in_thread(app.state.summary.observe)
        except ReadModelDown as down:
            log.warning("the read model's delay is not known", reason=str(down))
        else:
            if seen.delay_ms is not None:
                app.state.metrics.delay(seen.delay_ms / MS_PER_S)
        await asyncio.sleep(OBSERVE_S)


def _probe_routes(probes: Probes | None) -> list[Route]:
    """/livez and /readyz beside the API, for callers that only reach its port."""

    def answer(found: Found) -> JSONResponse:
        good, body = found
        return JSONResponse(body, status_code=200 if good else 503)

    async def live(_: Request) -> JSONResponse:
        return answer(probes.live() if probes is not None else (True, {}))

    async def ready(_: Request) -> JSONResponse:
        return answer(await in_thread(probes.ready) if probes is not None else (True, {}))

    return [Route("/livez", live, methods=["GET"]), Route("/readyz", ready, methods=["GET"])]
