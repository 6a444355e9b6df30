"""docs/operators.md is true: every line of it is run in order, and every answer is as it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest

from core.values import external_ref, payment_intent_id
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, WAIT_SECONDS, Harness, rejects
from tests.rooms import ROOT

pytestmark = pytest.mark.broker

PAGE = ROOT / "docs" / "operators.md"
PART = re.compile(
    r"<!-- (?P<order>situation|wait|keep): (?P<what>\S+) -->"
    r"|```sh\n(?P<sh>.*?)```"
    r"|```(?P<kind>json|text) (?P<status>\d{3})\n(?P<answer>.*?)```",
    re.S,
)
ELLIPSIS = "…"
CURL_SECONDS_MAX = 60
CONTROL_SECONDS = 4  # the API reads the control topic each second
CALLS_MIN = 60
ENQUIRIES_SECONDS = 150.0  # seven of them by the demo's rules, on a loaded machine
BLOCKED = {"kind": "REFUSE", "code": "ACCOUNT_BLOCKED"}


def alike(shown: Any, real: Any) -> bool:
    """Whether a shortened value of the page fits the real one: … stands for anything."""
    if shown == ELLIPSIS:
        return True
    if isinstance(shown, dict):
        return isinstance(real, dict) and all(
            name == ELLIPSIS or (name in real and alike(value, real[name]))
            for name, value in shown.items()
        )
    if isinstance(shown, list):
        if not isinstance(real, list):
            return False
        more = bool(shown) and shown[-1] == ELLIPSIS
        wanted = shown[:-1] if more else shown
        return (len(real) >= len(wanted) if more else len(real) == len(wanted)) and all(
            alike(one, other) for one, other in zip(wanted, real, strict=False)
        )
    if isinstance(shown, str) and ELLIPSIS in shown:
        pattern = ".*".join(re.escape(part) for part in shown.split(ELLIPSIS))
        return isinstance(real, str) and re.fullmatch(pattern, real, re.S) is not None
    return type(shown) is type(real) and bool(shown == real)


@pytest.mark.parametrize(
    ("shown", "real", "fits"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": True}, {"a": 1}, False),
        ("pi_…", "pi_abc", True),
        ("pi_…", "xx_abc", False),
        (["…"], [], True),
        ([{"a": 1}], [{"a": 1}, {"a": 2}], False),
        (None, "", False),
    ],
)
def test_the_comparison_itself_can_fail(shown: Any, real: Any, fits: bool) -> None:
    assert alike(shown, real) is fits


class Reader:
    """Somebody who pastes the page line by line."""

    def __init__(self, harness: Harness, folder: Path) -> None:
        self.harness, self.folder = harness, folder
        tokens = {role.upper(): token for role, token in harness.stage.tokens().items()}
        second = harness.stage.token("demo-admin-2", "admin")
        self.silent = ""
        self.variables = {**tokens, "SECOND_ADMIN": second, "NPP_API_URL": harness.url}
        self.last: Any = None
        self.calls = 0

    def read(self, page: str) -> None:
        command = ""
        self.silent = self.marked_failed_for_ever()
        for part in PART.finditer(page):
            if part["order"]:
                getattr(self, part["order"])(part["what"])
            elif part["sh"]:
                command = part["sh"].strip()
                if command.startswith("npp "):
                    self.type_in(command)
            elif part["kind"] == "text":
                assert self.run(command)[0] == int(part["status"]), command
                assert (self.folder / part["answer"].strip()).stat().st_size > 0
            else:
                self.expect(command, int(part["status"]), json.loads(part["answer"]))

    def type_in(self, lines: str) -> None:
        """Lines of `npp`, each of which must end well."""
        for line in lines.splitlines():
            _, *words = shlex.split(Template(line).substitute(self.variables))
            self.harness.npp(*words)
            self.calls += 1
            if words[0] == "replay":
                time.sleep(CONTROL_SECONDS)

    def expect(self, command: str, status: int, shown: Any) -> None:
        """A POST is as the page says at once; a GET within some seconds."""
        until = time.monotonic() + (0 if "-X POST" in command else WAIT_SECONDS)
        while True:
            found, text = self.run(command)
            real = json.loads(text)
            if isinstance(real, dict):
                real = self.harness.projected(self.variables["OPERATOR"], real)
            if found == status and alike(shown, real):
                self.last = real
                return
            assert time.monotonic() < until, f"{command}\n{found} {text}\nthe page says {shown}"
            time.sleep(0.1)

    def run(self, command: str) -> tuple[int, str]:
        """Status and body of a curl line, run by a shell."""
        assert command.startswith("curl ")
        self.calls += 1
        done = subprocess.run(
            ["bash", "-euc", command.replace("curl ", "curl -w '\\n%{http_code}' ", 1)],
            env={**os.environ, **self.variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=CURL_SECONDS_MAX,
            check=True,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    # -- what the page's hidden words ask for -----------------------------------------------------

    def situation(self, name: str) -> None:
        if name == "silent":
            self.variables["payment"] = self.silent
            self.harness.until(self.silent, openConflicts=1, seconds=ENQUIRIES_SECONDS)
            return
        key = self.harness.key()
        payment = payment_intent_id("api-client", key)
        steps = {"failed": [rejects("AB05")], "late": [ACCEPT, rejects("AB08", 300)]}
        steps |= {"contradicted": [rejects("AB08")], "twice": [rejects("AB05")]}
        happy_path = name in ("settled", "key", "refused")
        self.harness.script(external_ref(payment, 2), [ACCEPT, SETTLE])
        if name == "refused":
            self.harness.script(f"{external_ref(payment, 1)}C01", [BLOCKED], "deposits")
        self.harness.create([ACCEPT, SETTLE] if happy_path else steps.get(name, SILENT), key=key)
        ended = {"state": "FAILED", "funds": "RELEASED"}
        wanted: dict[str, dict[str, Any]] = {
            "settled": {"state": "SETTLED", "funds": "CAPTURED"},
            "refused": {"state": "SETTLED", "funds": "CAPTURE_FAILED"},
            "key": {"state": "SETTLED"},
            **dict.fromkeys(("failed", "late", "contradicted", "twice"), ended),
            "sent": {"state": "SENT"},
            "stuck": {"state": "SENT", "needsAttention": True},
        }
        self.harness.until(payment, **wanted[name])
        if name == "twice":
            self.retried(payment)
        if name in ("contradicted", "twice"):
            self.harness.rail_now(payment, SETTLE)
            self.harness.until(payment, openConflicts=1)
        self.variables |= {"payment": payment, "key": key}

    def retried(self, payment: str) -> None:
        self.harness.approved("ops_1", payment, "RETRY")
        self.harness.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "rail"})
        self.harness.until(payment, state="SETTLED", funds="CAPTURED")

    def marked_failed_for_ever(self) -> str:
        """A payment of which the rail never says what became of it: it is asked for as long as the
        rules say while the page is read.
        """
        payment = self.harness.create(SILENT)
        self.harness.until(payment, state="SENT")
        self.harness.approved("snr_1", payment, "MARK_FAILED", failureReason="RAIL")
        body = {"reason": "RAIL", "details": "rail ticket 90"}
        self.harness.done("snr_1", payment, "mark-failed", body)
        return payment

    def wait(self, what: str) -> None:
        """Resolve refers a request to a person within a moment."""
        payment = self.variables["payment"]
        approval = "apr_001" if what == "referred" else what
        self.harness.soon(lambda: self.harness.status(payment, approval) == "REFERRED")

    def keep(self, what: str) -> None:
        name, _, field = what.partition("=")
        self.variables[name] = str(self.last[field])


def test_every_line_of_the_page_can_be_pasted_and_answers_as_shown(
    harness: Harness, tmp_path: Path
) -> None:
    """DEP-08: the runbook's procedures with this system's real answers."""
    reader = Reader(harness, tmp_path)
    try:
        reader.read(PAGE.read_text(encoding="utf-8"))
    finally:
        resume_all(harness)
    assert reader.calls >= CALLS_MIN


def test_the_runbooks_calls_are_on_the_page_unchanged() -> None:
    """DEP-08: method, path and the fields of the bodies as the runbook prints them."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in re.findall(r"```sh\n(.*?)```", text, re.S) if "curl" in line]
    wanted: list[tuple[str, str, Callable[[dict[str, Any]], bool]]] = [
        ("GET", "/api/payments/$payment", lambda _: True),
        ("GET", "/api/payments/$payment/events", lambda _: True),
        ("GET", "/api/payments?idempotencyKey=", lambda _: True),
        ("POST", "/retry", lambda b: set(b) == {"attemptId", "reason"}),
        ("POST", "/cancel", lambda b: set(b) == {"reason", "operatorId", "customerId"}),
        ("POST", "/mark-failed", lambda b: set(b) == {"reason", "details", "operatorId"}),
        ("POST", "/evidence-pack", lambda b: {"format", "includeReplayProof"} <= set(b)),
        ("GET", "/evidence-pack/download", lambda _: True),
        ("POST", "/evidence-pack/verify", lambda b: b == {}),
    ]
    for method, path, fits in wanted:
        found = [
            line for line in lines if path in line and (method == "POST") == ("-X POST" in line)
        ]
        assert any(fits(body_of(line)) for line in found), (method, path)


def body_of(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    return dict(json.loads(words[words.index("-d") + 1])) if "-d" in words else {}


def resume_all(harness: Harness) -> None:
    """Whatever happened above, nothing stays stopped."""
    for stop in harness.get("/api/control")["stops"]:
        named = ("control", "resume", "--stop", stop["stopId"])
        harness.npp("replay", "verify", "--publish")
        time.sleep(CONTROL_SECONDS)
        harness.npp(*named, "--request", "--reason", "after the page", "--as", "adm_1")
        harness.npp(*named, "--confirm", "--as", "adm_2")
