"""The route class of everything under /api: sign-in, role, limits, then the body; in that order.

A route of another class, or without a row in `api.auth.access`, does not start (`api.app`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, get_type_hints

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.auth import access
from api.auth.sign_in import PAYMENT, PRINCIPAL, Caller, Claimed, KeysDown, NotSignedIn, Use
from api.edge import bodies, paths, problems
from api.edge.problems import Problem
from api.services import Principal

READS: Final = frozenset({"GET", "HEAD"})
AUTHORIZATION: Final = b"authorization"  # names of headers come in small letters
BEARER: Final = "bearer "
PAYMENT_ID: Final = re.compile(paths.PAYMENT_ID)
PATH_CHARACTERS_MAX: Final = 300
CHALLENGE: Final = 'Bearer realm="npp"'
Handler = Callable[[Request], Awaitable[Response]]


def router() -> APIRouter:
    """A router whose routes are guarded. Every module with routes makes its own."""
    return APIRouter(route_class=GuardedRoute, generate_unique_id_function=_operation_id)


def _operation_id(route: APIRoute) -> str:
    first, *rest = route.name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class JsonRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = bodies.read_json(await self.body())
        return self._json


class GuardedRoute(APIRoute):
    """Signs in, checks the role, counts against the limits; then FastAPI takes over.

    A refused request with a method other than GET is written to the audit log before the answer,
    unless the refusal says that it is already on record. The route's function name, in capitals, is
    the action's name there.
    """

    _alone: Handler | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that `_direct` answers skips FastAPI's layers, which close what dependencies
        opened and limit bodies. The application's handlers answer its problems.
        """
        alone = self._alone
        if alone is None or scope["query_string"] or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response = await alone(Request(scope, receive, send))
        await response(scope, receive, send)

    def get_route_handler(self) -> Any:
        inner: Handler = super().get_route_handler()
        method = next(iter(self.methods or ()))
        allowed = access.ACCESS.get((method, self.path_format), frozenset())
        needed = ", ".join(sorted(allowed))
        action = self.name.upper()
        queries = frozenset(field.alias for field in self.dependant.query_params)
        direct = _direct(self)

        async def handle(request: Request) -> Response:
            principal: Principal | None = None
            try:
                principal = await _sign_in(request)
                if principal.roles.isdisjoint(allowed):
                    raise problems.missing_role(needed)
                request.app.state.limits.check(principal)
                request.scope[PRINCIPAL] = principal
                _check_payment(request)
                if direct is not None and not request.scope["query_string"]:
                    return await direct(request)
                _check_query(request, queries)
                return await inner(JsonRequest(request.scope, request.receive))
            except Exception as error:
                problem = problems.problem_of(error)
                if problem is None:
                    raise
                if _on_record(problem, method, principal):
                    await _note(request, principal, action, problem)
                raise problem from error

        self._alone = None if direct is None else handle
        return handle


def _direct(route: APIRoute) -> Handler | None:
    """The endpoint without FastAPI's way to its arguments, where a request without a query has
    nothing that is still to be checked: who calls, the services, and the payment's id, whose form
    the guard has checked. About half of what such a request costs.
    """
    endpoint: Any = route.endpoint
    hints = get_type_hints(endpoint, include_extras=True)
    makers: dict[str, Callable[[Request], Any]] = {}
    for name, parameter in inspect.signature(endpoint).parameters.items():
        if hints[name] == Caller:
            makers[name] = _caller
        elif hints[name] == Use:
            makers[name] = _services
        elif name == "payment_intent_id" and hints[name] == paths.PaymentId:
            makers[name] = _payment_id
        elif hints[name] is Request:
            makers[name] = _request
        elif parameter.default is inspect.Parameter.empty:
            return None
    answers_itself = route.response_model is None and hints.get("return") is Response
    others = route.dependant.header_params or route.dependant.body_params
    if not answers_itself or others or not inspect.iscoroutinefunction(endpoint):
        return None

    async def call(request: Request) -> Response:
        answer: Response = await endpoint(**{name: of(request) for name, of in makers.items()})
        return answer

    return call


def _caller(request: Request) -> Any:
    return request.scope[PRINCIPAL]


def _services(request: Request) -> Any:
    return request.app.state.services


def _payment_id(request: Request) -> Any:
    return request.path_params["payment_intent_id"]


def _request(request: Request) -> Any:
    return request


def bearer(request: Request) -> str:
    """The bearer token (RFC 6750); empty where there is none."""
    for name, value in request.scope["headers"]:
        if name == AUTHORIZATION:
            header = value.decode("latin-1")
            break
    else:
        return ""
    return header[len(BEARER) :] if header[: len(BEARER)].lower() == BEARER else ""


async def _sign_in(request: Request) -> Principal:
    state = request.app.state
    token = bearer(request)
    found: Principal | None = state.auth.known(token) if token else None
    if found is not None:
        return found
    state.limits.check_address(request)
    if not token:
        raise _unsigned("TOKEN_MISSING", "Sign in: a bearer token is required.", CHALLENGE)
    claimed: Claimed = state.auth.claimed(token)
    counted = ""
    if not claimed.remembered:
        counted = state.limits.check_sign_in(request, claimed.key_id, claimed.person)
    try:
        verified: Principal = await to_thread.run_sync(
            state.auth.verify, token, limiter=_threads_for(request, claimed)
        )
        return verified
    except NotSignedIn as error:
        if not claimed.remembered:
            state.limits.refused_sign_in(counted)
        raise _unsigned(
            "TOKEN_REFUSED",
            f"The token is not accepted: {error.reason}.",
            f'{CHALLENGE}, error="invalid_token"',
        ) from error
    except KeysDown:
        raise problems.unavailable(
            "KEY_SERVER_DOWN", "The token's key is unknown and the key server does not answer."
        ) from None


def _threads_for(request: Request, claimed: Claimed) -> CapacityLimiter:
    """A token with an unknown key may cause a request to the key server: it waits in separate
    threads, and is refused if they are all in use. Raises Problem (503).
    """
    state = request.app.state
    known: CapacityLimiter = state.sign_in_threads
    unknown: CapacityLimiter = state.unknown_key_threads
    if claimed.remembered or claimed.key_id:
        return known
    if unknown.available_tokens < 1:
        raise problems.unavailable("KEY_UNKNOWN", "The token's key is being fetched: try again.")
    return unknown


def _unsigned(rule: str, sentence: str, challenge: str) -> Problem:
    return Problem(401, "NOT_SIGNED_IN", rule, sentence, headers={"WWW-Authenticate": challenge})


def _check_payment(request: Request) -> None:
    """An impossible id is not looked up: there is no such payment."""
    named = request.path_params.get("payment_intent_id")
    if named is None:
        return
    if PAYMENT_ID.fullmatch(named) is None:
        raise problems.payment_not_found()
    request.scope[PAYMENT] = named


def _check_query(request: Request, known: frozenset[str]) -> None:
    """A misspelt filter would show everything: unknown and repeated parameters are refused."""
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise problems.invalid("query", "has an unknown parameter")
        if name in seen:
            raise problems.invalid(name, "is given twice")
        seen.add(name)
        bodies.check_text(value, name)


def _on_record(problem: Problem, method: str, principal: Principal | None) -> bool:
    """Whether a refusal is noted: refused sign-ins and roles, and actions refused at the edge."""
    if problem.audited or problem.status == 429:
        return False
    if problem.status == 401:
        return problem.rule != "TOKEN_MISSING"
    if problem.status == 403:
        return True
    return principal is not None and method not in READS


async def _note(
    request: Request, principal: Principal | None, action: str, problem: Problem
) -> None:
    """Written before the answer; when it cannot be written the answer stays a refusal."""
    services = request.app.state.services
    named = request.path_params.get("payment_intent_id", "")

    def note() -> None:
        services.audit.note(
            principal,
            action if principal is not None else "SIGN_IN",
            method=request.method,
            path=request.scope["path"][:PATH_CHARACTERS_MAX],
            status=problem.status,
            payment_intent_id=named if PAYMENT_ID.fullmatch(named) else None,
            code=problem.code,
            rule=problem.rule,
            sentence=problem.sentence,
        )

    await run_in_threadpool(note)
