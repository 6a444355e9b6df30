"""What the simulators share: they refuse production, keep scripts, keep a journal, run on loopback.

Not for production: a simulator moves no money, so it exits with an explanation.
"""

from __future__ import annotations

import argparse
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.strict_json import UnreadableJson, read_json

PRODUCTION: Final = "production"
EXIT_REFUSED: Final = 78  # EX_CONFIG of sysexits.h
BODY_BYTES_MAX: Final = 262_144
SCRIPTS_MAX: Final = 100_000
STEPS_MAX: Final = 50
DELAY_MILLIS_MAX: Final = 3_600_000
SHUTDOWN_SECONDS_MAX: Final = 2
EVERYTHING: Final = "*"


class RefusedInProductionError(RuntimeError):
    """A simulator was asked to run under the production profile."""


def refuse_production(name: str, profile: str) -> None:
    """Raise RefusedInProductionError if `profile` or NPP_PROFILE is the production profile."""
    if PRODUCTION in (profile.strip().lower(), os.environ.get("NPP_PROFILE", "").strip().lower()):
        raise RefusedInProductionError(
            f"The {name} simulator moves no money and must not run under the production profile "
            f"(NPP_PROFILE=production). Point the adapter at the real {name} instead."
        )


class BadRequestError(ValueError):
    """The caller's body cannot be used; the sentence says why."""


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object, bounded. Raises BadRequestError."""
    size = 0
    chunks: list[bytes] = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise BadRequestError("the body is too large")
        chunks.append(chunk)
    try:
        body = read_json(b"".join(chunks))
    except UnreadableJson as error:
        raise BadRequestError(f"the body cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise BadRequestError("the body is no JSON object")
    return body


class Scripts:
    """Steps by name: a reference, a payment id, or `*` for all. The first match wins.

    Kept by the simulator's process, so adapters may come and go.
    """

    def __init__(self) -> None:
        self._steps: dict[str, list[dict[str, Any]]] = {}

    def put(self, body: Mapping[str, Any]) -> None:
        """{"for": name, "steps": [{"kind": …, "afterMillis": …}]}; empty steps remove a script.
        Raises BadRequestError.
        """
        name, steps = body.get("for"), body.get("steps")
        if not isinstance(name, str) or not isinstance(steps, list) or len(steps) > STEPS_MAX:
            raise BadRequestError("a script has `for` (a reference or *) and `steps` (at most 50)")
        for step in steps:
            if not isinstance(step, dict) or not isinstance(step.get("kind"), str):
                raise BadRequestError("each step is an object with a `kind`")
            after = step.get("afterMillis", 0)
            if type(after) is not int or not 0 <= after <= DELAY_MILLIS_MAX:
                raise BadRequestError("afterMillis is a whole number up to 3600000")
        if len(self._steps) >= SCRIPTS_MAX and name not in self._steps:
            raise BadRequestError("too many scripts")
        if steps:
            self._steps[_normal(name)] = steps
        else:
            self._steps.pop(_normal(name), None)

    def find(self, *names: str | None) -> list[dict[str, Any]] | None:
        """The steps of the first name that has some, then those of `*`, else None."""
        for name in (*names, EVERYTHING):
            if name is not None and (steps := self._steps.get(_normal(name))) is not None:
                return steps
        return None

    def as_json(self) -> dict[str, Any]:
        return dict(self._steps)


def _normal(name: str) -> str:
    return name.lower()


class Simulator(ABC):
    """What every simulator serves besides its own routes: scripts and a liveness check."""

    def __init__(self) -> None:
        self.scripts = Scripts()

    @abstractmethod
    def routes(self) -> list[Route]:
        """Its own."""

    def check(self, step: dict[str, Any]) -> None:
        """Raises BadRequestError for a step that it cannot follow; may add fields to the step."""
        return  # by default every step is accepted

    def app(self, **options: Any) -> Starlette:
        """The HTTP application."""
        shared = [
            Route("/scripts", self._put_script, methods=["POST"]),
            Route("/livez", _livez, methods=["GET"]),
        ]
        handlers = {BadRequestError: _bad_request}
        return Starlette(routes=[*self.routes(), *shared], exception_handlers=handlers, **options)

    async def _put_script(self, request: Request) -> Response:
        body = await json_body(request)
        Scripts().put(body)
        for step in body["steps"]:
            self.check(step)
        self.scripts.put(body)
        return JSONResponse({"ok": True})


async def _livez(_: Request) -> Response:
    return JSONResponse({"ok": True})


def _bad_request(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


class Journal:
    """Appends one JSON line per change of an entry, so that a restarted simulator still knows it.

    Without a path nothing is kept. Flushed to the operating system per line: it survives a killed
    process, not a lost machine.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = None if path is None else path.open("ab", buffering=0)

    def load(self) -> dict[str, Any]:
        """The last line of each entry; a torn last line is left out."""
        found: dict[str, Any] = {}
        if self._path is None:
            return found
        for line in self._path.read_bytes().splitlines():
            try:
                entry = read_json(line)
            except UnreadableJson:
                continue
            found[entry["ref"]] = entry["entry"]
        return found

    def append(self, ref: str, entry: Any) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode({"ref": ref, "entry": entry}) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def arguments(name: str) -> argparse.ArgumentParser:
    """The options every simulator has."""
    parser = argparse.ArgumentParser(prog=f"python -m gateways.{name}.simulator")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (loopback)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1, help="of the random behaviour")
    parser.add_argument("--journal", type=Path, default=None, help="file that keeps the ledger")
    parser.add_argument("--profile", default="", help="production is refused")
    parser.add_argument("--behaviour", default="happy_path", choices=["happy_path", "mixed"])
    return parser


def refuse_and_exit(name: str, profile: str) -> None:
    """As `refuse_production`, for a program: print the sentence and end with EXIT_REFUSED."""
    try:
        refuse_production(name, profile)
    except RefusedInProductionError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_REFUSED)


def serve(app: Starlette, *, host: str, port: int) -> None:
    """Run until SIGTERM or SIGINT."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
    )
