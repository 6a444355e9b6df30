"""What all pages share: the signed-in user, the API on that user's behalf, and the layout."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from api.auth.sign_in import SignIn
from api.edge.problems import Problem, body_of, problem_of
from api.services import Principal, Services
from api.stream.streams import Streams
from api.summary.figures import Summary
from web import forms
from web.api_client import ApiClient, Refused
from web.dashboard.live import Live
from web.oidc import Oidc
from web.sessions import Session, Sessions

SIGN_IN: Final = "/sign-in"
NEXT_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Person:
    """A person that a demo user can sign in as."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Personas:
    """The demo's sign-in: its people, and a function that issues a token for one of them."""

    people: tuple[Person, ...]
    issue: Callable[[Person], str]


@dataclass(frozen=True, slots=True)
class Runbooks:
    """The runbook as HTML: all of it, and the section of each alert."""

    whole: Markup
    alerts: Mapping[str, Markup]


@dataclass(frozen=True, slots=True)
class Site:
    """The pages' parts, built once."""

    api: ASGIApp
    services: Services
    auth: SignIn
    summary: Summary
    streams: Streams
    sessions: Sessions
    templates: Environment
    live: Live
    runbooks: Runbooks
    personas: Personas | None = None
    oidc: Oidc | None = None


@dataclass(slots=True)
class Page:
    """One request of a page by a signed-in user."""

    site: Site
    request: Request
    session: Session
    api: ApiClient
    who: Mapping[str, Any]  # GET /api/session
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(self.who["roles"])

    def principal(self) -> Principal:
        """The user as the API knows them. Raises Problem (401) for a token no longer valid."""
        found: Principal | None = self.site.auth.known(self.session.token)
        if found is None:
            raise Problem(401, "NOT_SIGNED_IN", "TOKEN_REFUSED", "Sign in again.")
        return found

    def render(self, template: str, code: int = 200, **values: Any) -> Response:
        """The rendered page. Its template also has `who`, `csrf`, `path` and `now_ms`."""
        return page(
            self.site,
            self.request,
            template,
            code,
            who=self.who,
            csrf=self.session.csrf,
            now_ms=self.site.services.clock.now_ms(),
            **values,
        )


Handler = Callable[[Page], Awaitable[Response]]


def page(site: Site, request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """A rendered template, without a signed-in user unless `who` is given."""
    values.setdefault("who", None)
    html = site.templates.get_template(template).render(path=request.url.path, **values)
    return HTMLResponse(html, code, headers={"cache-control": "no-store"})


class WebRoute(Route):
    """A route that puts itself into the scope, for metrics and the access log."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE:
            child["route"] = self
        return match, child


def signed(path: str, handler: Handler, method: str = "GET") -> Route:
    """A route for signed-in users. A GET without a session leads to the sign-in and back; the form
    of a POST must have the session's anti-forgery token.
    """

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        try:
            fields = await forms.read(request) if method == "POST" else {}
            session = site.sessions.open(request)
            if session is None:
                return _sign_in_first(site, request)
            if method == "POST":
                forms.check_word(session, fields)
            api = ApiClient(site.api, request, session.token)
            made = Page(site, request, session, api, await api.get("/api/session"), fields)
        except (Problem, Refused) as error:
            return _without(site, request, error)
        try:
            return await handler(made)
        except Exception as error:
            if not isinstance(error, Refused) and problem_of(error) is None:
                raise
            status, problem = status_and_problem(error)
            return made.render("problem.html", status, problem=problem)

    return WebRoute(path, endpoint, methods=[method], name=handler.__name__)


def status_and_problem(error: Exception) -> tuple[int, Mapping[str, Any]]:
    """Status and problem details of a refusal by the API or by a page."""
    if isinstance(error, Refused):
        return error.status, error.problem
    problem = problem_of(error)
    assert problem is not None
    return problem.status, body_of(problem)


def _without(site: Site, request: Request, error: Problem | Refused) -> Response:
    """The person is unknown: an expired token leads to the sign-in, other errors are shown."""
    status, problem = status_and_problem(error)
    if status == 401:
        response = _sign_in_first(site, request)
        site.sessions.end(response)
        return response
    return page(site, request, "problem.html", status, problem=problem)


def _sign_in_first(site: Site, request: Request) -> Response:
    """To the sign-in, and back afterwards. A link from another site comes without the cookie,
    which is SameSite=Strict: the page reloads itself, and then it is sent.
    """
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return page(site, request, "again.html", address=address_of(request))
    back = address_of(request) if request.method == "GET" else "/"
    return RedirectResponse(f"{SIGN_IN}?next={quote(back, safe='')}", 303)


def address_of(request: Request) -> str:
    """The path and query of a request."""
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def own_address(text: str | None) -> str:
    """The given address if it is a path of this site; else `/`."""
    if not text or len(text) > NEXT_CHARACTERS_MAX or not text.isprintable():
        return "/"
    if not text.startswith("/") or text.startswith(("//", "/\\")) or "\\" in text:
        return "/"
    return text
