"""An attacker who holds an operator's token: their text appears in other people's terminals.

The API's responses are generated from its own OpenAPI document, with hostile text wherever text is
possible. Every command of `npp` is in one of the two tables below.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import api_client, npp
from app.cli.api_client import Api, Call, Reply
from app.exits import ExitCode, Problem
from tests.api.harness import ApiHarness

pytestmark = pytest.mark.slow

HOSTILE = "[/b]x\x1b[2J\x1b[1;1HVERIFIED\x1b[8m [conceal]\r\u202e\x9b31m\u2028[link=x]"
ACTIVE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
PAYMENT = "pi_" + "a" * 26
WHY = ("--reason", "why")
DEPTH_MAX = 12

# Commands that print API responses, with arguments that make them call the API.
ASKING: dict[str, tuple[str, ...]] = {
    "audit": (),
    "payment show": (PAYMENT,),
    "payment list": (),
    "payment search": ("Ada",),
    "payment events": (PAYMENT,),
    "payment outcomes": (PAYMENT,),
    "payment attention": (),
    "payment create": ("--key", "k", "--amount", "1.00"),
    "payment retry": (PAYMENT, *WHY, "--attempt", "2"),
    "payment cancel": (PAYMENT, *WHY),
    "payment mark-failed": (PAYMENT, "--reason", "RAIL", "--details", "d"),
    "payment expire": (PAYMENT, *WHY),
    "payment release": (PAYMENT, *WHY, "--attempt", "1"),
    "payment reverse": (PAYMENT, *WHY, "--attempt", "1"),
    "payment debit": (PAYMENT, *WHY, "--attempt", "1"),
    "payment repeat-funds": (PAYMENT, *WHY, "--attempt", "1", "--operation", "HOLD"),
    "approval list": (),
    "approval request": (PAYMENT, "--action", "CANCEL", *WHY),
    "approval approve": (PAYMENT, "apr_001", *WHY),
    "approval reject": (PAYMENT, "apr_001", *WHY),
    "conflict list": (),
    "conflict show": (PAYMENT,),
    "conflict resolve": (PAYMENT, HOSTILE, "--verdict", "PAID", "--details", "d"),
    "quarantine list": (),
    "quarantine show": ("0", "0"),
    "quarantine preview": ("--offset", "0"),
    "quarantine redrives": (),
    "evidence pack": (PAYMENT, "--format", "pdf"),
    "evidence packs": (PAYMENT, "--reference", "r"),
    "evidence verify": (PAYMENT,),
    "incident summary": (),
    "control show": (),
}
# Commands that print no API response, and why.
OTHERS: dict[str, str] = {
    **dict.fromkeys(("demo", "broker start"), "shows what this machine runs"),
    **dict.fromkeys(("trial up", "trial status", "trial down", "trial hold"),
                    "shows what this machine runs"),
    **dict.fromkeys(("doctor", "schemas register", "schemas check"), "asks Kafka and the registry"),
    **dict.fromkeys(("topics plan", "topics drift", "topics apply"), "asks Kafka"),
    **dict.fromkeys(("topics acls", "topics quotas", "config", "token"), "shows our own files"),
    **dict.fromkeys(("keys new", "keys show", "evidence limit-key"), "shows a file of one's own"),
    **dict.fromkeys(("control operators", "control rules"), "signs; app.cli.output shows it"),
    **dict.fromkeys(("control stop", "control resume", "control recover", "control confirm",
                     "control ruling", "quarantine redrive", "payment resume"),
                    "signs; app.cli.output shows it"),
    **dict.fromkeys(("payment tail", "payment event-store", "payment publish", "replay verify",
                     "replay rebuild"), "reads Kafka; app.cli.output shows it"),
    **dict.fromkeys(("run payments", "run adapters", "run verifier", "run projector",
                     "run monitor", "run replay", "run api"), "logs; structlog's JSON escapes"),
    "top": "takes answers by their types, and shows their texts inert",
    "payment watch": "follows forever; one line of it is app.cli.output's",
    "evidence keys": "writes the API's bytes as they are, for a program",
}  # fmt: skip


def leaves(command: Any, name: str = "") -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield name
        return
    for word, inner in command.commands.items():
        yield from leaves(inner, f"{name} {word}".strip())


def test_every_command_is_in_one_of_the_tables() -> None:
    assert sorted(leaves(npp.parser())) == sorted([*ASKING, *OTHERS])


class HostileApi:
    """Answers by the OpenAPI document of the real API."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self._routes = [
            (method.upper(), re.compile(re.sub(r"\{[^}]+\}", ".+", path)), operation)
            for path, item in sorted(document["paths"].items(), key=lambda each: -len(each[0]))
            for method, operation in item.items()
        ]
        self.requested = 0

    def send(self, call: Call) -> Reply:
        self.requested += 1
        for method, path, operation in self._routes:
            if method == call.method and path.fullmatch(call.path.partition("?")[0]):
                content = operation["responses"]["200"].get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                return Reply(200, self._made(schema, 0), b"%PDF", {})
        raise AssertionError(f"no such route: {call}")

    def _made(self, schema: dict[str, Any], depth: int) -> Any:
        if "$ref" in schema:
            return self._made(self._schemas[schema["$ref"].rpartition("/")[2]], depth)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                kinds = [each for each in schema[several] if each.get("type") != "null"]
                return self._made(kinds[0], depth) if kinds else None
        match schema.get("type"):
            case "object" if "properties" in schema:
                return {
                    name: "/api/keys"
                    if name == "download"
                    else self._made(each, depth + 1)
                    if depth < DEPTH_MAX
                    else None
                    for name, each in schema["properties"].items()
                }
            case "object":
                return {HOSTILE: HOSTILE}
            case "array":
                return [self._made(schema.get("items", {}), depth + 1)]
            case "integer" | "number":
                return 1
            case "boolean":
                return True
            case _:
                return HOSTILE


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    harness = ApiHarness(tmp_path_factory.mktemp("api"))
    found: dict[str, Any] = harness.app.openapi()
    harness.close()
    return found


@pytest.fixture
def api(document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostileApi:
    made = HostileApi(document)
    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_API_TOKEN", "t")
    monkeypatch.setattr(Api, "send", lambda _self, call: made.send(call))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize("form", ["people", "json"])
def test_hostile_text_is_inert_in_every_commands_output(
    api: HostileApi, command: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09: no cursor moves, nothing is hidden, no markup is interpreted, and no
    command crashes.
    """
    npp.run_cli([*command.split(), *ASKING[command], *(["--json"] if form == "json" else [])])
    output = capsys.readouterr()
    shown = output.out + output.err
    assert api.requested, shown
    assert not ACTIVE.findall(shown), command
    if form == "people" and "evidence pack" not in command:
        assert "VERIFIED" in shown, shown


def test_a_refusals_sentence_is_inert_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09."""

    def refuse(_self: Api, _call: Call) -> Reply:
        raise Problem(HOSTILE, means=HOSTILE, do=HOSTILE)

    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_API_TOKEN", "t")
    monkeypatch.setattr(api_client.Api, "send", refuse)
    for words in (["payment", "list"], ["payment", HOSTILE], ["audit", f"--{HOSTILE}"]):
        npp.run_cli(words)
        output = capsys.readouterr()
        assert "VERIFIED" in output.out + output.err
        assert not ACTIVE.findall(output.out + output.err), words


@pytest.mark.parametrize("code", [ExitCode.FAILED, ExitCode.UNREACHABLE])
def test_a_refusing_or_unavailable_api_is_no_verdict_on_a_pack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: ExitCode
) -> None:
    """EP-11: 3 would say VERIFIED THROUGH, and 1 BROKEN."""

    def away(_self: Api, _call: Call) -> Reply:
        raise Problem("no answer", code=code)

    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_API_TOKEN", "t")
    monkeypatch.setattr(Api, "send", away)
    (tmp_path / "pack.json").write_text("{}")
    assert npp.run_cli(["evidence", "verify", PAYMENT]) == ExitCode.USAGE
    assert npp.run_cli(["evidence", "verify", str(tmp_path / "pack.json")]) == ExitCode.USAGE


def test_the_text_of_a_defect_is_inert_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-09: and it contains no password from a URL."""

    def fail(_self: Api, _call: Call) -> Reply:
        raise ValueError(f"{HOSTILE} https://u:SESAME@host")

    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_API_TOKEN", "t")
    monkeypatch.setattr(api_client.Api, "send", fail)
    monkeypatch.setattr(sys, "argv", ["npp", "payment", "list"])
    with pytest.raises(SystemExit) as ended:
        npp.main()
    output = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Traceback" in output
    assert not ACTIVE.findall(output)
    assert "SESAME" not in output
