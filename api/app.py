"""The application: routers of `api.routes`, guarded by `api.guard`, and the OpenAPI document.

`create_app` refuses to build when a route has no row in `api.access` or is not guarded.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import Final

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from api import problems, routes
from api.access import ACCESS
from api.auth import SignIn
from api.guard import GuardedRoute
from api.limits import Limits, LimitSettings
from api.services import Services
from api.summary import Summary

SIGN_IN_THREADS_MAX: Final = 8  # a key server that hangs holds these at most, not the routes'


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the HTTP side needs beside the services."""

    limits: LimitSettings = field(default_factory=LimitSettings)
    https: bool = False
    version: str = "0.1.0"


def create_app(services: Services, auth: SignIn, settings: ApiSettings | None = None) -> FastAPI:
    """The ASGI application. Raises LookupError for a route without a row in `api.access`."""
    settings = settings or ApiSettings()
    app = FastAPI(
        title="NPP Orchestrator",
        version=settings.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.auth = auth
    app.state.settings = settings
    app.state.summary = Summary(services)
    app.state.sign_in_threads = CapacityLimiter(SIGN_IN_THREADS_MAX)
    app.state.limits = Limits(settings.limits, services.clock)
    for router in routers():
        for route in router.routes:
            check(route)
            app.router.routes.append(route)
    problems.install(app)
    return app


def routers() -> list[APIRouter]:
    """The `router` of every module of `api.routes`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(routes.__path__))
    return [importlib.import_module(f"{routes.__name__}.{name}").router for name in names]


def check(route: object) -> None:
    """Raises LookupError unless the route is guarded and has its row."""
    if not isinstance(route, GuardedRoute):
        path = route.path if isinstance(route, APIRoute) else repr(route)
        raise LookupError(f"{path} is not guarded: make its router with api.guard.router()")
    for method in route.methods or ():
        if (method, route.path_format) not in ACCESS:
            raise LookupError(f"{method} {route.path_format} has no row in api.access")
