"""Signing in and out: with an OpenID provider, or as a demo's person, on loopback only."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from api.edge.problems import Problem
from web import forms
from web.asking import Asking, Refused
from web.oidc import CALLBACK
from web.sessions import TooLong
from web.site import SIGN_IN, Page, Person, Site, WebRoute, own_address, page, signed, told


async def sign_in(request: Request) -> Response:
    """Who do you want to be?"""
    site: Site = request.app.state.site
    back = own_address(request.query_params.get("next"))
    people = site.personas.people if site.personas is not None and _is_near(request) else ()
    return page(site, request, "sign-in.html", people=people, oidc=site.oidc is not None, back=back)


async def become(request: Request) -> Response:
    """A persona's session."""
    site: Site = request.app.state.site
    try:
        fields = await forms.read(request)
        person = _person(site, request, fields.get("person", ""))
        assert site.personas is not None
        token = site.personas.issue(person)
        who = await Asking(site.api, request, token).get("/api/session")
    except (Problem, Refused) as error:
        return _said(site, request, error)
    response = RedirectResponse(own_address(fields.get("next")), 303)
    site.sessions.begin(response, token, who["expiresAt"])
    return response


async def start(request: Request) -> Response:
    """To the provider."""
    site: Site = request.app.state.site
    if site.oidc is None:
        return RedirectResponse(SIGN_IN, 303)
    response = Response(status_code=303, headers={"cache-control": "no-store"})
    try:
        address = await site.oidc.begin(response, own_address(request.query_params.get("next")))
    except Problem as error:
        return _said(site, request, error)
    response.headers["location"] = address
    return response


async def callback(request: Request) -> Response:
    """Back from the provider. A page that goes on by itself, and no redirect: a redirect that comes
    from another site would not carry the new cookie, which is SameSite=Strict."""
    site: Site = request.app.state.site
    if site.oidc is None:
        return RedirectResponse(SIGN_IN, 303)
    try:
        token, back = await site.oidc.end(request)
        who = await Asking(site.api, request, token).get("/api/session")
        response = page(site, request, "again.html", address=back)
        site.sessions.begin(response, token, who["expiresAt"])
    except (Problem, Refused) as error:
        response = _said(site, request, error)
    except TooLong as error:
        problem = Problem(403, "POLICY_REJECTED", "TOKEN_TOO_LONG", f"{error}: too long to keep.")
        response = _said(site, request, problem)
    site.oidc.forget(response)
    return response


def _said(site: Site, request: Request, error: Problem | Refused) -> Response:
    status, problem = told(error)
    return page(site, request, "problem.html", status, problem=problem)


def _person(site: Site, request: Request, name: str) -> Person:
    """Raises Problem (403) where nobody can be chosen."""
    if site.personas is not None and _is_near(request):
        for each in site.personas.people:
            if each.id == name:
                return each
    raise Problem(403, "POLICY_REJECTED", "NO_SUCH_PERSON", "Nobody of that name can be chosen.")


def _is_near(request: Request) -> bool:
    """Whether the caller is on this machine."""
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def sign_out(page: Page) -> Response:
    """Takes the cookie away."""
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
