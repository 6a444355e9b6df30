"""Every error response: RFC 9457 problem details with code, rule, sentence.

Business refusals have one of the four codes of `core.refusals`; the others are HTTP-level errors.
No response quotes the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.services import PublishUnconfirmed, Stopped
from core import refusals
from core.decider import Refusal
from readmodel.ports import ReadModelDown

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:npp:rule:"
RETRY_AFTER_S: Final = 5  # stops and outages are rarely shorter

ASK_AGAIN: Final = (
    "Try again after the seconds in Retry-After: the same request has no second effect."
)
WHEN_STOPPED: Final = (
    "Nothing was done. Try again once processing continues; GET /api/control shows whether "
    "operators have stopped it."
)

STATUS: Final[dict[str, int]] = {
    refusals.VALIDATION_FAILED: 400,
    refusals.POLICY_REJECTED: 403,
    refusals.PAYMENT_NOT_FOUND: 404,
    refusals.INVARIANT_VIOLATION: 409,
}
ADVICE: Final = {rule.name: rule.advice for rule in refusals.RULES}
TITLES: Final = {
    400: "The request is not valid",
    401: "Sign-in needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timeout",
    409: "It would violate an invariant",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    429: "Too many requests",
    431: "Header fields too large",
    500: "Internal error",
    503: "Not available now",
}
# Refusals of the HTTP side itself: code, rule, sentence by status.
EDGE: Final[dict[int, tuple[str, str, str]]] = {
    404: ("NOT_FOUND", "NO_SUCH_RESOURCE", "There is nothing at this address."),
    405: ("METHOD_NOT_ALLOWED", "METHOD_NOT_ALLOWED", "This address does not allow that method."),
    408: ("TOO_SLOW", "BODY_TOO_SLOW", "The body did not arrive in time."),
    413: ("TOO_LARGE", "BODY_TOO_LARGE", "The body is larger than this address accepts."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "JSON_ONLY", "The body must be sent as application/json."),
}


class Problem(Exception):
    """A refusal as an HTTP response. `more` adds members to the standard ones. `audited`: the
    refusal is recorded already (as a command's outcome is), so it is not noted in the audit log.
    """

    def __init__(
        self,
        status: int,
        code: str,
        rule: str,
        sentence: str,
        *,
        headers: Mapping[str, str] | None = None,
        audited: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(rule)
        self.status = status
        self.code = code
        self.rule = rule
        self.sentence = sentence
        self.headers = dict(headers or {})
        self.audited = audited
        self.more = more


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457). `sentence` repeats `detail`; `field` names what is wrong."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:npp:rule:STATE_PRECONDITION"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["POLICY_REJECTED"])
    rule: str = Field(examples=["STATE_PRECONDITION"])
    sentence: str
    advice: str | None = None
    requestId: str | None = None  # noqa: N815 the name on the wire
    field: str | None = None


def refused(refusal: Refusal, *, audited: bool = False, **more: Any) -> Problem:
    """A refusal of `core` as a problem."""
    found = {
        "firstDifference": refusal.first_difference,
        "expected": refusal.expected,
        "actual": refusal.actual,
    }
    kept = {name: value for name, value in found.items() if value is not None}
    return Problem(
        STATUS[refusal.code],
        refusal.code,
        refusal.rule,
        refusal.sentence,
        audited=audited,
        **{**kept, **more},
    )


def invalid(field: str, problem: str) -> Problem:
    """VALIDATION_FAILED naming the field; `problem` follows its name in the sentence."""
    rule = refusals.FIELD_INVALID
    return Problem(
        400,
        rule.code,
        rule.name,
        rule.template.format(field=field, problem=problem),
        field=field,
    )


def missing(field: str) -> Problem:
    """VALIDATION_FAILED: the field is missing."""
    rule = refusals.FIELD_MISSING
    return Problem(400, rule.code, rule.name, rule.template.format(field=field), field=field)


def payment_not_found() -> Problem:
    """404 PAYMENT_NOT_FOUND."""
    return refused(refusals.refuse(refusals.NOT_FOUND))


def missing_role(needed: str) -> Problem:
    """403 POLICY_REJECTED, naming the roles of which one is needed."""
    return refused(refusals.refuse(refusals.MISSING_ROLE, needed=needed), neededRoles=needed)


def not_found(rule: str, sentence: str) -> Problem:
    """404 for something that is not a payment."""
    return Problem(404, "NOT_FOUND", rule, sentence)


def unavailable(rule: str, sentence: str) -> Problem:
    """503: repeating the request is safe."""
    return _not_now("UNAVAILABLE", rule, sentence, ASK_AGAIN)


def rate_limited(rule: str, sentence: str, wait_s: int = RETRY_AFTER_S) -> Problem:
    """429: too much at once, of one client or in all; `wait_s` is the advice when to try again."""
    headers = {"Retry-After": str(wait_s)}
    return Problem(429, "RATE_LIMITED", rule, sentence, headers=headers)


def stopped(sentence: str) -> Problem:
    """503 STOPPED: no command is accepted."""
    return _not_now("STOPPED", "PROCESSING_STOPPED", sentence, WHEN_STOPPED)


def _not_now(code: str, rule: str, sentence: str, advice: str) -> Problem:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Problem(503, code, rule, sentence, headers=headers, advice=advice)


def answer(problem: Problem, request_id: str | None = None) -> Response:
    """The HTTP response of a problem."""
    body = body_of(problem)
    if request_id is not None:
        body["requestId"] = request_id
    return Response(
        orjson.dumps(body),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def body_of(problem: Problem) -> dict[str, Any]:
    """The members of a problem, with the advice of its rule where there is one."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.rule,
        "title": TITLES.get(problem.status, "Refused"),
        "status": problem.status,
        "detail": problem.sentence,
        "code": problem.code,
        "rule": problem.rule,
        "sentence": problem.sentence,
    }
    advice = ADVICE.get(problem.rule)
    if advice is not None:
        body["advice"] = advice
    body.update(problem.more)
    return body


def from_validation(errors: list[Any]) -> Problem:
    """The problem that names the first wrong field, never its value."""
    first = errors[0]
    place = [str(part) for part in first["loc"]]
    inside = place[1:] if place and place[0] in _WHERE else place
    field = ".".join(inside) or "body"
    if first["type"] == "missing":
        return missing(field)
    if first["type"] == "extra_forbidden":
        return invalid(field, "is not known here")
    return invalid(field, _problem(first))


_WHERE: Final = {"body", "query", "path", "header", "cookie"}
_WORDS: Final = {
    "string_type": "is not a text",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "bool_type": "is not true or false",
    "bool_parsing": "is not true or false",
    "list_type": "is not a list",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "json_invalid": "is not valid JSON",
    "string_too_short": "is too short",
    "attempt_id": "is not an attempt: use 1 or att_001",
    "string_pattern_mismatch": "does not have the required form",
    "too_short": "has too few elements",
}
_LONGER: Final = {
    "string_too_long": "is longer than {} characters",
    "too_long": "has more than {} elements",
}
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _problem(error: Any) -> str:
    kind = str(error["type"])
    if kind in _WORDS:
        return _WORDS[kind]
    context = error.get("ctx") or {}
    if kind in _LONGER:
        return _LONGER[kind].format(context["max_length"])
    for name, words in _BOUNDS.items():
        if name in context:
            return f"must be {words} {context[name]}"
    if kind in ("literal_error", "enum"):
        return f"must be {context.get('expected', 'one of the known values')}"
    return "is not valid"


def problem_of(error: Exception) -> Problem | None:
    """The problem for one of our exceptions; None for a defect."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return from_validation(list(error.errors()))
    if isinstance(error, Stopped):
        return stopped(str(error) or "Processing is stopped.")
    if isinstance(error, PublishUnconfirmed):
        return unavailable(
            "NOT_CONFIRMED",
            "The log did not confirm the request in time: it may still take effect. A repeat "
            "is safe.",
        )
    if isinstance(error, ReadModelDown):
        return unavailable("READ_MODEL_DOWN", "The read model does not answer; try again later.")
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, Problem):  # found while the body was read
            return error.__cause__
        code, rule, sentence = EDGE.get(
            error.status_code, ("VALIDATION_FAILED", "REQUEST_INVALID", "The request is not valid.")
        )
        return Problem(error.status_code, code, rule, sentence, headers=error.headers)
    return None


def install(app: FastAPI) -> None:
    """Handlers for everything that `problem_of` knows."""

    async def handle(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            raise error
        return answer(problem, request.scope.get("npp.request_id"))

    for kind in (
        Problem,
        RequestValidationError,
        Stopped,
        PublishUnconfirmed,
        ReadModelDown,
        HTTPException,
    ):
        app.add_exception_handler(kind, handle)
