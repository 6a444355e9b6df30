"""Calls the API for a page: the API's own application, in-process, with the user's own token.

So every rule of the API applies to pages: roles, limits, audit, masking, refusals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import orjson
from starlette.requests import Request
from starlette.types import ASGIApp

from api.edge.problems import body_of, not_found

BASE: Final = "http://api"
PASSED_ON: Final = ("host", "x-request-id", "traceparent")


class Refused(Exception):
    """The API refused: its problem details."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("rule", status))
        self.status = status
        self.problem = problem

    @property
    def sentence(self) -> str:
        return str(self.problem.get("sentence") or "The API refused this.")


class Reply(msgspec.Struct, frozen=True):
    """A response of the API."""

    status: int
    headers: httpx.Headers
    content: bytes

    def json(self) -> Any:
        return orjson.loads(self.content)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without None and empty texts."""
    return {name: value for name, value in values.items() if value not in (None, "")}


class ApiClient:
    """The API on behalf of the user of one request."""

    def __init__(self, api: ASGIApp, request: Request, token: str) -> None:
        client = request.client
        address = (client.host, client.port) if client is not None else ("127.0.0.1", 0)
        self._transport = httpx.ASGITransport(app=api, client=address)
        self._headers = {
            name: request.headers[name] for name in PASSED_ON if name in request.headers
        }
        self._headers["authorization"] = f"Bearer {token}"

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON at this address; a name ending in _ is a reserved word. Raises Refused."""
        return (await self.call("GET", path, query=query)).json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of the answer to this POST. Raises Refused."""
        return (await self.call("POST", path, body=body)).json()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The API's response. Raises Refused: 404 for a path with an empty, `.` or `..` segment."""
        if any(part in ("", ".", "..") for part in path.split("/")[1:]):
            raise Refused(
                404, body_of(not_found("NO_SUCH_RESOURCE", "There is nothing at this address."))
            )
        requested = {k.rstrip("_"): v for k, v in given(query or {}).items()}
        headers = dict(self._headers)
        content = b""
        if body is not None:
            content = orjson.dumps(given(body))
            headers["content-type"] = "application/json"
        request = httpx.Request(
            method, BASE + quote(path), params=requested or None, content=content, headers=headers
        )
        response = await self._transport.handle_async_request(request)
        reply = Reply(response.status_code, response.headers, await response.aread())
        if reply.status >= 400:
            raise Refused(reply.status, _problem(reply))
        return reply


def _problem(reply: Reply) -> Mapping[str, Any]:
    try:
        found = reply.json()
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
