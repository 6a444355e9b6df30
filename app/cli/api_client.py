"""The command line's API client: one call, its refusal as text, and the `curl` line for it.

Nothing is repeated automatically: a repeat is the person's decision, and a duplicate by
construction. A 202 is polled until it can no longer take effect.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import httpx
import msgspec
import orjson

from app.exits import ExitCode, Problem, usage
from engine.clock import MS_PER_S, SystemClock

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 60.0  # packs, and outcomes that are waited for
FOLLOW_EVERY_SECONDS: Final = 0.5
FOLLOW_SECONDS_MAX: Final = 90.0  # a command lives a minute, and then its outcome is written
FOLLOW_AFTER_MS: Final = 5_000  # beyond notAfter: COMMAND_EXPIRED is an outcome too

Progress = Callable[[str], None]

EXIT_OF_STATUS: Final = {
    400: ExitCode.USAGE,
    401: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}
ADVICE: Final = {
    401: "NPP_API_TOKEN is missing, invalid or expired; in a demo: `npp token --help`.",
    429: "Wait; the message says how long.",
    503: "`npp control show` shows whether processing is stopped.",
}


class Call(msgspec.Struct, frozen=True):
    """One call as it goes out. `query` values are strings; `body` is JSON, or bytes of it as they
    are, or nothing.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


class Reply(msgspec.Struct, frozen=True):
    """What came back. `body` is the JSON, or None for anything else, whose bytes are `content`."""

    status: int
    body: Any
    content: bytes
    headers: Mapping[str, str]


class Refused(Problem):
    """A problem answer (RFC 9457), as text; `body` is the API's response."""

    def __init__(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, dict) else {}
        name = " ".join(str(body[key]) for key in ("code", "rule") if body.get(key))
        text = body.get("sentence") or body.get("detail") or body.get("title") or ""
        super().__init__(
            f"{name or reply.status}: {text}".rstrip(": "),
            means=_preconditions(body),
            do=ADVICE.get(reply.status, str(body.get("advice") or "")),
            code=EXIT_OF_STATUS.get(reply.status, ExitCode.FAILED),
        )
        self.status = reply.status
        self.body = body

    def document(self) -> dict[str, Any]:
        return self.body or super().document()


class Api:
    """The API at `url`, signed in with `token`. Use as a context manager; threads may share it."""

    def __init__(self, url: str, token: str, *, connections_max: int = 4) -> None:
        if not url:
            raise usage(
                "No API is configured: NPP_API_URL is not set.",
                do="Set it with NPP_API_TOKEN, or name a running demo's folder: --data DIR.",
            )
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=connections_max),
            trust_env=False,
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call) -> Reply:
        """The answer, whatever its status. Raises Problem when there is none."""
        headers = dict(call.headers)
        content = None
        if call.body is not None:
            content = call.body if isinstance(call.body, bytes) else orjson.dumps(call.body)
            headers["Content-Type"] = "application/json"
        try:
            answer = self._http.request(
                call.method, call.path, params=call.query, content=content, headers=headers
            )
        except httpx.TimeoutException as error:
            raise Problem(
                f"{self.url} did not answer {call.method} {call.path} in time.",
                means="The request may still take effect; repeating it gives the first result.",
                code=ExitCode.UNKNOWN,
            ) from error
        except httpx.HTTPError as error:
            raise Problem(
                f"The API does not answer: {error}",
                means=f"NPP_API_URL is {self.url}.",
                do="Is `npp run api` running there? Commands with --kafka work without it.",
                code=ExitCode.UNREACHABLE,
            ) from error
        return Reply(answer.status_code, _json_of(answer), answer.content, answer.headers)

    def ask(self, call: Call) -> Reply:
        """The answer of a call that was taken. Raises Refused for a problem answer."""
        reply = self.send(call)
        if reply.status >= 400:
            raise Refused(reply)
        return reply

    def command(self, call: Call, progress: Progress) -> Reply:
        """As `ask`; an outcome that is not known in time is followed until it cannot happen any
        more. Raises Problem (exit 5) when it stays unknown.
        """
        reply = self.ask(call)
        if reply.status != 202:
            return reply
        place = str(reply.body["outcome"])
        path, _, requested = place.partition("?")
        outcome = Call("GET", path, tuple(parse_qsl(requested)))
        clock = SystemClock()
        end_ms = clock.now_ms() + int(FOLLOW_SECONDS_MAX * MS_PER_S)
        if reply.body.get("notAfter"):
            end_ms = min(end_ms, _epoch_ms(reply.body["notAfter"]) + FOLLOW_AFTER_MS)
        while (left_ms := end_ms - clock.now_ms()) > 0:
            progress(f"no outcome yet; it can still happen for {left_ms / MS_PER_S:.0f} s")
            clock.sleep(FOLLOW_EVERY_SECONDS)
            reply = self.ask(outcome)
            if reply.status != 202:
                return reply
        raise Problem(
            "No outcome of the command is known.",
            means="It is not decided yet, or the read model is behind.",
            do=f"`npp payment outcomes` of the payment, or GET {place}.",
            code=ExitCode.UNKNOWN,
        )


def curl_of(url: str, call: Call) -> str:
    """The line that does the same in a shell; the token stays in $NPP_API_TOKEN, and `url` may be
    a variable too.
    """
    address = url.rstrip("/") + call.path
    if call.query:
        address += "?" + urlencode(call.query)
    words = ["curl", "-sS"]
    if call.method != "GET":
        words += ["-X", call.method]
    quoted = f'"{address}"' if url.startswith("$") else shlex.quote(address)
    parts = [*words, quoted, '-H "Authorization: Bearer $NPP_API_TOKEN"']
    parts += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in call.headers]
    if call.body is not None:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(orjson.dumps(call.body).decode())}")
    return " ".join(parts)


def _epoch_ms(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * MS_PER_S)


def _json_of(answer: httpx.Response) -> Any:
    if "json" not in answer.headers.get("content-type", ""):
        return None
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None


def _preconditions(body: Mapping[str, Any]) -> str:
    """What was expected and found, where the refusal says so."""
    text = [
        f"{word} {body[name]}"
        for name, word in (
            ("expected", "expected"),
            ("actual", "actual"),
            ("firstDifference", "first difference:"),
            ("field", "field"),
        )
        if body.get(name)
    ]
    return ", ".join(text)
