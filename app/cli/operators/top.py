"""`npp top`: the dashboard in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec
import typer
from rich.live import Live

from app.cli.api_client import Api, Call, Refused
from app.cli.api_options import Json, open_api
from app.cli.output import console, print_json
from app.exits import ExitCode, Problem
from engine.clock import Clock, SystemClock

if TYPE_CHECKING:
    from app.cli.operators.picture import Shown

T = TypeVar("T")
EVERY_S: Final = 1.0
LISTED: Final = "8"
AGAIN: Final = (ExitCode.UNREACHABLE, ExitCode.UNKNOWN)  # temporary errors
BUSY: Final = 429


def top(
    once: Annotated[
        bool, typer.Option("--once", help="Print once and exit; the default without a terminal.")
    ] = False,
    json: Json = False,
) -> None:
    """The dashboard in a terminal: states, rates, incidents, rail, proof, who must act.

    Refreshed every second until Ctrl-C. If the API does not answer it says so, and how old the data
    is. With --once or --json: exit 0 if the data is current, 1 if it is old or its age is unknown,
    3 if the API does not answer.
    """
    clock = SystemClock()
    with open_api() as api:
        if not (once or json) and sys.stdout.isatty():
            _follow(api, clock)
            return
        shown = _look(api, clock)
    if json:
        print_json(shown.document(clock.now_ms()))
    else:
        console().print(_draw(shown, clock, api.url))
    if not shown.is_current():
        raise typer.Exit(int(ExitCode.FAILED))


def _follow(api: Api, clock: Clock) -> None:
    """Refresh until Ctrl-C. Raises Problem if the first request fails or a later one is refused."""
    shown, lost = _look(api, clock), ""
    picture = _draw(shown, clock, api.url)
    with Live(picture, console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_draw(shown, clock, api.url, lost), refresh=True)
            clock.sleep(EVERY_S)
            try:
                shown, lost = _look(api, clock), ""
            except Problem as problem:
                if not passes(problem):
                    raise
                lost = problem.what


def passes(problem: Problem) -> bool:
    """Whether a repeat may succeed."""
    return problem.code in AGAIN or (isinstance(problem, Refused) and problem.status == BUSY)


def _look(api: Api, clock: Clock) -> Shown:
    """Raises Problem."""
    from api.control.routes import ControlView
    from api.summary.figures import SummaryView
    from app.cli.operators.picture import Shown

    summary = _ask(api, "/api/summary")
    made_at_ms = clock.now_ms()
    try:
        control = _typed(_ask(api, "/api/control"), ControlView)
    except Refused as refused:
        if refused.status != 503:  # the control topic cannot be read: a picture has to say so
            raise
        control = None
    return Shown(
        summary=_typed(summary, SummaryView),
        control=control,
        attention=_ask(api, "/api/attention", limit=LISTED)["items"],
        approvals=_ask(api, "/api/approvals", status="REFERRED", limit=LISTED)["items"],
        made_at_ms=made_at_ms,
    )


def _typed(found: Any, view: type[T]) -> T:
    """The answer as this release knows it. Raises Problem."""
    try:
        return msgspec.convert(found, view)
    except msgspec.ValidationError as error:
        raise Problem(
            f"The API's answer cannot be shown: {error}",
            means="It is not an API of this release, or something in between alters its responses.",
            do="`npp doctor` compares; NPP_API_URL names the API.",
        ) from error


def _ask(api: Api, path: str, **query: str) -> Any:
    return api.ask(Call("GET", path, tuple(query.items()))).body


def _draw(shown: Shown, clock: Clock, url: str, lost: str = "") -> Any:
    from app.cli.operators.picture import drawn

    return drawn(shown, now_ms=clock.now_ms(), url=url, lost=lost)
