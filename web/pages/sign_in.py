"""Signing in and out: with an OpenID provider, or as a demo's person, on loopback only."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from api.edge.problems import Problem
from web import forms
from web.api_client import ApiClient, Refused
from web.oidc import CALLBACK
from web.sessions import TooLong
from web.site import (
    SIGN_IN,
    Page,
    Person,
    Site,
    WebRoute,
    own_address,
    page,
    signed,
    status_and_problem,
)


async def sign_in(request: Request) -> Response:
    """The sign-in page: the demo's people, or the provider."""
    site: Site = request.app.state.site
    back = own_address(request.query_params.get("next"))
    people = site.personas.people if site.personas is not None and _is_near(request) else ()
    return page(site, request, "sign-in.html", people=people, oidc=site.oidc is not None, back=back)


async def become(request: Request) -> Response:
    """Signs in as one of the demo's people."""
    site: Site = request.app.state.site
    try:
        fields = await forms.read(request)
        person = _person(site, request, fields.get("person", ""))
        assert site.personas is not None
        token = site.personas.issue(person)
        who = await ApiClient(site.api, request, token).get("/api/session")
    except (Problem, Refused) as error:
        return _error_page(site, request, error)
    response = RedirectResponse(own_address(fields.get("next")), 303)
    site.sessions.begin(response, token, who["expiresAt"])
    return response


async def start(request: Request) -> Response:
    """Sends the browser to the provider."""
    site: Site = request.app.state.site
    if site.oidc is None:
        return RedirectResponse(SIGN_IN, 303)
    response = Response(status_code=303, headers={"cache-control": "no-store"})
    try:
        address = await site.oidc.begin(response, own_address(request.query_params.get("next")))
    except Problem as error:
        return _error_page(site, request, error)
    response.headers["location"] = address
    return response


async def callback(request: Request) -> Response:
    """The browser comes back from the provider. The answer is a page that reloads, not a redirect:
    with a redirect after another site, browsers do not send the new SameSite=Strict cookie."""
    site: Site = request.app.state.site
    if site.oidc is None:
        return RedirectResponse(SIGN_IN, 303)
    try:
        token, back = await site.oidc.end(request)
        who = await ApiClient(site.api, request, token).get("/api/session")
        response = page(site, request, "again.html", address=back)
        site.sessions.begin(response, token, who["expiresAt"])
    except (Problem, Refused) as error:
        response = _error_page(site, request, error)
    except TooLong as error:
        problem = Problem(403, "POLICY_REJECTED", "TOKEN_TOO_LONG", f"{error}: too long to keep.")
        response = _error_page(site, request, problem)
    site.oidc.forget(response)
    return response


def _error_page(site: Site, request: Request, error: Problem | Refused) -> Response:
    status, problem = status_and_problem(error)
    return page(site, request, "problem.html", status, problem=problem)


def _person(site: Site, request: Request, name: str) -> Person:
    """The demo's person of this name. Raises Problem (403) where there is none."""
    if site.personas is not None and _is_near(request):
        for each in site.personas.people:
            if each.id == name:
                return each
    raise Problem(403, "POLICY_REJECTED", "NO_SUCH_PERSON", "There is no user of that name.")


def _is_near(request: Request) -> bool:
    """Whether the caller is on this machine."""
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def sign_out(page: Page) -> Response:
    """Signs out: deletes the cookie."""
    response = RedirectResponse(SIGN_IN, 303)
    page.site.sessions.end(response)
    return response


ROUTES: Final[tuple[BaseRoute, ...]] = (
    WebRoute(SIGN_IN, sign_in, methods=["GET"], name="sign_in"),
    WebRoute(SIGN_IN, become, methods=["POST"], name="become"),
    WebRoute(f"{SIGN_IN}/start", start, methods=["GET"], name="start"),
    WebRoute(CALLBACK, callback, methods=["GET"], name="callback"),
    signed("/sign-out", sign_out, "POST"),
)
