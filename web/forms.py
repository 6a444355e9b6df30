"""Reads posted forms: small, urlencoded, each field once, and only from our own pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from api.edge.problems import Problem
from web.sessions import Session, same_word

FIELDS_MAX: Final = 20
CSRF: Final = "csrf"
URLENCODED: Final = "application/x-www-form-urlencoded"
OWN_SITE: Final = frozenset({"same-origin", "none"})


async def read(request: Request) -> dict[str, str]:
    """The fields of a form. Raises Problem for a malformed form and for one of another origin."""
    check_origin(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != URLENCODED:
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "FORM_ONLY", "Only forms are accepted here.")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise _malformed() from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _malformed()
    return {name: value.replace("\r\n", "\n").strip() for name, value in fields.items()}


def check_origin(request: Request) -> None:
    """Raises Problem (403) for a POST from a page of another origin."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in OWN_SITE:
        raise _foreign()
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise _foreign()


def check_word(session: Session, fields: Mapping[str, str]) -> None:
    """Raises Problem (403) unless the form was made for this session."""
    if not same_word(session, fields.get(CSRF, "")):
        raise Problem(
            403,
            "POLICY_REJECTED",
            "FORM_OF_ANOTHER_SESSION",
            "This form does not belong to your session. Nothing was done. Load the page again.",
        )


def _foreign() -> Problem:
    return Problem(
        403,
        "POLICY_REJECTED",
        "FOREIGN_FORM",
        "This form was sent from another site. Nothing was done.",
    )


def _malformed() -> Problem:
    return Problem(400, "VALIDATION_FAILED", "FORM_INVALID", "The form cannot be read.")
