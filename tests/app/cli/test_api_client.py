"""The command line's API client: refusals as text, late outcomes followed, curl lines."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.cli.api_client import Api, Call, Refused, curl_of
from app.exits import ExitCode, Problem

pytestmark = pytest.mark.slow

LATE = {"commandId": "cmd-1", "notAfter": "2100-01-01T00:00:00.000Z", "outcome": "/api/outcomes/1"}


class FakeApi(ThreadingHTTPServer):
    """Answers by path, each time with the next response, and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Clerk)
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.requested: list[tuple[str, str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Clerk(BaseHTTPRequestHandler):
    server: FakeApi

    def do_GET(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        token = self.headers.get("authorization", "")
        self.server.requested.append((self.command, self.path, token, self.rfile.read(size)))
        answers = self.server.answers[self.path]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 the name that the server looks for

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def fake_api() -> Iterator[FakeApi]:
    made = FakeApi()
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_the_token_goes_with_the_call(fake_api: FakeApi) -> None:
    fake_api.answers["/x?limit=5"] = [(200, {"items": []})]
    with Api(fake_api.url, "t0k") as api:
        assert api.ask(Call("GET", "/x", (("limit", "5"),))).body == {"items": []}
    assert fake_api.requested == [("GET", "/x?limit=5", "Bearer t0k", b"")]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.USAGE),
        (401, ExitCode.USAGE),
        (403, ExitCode.FAILED),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.FAILED),
        (503, ExitCode.UNREACHABLE),
    ],
)
def test_a_refusal_becomes_a_sentence_and_an_exit_code(
    fake_api: FakeApi, status: int, code: ExitCode
) -> None:
    said = {
        "code": "C",
        "rule": "R",
        "sentence": "It is so.",
        "expected": "SENT",
        "actual": "FAILED",
    }
    fake_api.answers["/x"] = [(status, said)]
    with Api(fake_api.url, "t") as api, pytest.raises(Refused) as refusal:
        api.ask(Call("POST", "/x", body={}))
    assert refusal.value.what == "C R: It is so."
    assert refusal.value.means == "expected SENT, actual FAILED"
    assert refusal.value.code == code


def test_a_late_outcome_is_followed_at_the_given_url(fake_api: FakeApi) -> None:
    fake_api.answers["/x"] = [(202, LATE)]
    fake_api.answers["/api/outcomes/1"] = [(202, LATE), (200, {"result": "ACCEPTED"})]
    reported: list[str] = []
    with Api(fake_api.url, "t") as api:
        assert (
            api.command(Call("POST", "/x", body={}), reported.append).body["result"] == "ACCEPTED"
        )
    assert [path for _, path, _, _ in fake_api.requested] == [
        "/x",
        "/api/outcomes/1",
        "/api/outcomes/1",
    ]
    assert len(reported) == 2


def test_an_outcome_is_given_up_after_its_not_after(fake_api: FakeApi) -> None:
    fake_api.answers["/x"] = [(202, LATE | {"notAfter": "2020-01-01T00:00:00.000Z"})]
    with Api(fake_api.url, "t") as api, pytest.raises(Problem) as unknown:
        api.command(Call("POST", "/x", body={}), lambda _: None)
    assert unknown.value.code == ExitCode.UNKNOWN


def test_an_api_that_does_not_listen_is_unreachable() -> None:
    with Api("http://127.0.0.1:1", "t") as api, pytest.raises(Problem) as down:
        api.ask(Call("GET", "/x"))
    assert down.value.code == ExitCode.UNREACHABLE
    with pytest.raises(Problem) as unnamed:
        Api("", "")
    assert "NPP_API_URL" in unnamed.value.what


@pytest.mark.parametrize("text", ["plain", "it's", '"$(reboot)"', "`x`; y", "a\nb", "ä 💶"])
def test_the_curl_line_keeps_any_text_unchanged(text: str) -> None:
    """Parsed by a shell, the body is the same; the token's value is not in the line."""
    line = curl_of("http://h:1", Call("POST", "/x", body={"reason": text}))
    words = shlex.split(line)
    assert json.loads(words[words.index("-d") + 1]) == {"reason": text}
    assert "Authorization: Bearer $NPP_API_TOKEN" in words
    assert words[:5] == ["curl", "-sS", "-X", "POST", "http://h:1/x"]
