"""The OpenAPI 3.1 document: FastAPI's own, completed by the views' schemas, sign-in, roles, and the
problems that every route may answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.auth.access import ACCESS
from api.edge import openapi_links, problems
from api.edge.problems import MEDIA_TYPE, Problem, ProblemDetails
from api.edge.views import View

SCHEME: Final = "bearer"
REF: Final = "#/components/schemas/{name}"
PROBLEM: Final = "ProblemDetails"
GENERATED: Final = ("HTTPValidationError", "ValidationError")
DESCRIPTION: Final = (
    "Payments over the New Payments Platform: look at them, act on them with approvals, prove "
    "their history. Refusals are problem details (RFC 9457) with `code`, `rule` and `sentence`. "
    "Times are ISO 8601 in UTC with milliseconds, amounts integer cents, "
    "with `amountText` (`AUD 12.50`) beside them for people. Lists are `{items, next}`;"
    " `next` is given back as `cursor`."
)
COMMON: Final[dict[str, str]] = {
    "400": "VALIDATION_FAILED, naming the field",
    "401": "Not signed in",
    "403": "POLICY_REJECTED: the role, the policy or the state does not allow it",
    "429": "Too many requests; `Retry-After` says when to try again",
    "500": "A defect",
    "503": "Stopped, or a dependency does not answer; a repeat is safe",
}
WITH_BODY: Final[dict[str, str]] = {
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "409": "INVARIANT_VIOLATION",
}
# Code, rule and sentence of an example for each status.
EXAMPLES: Final[dict[str, tuple[str, str, str]]] = {
    "400": ("VALIDATION_FAILED", "FIELD_MISSING", "reason is missing."),
    "401": ("NOT_SIGNED_IN", "TOKEN_MISSING", "Sign in: a bearer token is required."),
    "403": ("POLICY_REJECTED", "MISSING_ROLE", "The action needs the role senior_operator."),
    "404": ("PAYMENT_NOT_FOUND", "PAYMENT_NOT_FOUND", "There is no payment with this id."),
    "408": problems.EDGE[408],
    "409": ("INVARIANT_VIOLATION", "RETRY_UNSAFE", "A retry after FRAUD is not safe."),
    "413": problems.EDGE[413],
    "429": ("RATE_LIMITED", "TOO_MANY_REQUESTS", "Too many requests: wait 1 s."),
    "500": ("INTERNAL", "DEFECT", "An internal error occurred."),
    "503": ("STOPPED", "PROCESSING_STOPPED", "Processing is stopped."),
}


def install(app: FastAPI, view_modules: Sequence[ModuleType]) -> None:
    """The application's document, built on first use, with the views of these modules."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app, view_modules)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def build(app: FastAPI, view_modules: Sequence[ModuleType]) -> dict[str, Any]:
    """The document as JSON values."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary="Operators' interface of the NPP Orchestrator",
        description=DESCRIPTION,
        routes=app.routes,
    )
    schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
    for name in GENERATED:
        schemas.pop(name, None)
    schemas.update(view_schemas(view_modules))
    schemas[PROBLEM] = ProblemDetails.model_json_schema()
    found["components"]["securitySchemes"] = {
        SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(found["paths"][route.path_format][method.lower()], route, method)
    operations = [each for methods in found["paths"].values() for each in methods.values()]
    openapi_links.add({each["operationId"]: each for each in operations})
    return found


def view_schemas(modules: Sequence[ModuleType]) -> dict[str, Any]:
    """Schemas of the views that these modules declare, by name."""
    views = sorted(
        (view for module in modules for view in views_of(module)), key=lambda view: view.__name__
    )
    _, components = msgspec.json.schema_components(views, ref_template=REF)
    return dict(components)


def views_of(module: ModuleType) -> list[type[View]]:
    """The views that a module declares itself, without imported ones."""
    return [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, View)
        and each is not View
        and each.__module__ == module.__name__
    ]


def _complete(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """Security, roles and the problems that every route may answer."""
    roles = sorted(ACCESS[method, route.path_format])
    operation["security"] = [{SCHEME: []}]
    operation["x-roles"] = roles
    text = operation.get("description", "").rstrip()
    operation["description"] = f"{text}\n\nRoles: {', '.join(roles)}.".lstrip()
    responses = operation["responses"]
    responses.pop("422", None)
    wanted = dict(COMMON)
    if "{" in route.path_format or method == "POST":
        wanted["404"] = "PAYMENT_NOT_FOUND, or nothing under this id"
    if method == "POST":
        wanted.update(WITH_BODY)
    for status, description in wanted.items():
        responses.setdefault(status, {"description": description, "content": _problem(status)})
    responses["401"]["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    responses["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}


def _problem(status: str) -> dict[str, Any]:
    example = problems.body_of(Problem(int(status), *EXAMPLES[status]))
    return {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}, "example": example}}
