"""A reader who pastes a page's commands, in order, into a running product.

What the page cannot tell its reader is in hidden comments, `<!-- situation: failed -->`: what has
happened to `$payment` before. An example value on the page (`apr_001`, `rdr_1a2b3c4d`, an offset)
stands for the one that the preceding command printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import Any

from confluent_kafka import Producer

from app.cli.npp import parser, run_cli
from core.values import external_ref, payment_intent_id
from schemas import topology
from tests.acceptance.docs.running_demo import RunningDemo
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, WAIT_SECONDS, rejects
from tests.rooms import ROOT

PART = re.compile(
    r"<!-- (?P<order>begin|situation|wait|keep|elsewhere): (?P<what>\S+) -->"
    r"|```(?:sh|bash)\n(?P<sh>.*?)```"
    r"|```(?P<kind>json|text) (?P<status>\d{3})\n(?P<answer>.*?)```",
    re.S,
)
EXIT = re.compile(r"#.*\bexit (\d)")
ELLIPSIS = "…"
CURL_SECONDS_MAX = 60
CONTROL_SECONDS = 4  # the API reads the control topic each second
TAIL_SECONDS = 6.0
TAIL_START_SECONDS_MAX = 120.0  # on a busy machine
TAIL_THREADS = 3  # Python's, and at least two of the Kafka client
ENQUIRIES_SECONDS = 90.0  # five by the demo's rules, on a loaded machine
WANTED: dict[str, dict[str, Any]] = {  # the fields of a payment in a situation
    "settled": {"state": "SETTLED", "funds": "CAPTURED"},
    "refused": {"state": "SETTLED", "funds": "CAPTURE_FAILED"},
    "key": {"state": "SETTLED"},
    "sent": {"state": "SENT"},
    "stuck": {"state": "SENT", "needsAttention": True},
}
STEPS: dict[str, list[dict[str, Any]]] = {  # what the rail does with it
    **{name: [ACCEPT, SETTLE] for name in ("settled", "key", "refused")},
    **{name: [rejects("AB05")] for name in ("failed", "twice", "debited")},
    "contradicted": [rejects("AB08")],
    "late": [ACCEPT, rejects("AB08", 300)],
}
BLOCKED = {"kind": "REFUSE", "code": "ACCOUNT_BLOCKED"}


def alike(shown: Any, real: Any) -> bool:
    """Whether a shortened value on the page matches the real one; … matches anything."""
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


class Reader:
    """Reads a page: every `npp` line must succeed, and every `curl` line must answer as shown."""

    def __init__(self, demo: RunningDemo, folder: Path) -> None:
        self.harness, self.folder = demo, folder
        tokens = {role.upper(): token for role, token in demo.stage.tokens().items()}
        second = demo.stage.token("demo-admin-2", "admin")
        self.silent = ""
        self.variables = {**tokens, "SECOND_ADMIN": second, "NPP_API_URL": demo.url}
        self.printed: dict[str, str] = {}  # approval, request and key ids of earlier output
        self.places: list[tuple[str, str]] = []  # quarantined: partition, offset
        self.last: Any = None
        self.calls = 0
        self.only_parsed = 0

    def read(self, page: str) -> None:
        command, elsewhere = "", False
        for part in PART.finditer(page):
            if part["order"] == "elsewhere":
                assert (ROOT / part["what"]).exists(), part["what"]
                elsewhere = True
            elif part["order"]:
                getattr(self, part["order"])(part["what"])
            elif part["sh"]:
                command = part["sh"].strip()
                if not command.startswith("curl "):
                    self.type_in(command, elsewhere=elsewhere)
                elsewhere = False
            elif part["kind"] == "text":
                assert self.run(command)[0] == int(part["status"]), command
                assert (self.folder / part["answer"].strip()).stat().st_size > 0
            else:
                self.expect(command, int(part["status"]), json.loads(part["answer"]))

    # -- lines of npp -----------------------------------------------------------------------------

    def type_in(self, lines: str, *, elsewhere: bool) -> None:
        """`name=value` is kept and `npp` is run; other programs are skipped."""
        for line in lines.splitlines():
            words = shlex.split(Template(line).safe_substitute(self.variables), comments=True)
            name, equals, value = words[0].partition("=")
            if equals and name.isidentifier():
                self.variables[name] = value
            elif words[0] == "npp" and elsewhere:
                parsed(words[1:])
                self.only_parsed += 1
            elif words[0] == "npp":
                self.calls += 1
                said = EXIT.search(line)
                self.npp(self.filled(words[1:]), int(said[1]) if said else 0)

    def filled(self, words: list[str]) -> list[str]:
        """The page's example values replaced by those printed before."""
        found = [self.printed.get(word.split("_")[0].split("-")[0], word) for word in words]
        places = iter(self.places)
        for at, word in enumerate(words):
            if word == "--offset":
                partition, found[at + 1] = next(places)
                found[found.index("--partition") + 1] = partition
        if words[:2] == ["quarantine", "show"]:
            found[2:4] = self.places[0]
        return found

    def npp(self, words: list[str], wanted: int) -> None:
        """Run it in this process and expect this exit code. A confirmation is repeated until the
        API knows the request, as a user would repeat it.
        """
        if words[:2] == ["payment", "tail"]:
            self.tail(words)
            return
        until = time.monotonic() + CONTROL_SECONDS + 2
        while True:
            code, said = self.run_npp(words)
            if code == wanted or time.monotonic() > until or "--confirm" not in words:
                break
            time.sleep(0.5)
        assert code == wanted, f"npp {shlex.join(words)}: {code}\n{said}"
        for name in re.findall(r"\b(?:apr|rdr|rec)_\w+|ed25519-\w+", said):
            self.printed[name.split("_")[0].split("-")[0]] = name
        if words[:2] == ["quarantine", "list"]:
            _, raw = self.run_npp([*words, *(["--json"] if "--json" not in words else [])])
            items = json.loads(raw)["items"]
            self.places = [(str(each["partition"]), str(each["offset"])) for each in items]
        if words[0] == "replay" and "--publish" in words:
            time.sleep(CONTROL_SECONDS)

    def run_npp(self, words: list[str]) -> tuple[int, str]:
        """Exit code and output."""
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        former = {name: os.environ.pop(name) for name in list(os.environ) if _is_ours(name)}
        os.environ["NPP_DATA_DIR"] = str(self.harness.stage.data)
        passphrase = self.variables.get("NPP_OPERATOR_PASSPHRASE_FILE")
        if passphrase:
            os.environ["NPP_OPERATOR_PASSPHRASE_FILE"] = passphrase
        try:
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                code = run_cli(words)
        finally:
            for name in [name for name in os.environ if _is_ours(name)]:
                del os.environ[name]
            os.environ.update(former)
        out.seek(0)
        return code, out.read() + ("" if "--json" in words else err.getvalue())

    def tail(self, words: list[str]) -> None:
        """Run it until Ctrl-C; with --payment it must have shown a record of that payment."""
        done = subprocess.Popen(
            [sys.executable, "-u", "-m", "app.cli.npp", *words],
            env=os.environ | {"NPP_DATA_DIR": str(self.harness.stage.data)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.stdout is not None
        first = done.stdout.readline() if "--payment" in words else ""
        if not first:
            until_s = time.monotonic() + TAIL_START_SECONDS_MAX
            while (
                len(os.listdir(f"/proc/{done.pid}/task")) < TAIL_THREADS
            ):  # Kafka's client: it reads
                assert time.monotonic() < until_s, f"npp {shlex.join(words)} does not start"
                time.sleep(0.1)
            time.sleep(TAIL_SECONDS)
        done.send_signal(signal.SIGINT)
        rest = done.communicate(timeout=TAIL_START_SECONDS_MAX)[0]
        assert done.returncode == 130, f"npp {shlex.join(words)}: {first}{rest}"
        if "--payment" in words:
            assert self.variables["payment"] in first, first

    # -- lines of curl ----------------------------------------------------------------------------

    def expect(self, command: str, status: int, shown: Any) -> None:
        """A POST answers as shown at once; a GET within some seconds."""
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

    # -- situations in the page's hidden comments --------------------------------------------------

    def begin(self, what: str) -> None:
        """`silent`: whatever takes long starts before the page is read."""
        assert what == "silent"
        self.silent = self.marked_failed_for_ever()

    def situation(self, name: str) -> None:
        made = getattr(self, f"_{name}", None)
        if made is not None:
            made()
            return
        key = self.harness.key()
        payment = payment_intent_id("api-client", key)
        self.harness.script(external_ref(payment, 2), [ACCEPT, SETTLE])
        if name == "refused":
            self.harness.script(f"{external_ref(payment, 1)}C01", [BLOCKED], "deposits")
        self.harness.create(STEPS.get(name, SILENT), key=key)
        self.variables |= {"payment": payment, "key": key}
        self.harness.until(payment, **WANTED.get(name, {"state": "FAILED", "funds": "RELEASED"}))
        if name in ("twice", "debited"):
            self.retried(payment)
        if name in ("contradicted", "twice", "debited"):
            self.harness.rail_now(payment, SETTLE)
            self.harness.until(payment, openConflicts=1)
        if name == "debited":
            self.settled_after_all(payment)

    def _silent(self) -> None:
        self.variables["payment"] = self.silent
        self.harness.until(self.silent, openConflicts=1, seconds=ENQUIRIES_SECONDS)

    def _requested(self) -> None:
        """A retry is requested and referred to a person."""
        self.situation("failed")
        payment = self.variables["payment"]
        self.printed["apr"] = self.harness.requested("ops_1", payment, "RETRY")

    def _unmatched(self) -> None:
        """A callback that matches no payment is in quarantine, and a payment waits for it."""
        self.situation("sent")
        message = {"MsgType": "pacs.002", "MsgId": f"stray-{self.harness.key()}", "TxSts": "ACCP"}
        message["OrgnlInstrId"] = "SOMEBODY-ELSES-REFERENCE"
        port = settings_of(self.harness.stage.data)["NPP_WEBHOOK_PORT"]
        sent = self.harness.http.post(f"http://127.0.0.1:{port}/callbacks/rail", json=message)
        assert sent.status_code == 202
        items = self.harness.soon(lambda: self.quarantined("UNMATCHED"), what="the callback")
        self.places = [(str(items[0]["partition"]), str(items[0]["offset"]))]

    def _large(self) -> None:
        """A record that unpacks to more than is copied."""
        producer = Producer(
            {
                "bootstrap.servers": self.harness.bootstrap,
                "compression.type": "lz4",
                "message.max.bytes": 4_000_000,
            }
        )
        producer.produce(topology.COMMANDS, key=b"large", value=b"\0" * 3_000_000, partition=0)
        assert producer.flush(20) == 0

        def listed() -> bool:
            return any(each.get("byReference") for each in self.quarantined("UNDECODABLE"))

        self.harness.soon(listed, what="quarantined by reference")

    def _keyring(self) -> None:
        """A working copy of the verifier's keyring."""
        file = self.folder / "keyring.json"
        shutil.copy(self.harness.stage.data / "verifier" / "keyring.json", file)
        _, said = self.run_npp(["evidence", "keys"])
        self.printed["ed25519"] = re.findall(r"ed25519-\w+", said)[-1]

    def _passphrase(self) -> None:
        file = self.folder / "passphrase"
        file.write_text("a long passphrase of ann's\n")
        file.chmod(0o600)
        self.variables["NPP_OPERATOR_PASSPHRASE_FILE"] = str(file)

    def quarantined(self, reason: str) -> Any:
        return self.harness.get("/api/quarantine", reason=reason, limit=200)["items"]

    def retried(self, payment: str) -> None:
        self.harness.approved("ops_1", payment, "RETRY")
        self.harness.done("ops_1", payment, "retry", {"attemptId": "att_002", "reason": "rail"})
        self.harness.until(payment, state="SETTLED", funds="CAPTURED")

    def settled_after_all(self, payment: str) -> None:
        verdict = {"verdict": "SETTLED_AFTER_ALL"}
        named = {"conflictId": "cnf_001", **verdict}
        self.harness.approved("snr_1", payment, "RESOLVE_RECONCILIATION", **named)
        body = {"attemptId": "att_001", "details": "rail ticket 92", **verdict}
        self.harness.done("snr_1", payment, "conflicts/cnf_001/resolve", body)
        self.harness.until(payment, openConflicts=0)

    def marked_failed_for_ever(self) -> str:
        """A payment that the rail never reports on: its enquiries run out while the
        page is read.
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


def parsed(words: list[str]) -> None:
    """Parse these arguments with the command line's own parser; an unknown one raises."""
    context = parser().make_context("npp", list(words))
    while hasattr(context.command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def settings_of(data: Path) -> dict[str, str]:
    """The demo's npp.env."""
    lines = (data / "npp.env").read_text().splitlines()
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def _is_ours(name: str) -> bool:
    return name.startswith("NPP_") and name not in ("NPP_CACHE_DIR", "NPP_JAVA")
