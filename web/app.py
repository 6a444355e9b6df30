"""The pages and the API as one application: /api, its document and the probes are the API's, all
else is a page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.edge.middleware import Edge
from api.edge.problems import body_of, problem_of
from engine.clock import Clock
from web import render, runbooks
from web.dashboard.live import Live
from web.dashboard.panels import panels
from web.dashboard.picture import draw
from web.oidc import Oidc, OidcSettings
from web.pages import approvals, control, dashboard, payments, queues, records, sign_in
from web.sessions import Sessions
from web.site import Personas, Site, page
from web.static import Static

POLICY: Final = (
    b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    b"object-src 'none'"
)
SECURITY: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
API_PATHS: Final = ("/api/", "/openapi.json", "/livez", "/readyz")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`key` encrypts sessions; `libraries` is the folder of the browser's libraries; `personas` is
    the demo's sign-in, `oidc` the sign-in otherwise; `transport` replaces the network to its
    provider in tests. `trace_url` is the address of a trace viewer with {trace_id} in it; empty for
    no links to traces.
    """

    key: bytes
    libraries: Path
    https: bool = False
    hosts: frozenset[str] = frozenset()
    personas: Personas | None = None
    oidc: OidcSettings | None = None
    transport: httpx2.AsyncBaseTransport | None = None
    trace_url: str = ""


def with_pages(api: FastAPI, settings: WebSettings) -> Pages:
    """The API with its pages. Raises OSError when a library or the runbook is missing."""
    services = api.state.services
    static = Static(settings.libraries)
    templates = render.environment()
    templates.globals["asset"] = static.address
    templates.globals["trace_url"] = lambda trace_id: trace_address(settings.trace_url, trace_id)
    summary = api.state.summary

    site = Site(
        api=api,
        services=services,
        auth=api.state.auth,
        summary=summary,
        streams=api.state.streams,
        sessions=Sessions(settings.key, services.clock, secure=settings.https),
        templates=templates,
        live=Live(
            lambda: panels(templates, draw(services, summary)),
            services.clock,
            lambda: api.state.streams.closed,
        ),
        runbooks=runbooks.read(),
        personas=settings.personas,
        oidc=_oidc(settings, services.clock),
    )
    web = Starlette(
        routes=[
            static.route(),
            *sign_in.ROUTES,
            *dashboard.ROUTES,
            *payments.ROUTES,
            *approvals.ROUTES,
            *queues.ROUTES,
            *records.ROUTES,
            *control.ROUTES,
            *runbooks.ROUTES,
        ],
        exception_handlers={HTTPException: _error_page},
    )
    web.state.site = site
    edge = Edge(
        web,
        clock=services.clock,
        metrics=api.state.metrics,
        https=settings.https,
        hosts=settings.hosts,
        security=SECURITY,
    )
    return Pages(api, edge, site)


def trace_address(template: str, trace_id: str) -> str:
    """The address of this trace; empty if no trace viewer is configured."""
    return template.replace("{trace_id}", trace_id)


def _oidc(settings: WebSettings, clock: Clock) -> Oidc | None:
    if settings.oidc is None:
        return None
    return Oidc(
        settings.oidc, settings.key, clock, secure=settings.https, transport=settings.transport
    )


class PagesOff:
    """The API without pages: a request for `/` gets the reason as a 404."""

    def __init__(self, api: ASGIApp, why: str) -> None:
        self._api = api
        self._why = why

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await self._api(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in SECURITY}
        response = PlainTextResponse(f"{self._why}\n", 404, headers)
        await response(scope, receive, send)


class Pages:
    """API or page, by path; the lifespan is the API's."""

    def __init__(self, api: ASGIApp, web: ASGIApp, site: Site) -> None:
        self._api = api
        self._web = web
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and not scope["path"].startswith(API_PATHS)
        await (self._web if ours else self._api)(scope, receive, send)


async def _error_page(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, as a page."""
    problem = problem_of(error)
    assert problem is not None
    site: Site = request.app.state.site
    return page(site, request, "problem.html", problem.status, problem=body_of(problem))
