"""Query parameters for pages and times, and the responses of routes that use them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.edge.bodies import NO_NUL
from api.edge.paths import PLAIN
from api.edge.problems import invalid
from api.edge.views import JSON, encode
from engine.clock import MS_PER_S
from readmodel.ports import Page

LIMIT: Final = 50
LIMIT_MAX: Final = 200
CURSOR_CHARACTERS_MAX: Final = 1_000
WORD_CHARACTERS_MAX: Final = 256
TIME: Final = (
    r"^([0-9]{1,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2}))$"
)
TIME_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999
T = TypeVar("T")
Row = TypeVar("Row")
Item = TypeVar("Item")

Limit = Annotated[
    int, Query(ge=1, le=LIMIT_MAX, description="Maximum number of items per page."), PLAIN
]
Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_CHARACTERS_MAX, pattern=NO_NUL, description="`next` of the previous page."
    ),
]
Word = Annotated[str | None, Query(min_length=1, max_length=WORD_CHARACTERS_MAX, pattern=NO_NUL)]
_TIME: Final = "ISO 8601 with its zone, or epoch milliseconds"
From = Annotated[
    str | None,
    Query(alias="from", pattern=TIME, description=f"At or after; {_TIME}."),
]
To = Annotated[
    str | None,
    Query(alias="to", pattern=TIME, description=f"Before; {_TIME}."),
]


def time_of(text: str | None, name: str) -> int | None:
    """The time as epoch milliseconds; None for None. Raises Problem naming the parameter."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        at = int(text)
    else:
        try:
            stamp = datetime.fromisoformat(text)
            if stamp.tzinfo is None:
                raise ValueError("a time without its zone")
            at = int(stamp.astimezone(UTC).timestamp() * MS_PER_S)
        except (ValueError, OverflowError):
            raise invalid(name, f"is no time: {_TIME}") from None
    if not 0 <= at <= TIME_MS_MAX:
        raise invalid(name, f"is no time: {_TIME}")
    return at


def page(ask: Callable[[], Page[Row]]) -> Page[Row]:
    """A page of a list. Raises Problem for a cursor that is not of this list."""
    try:
        return ask()
    except ValueError:
        raise invalid("cursor", "was not issued for this list") from None


def json_answer(view: Any, status: int = 200) -> Response:
    """A view as a response."""
    return Response(encode(view), status_code=status, media_type=JSON)


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a worker thread."""
    return await run_in_threadpool(work)


async def list_answer(
    view: Callable[[list[Item], str | None], Any],
    item: Callable[[Row], Item],
    ask: Callable[[], Page[Row]],
) -> Response:
    """The page that `ask` reads as a response: each row made an item of the list `view`."""
    found = await in_thread(lambda: page(ask))
    return json_answer(view([item(row) for row in found.items], found.next))


def gives(view: type, *, status: int = 200, also: dict[int, type] | None = None) -> dict[str, Any]:
    """Keyword arguments of a route with these views as response bodies, by status;
    `api.edge.openapi` adds their schemas.
    """
    answers = {status: view, **(also or {})}
    return {
        "response_model": None,
        "responses": {
            code: {
                "description": " ".join((each.__doc__ or each.__name__).split()),
                "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{each.__name__}"}}},
            }
            for code, each in answers.items()
        },
    }
