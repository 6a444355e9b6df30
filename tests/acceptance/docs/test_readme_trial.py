"""README's "Run it", pasted: a trial set-up around the product, and each process
started by hand.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.rooms import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.slow]

LINE_SECONDS_MAX = 400
SETTLED_SECONDS_MAX = 240
END_SECONDS_MAX = 100
BLOCK = re.compile(r"## Run it\n.*?```sh\n(.*?)```", re.S)


class Reader:
    """Pastes lines into shells of one folder; each `npp run` has its own shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.evaluated = ""
        self.running: list[subprocess.Popen[bytes]] = []
        kept = ("NPP_CACHE_DIR", "NPP_JAVA")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NPP_") or k in kept}
        self.env["PYTHONPATH"] = str(
            ROOT
        )  # this tree's `npp`, whatever the environment has installed

    def paste(self, line: str) -> str:
        line = line.replace(".venv/bin/npp", f"{sys.executable} -m app.cli.npp")
        if line.startswith("eval "):
            self.evaluated = line
            return ""
        words = ["bash", "-euc", f"{self.evaluated}\nexec {line}"]
        if line.startswith("npp run "):
            log = (self.folder / f"{len(self.running)}.log").open("wb")
            self.running.append(
                subprocess.Popen(words, cwd=self.folder, env=self.env, stdout=log, stderr=log)
            )
            return ""
        done = subprocess.run(
            ["bash", "-euc", f"{self.evaluated}\n{line}"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LINE_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def end_what_runs(self) -> list[int]:
        for each in self.running:
            each.send_signal(signal.SIGTERM)
        return [each.wait(END_SECONDS_MAX) for each in self.running]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    try:
        yield made
    finally:
        for each in made.running:
            each.kill()
        made.paste(".venv/bin/npp trial down")


@pytest.mark.timeout(1_200)
def test_every_line_of_run_it_can_be_pasted_and_a_payment_is_settled(reader: Reader) -> None:
    """A second `up` finds what is running; `down` leaves only data behind."""
    found = BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    lines = [line.split("  #")[0].strip() for line in found[1].splitlines()]
    assert lines[-1] == "npp trial down"
    printed = ""
    for line in lines[:-1]:
        printed = reader.paste(line) or printed
    assert len(reader.running) == 5
    payment = printed.split()[-1]
    assert payment.startswith("pi_")
    again = json.loads(reader.paste("npp trial up --json"))
    assert again == json.loads(reader.paste("npp trial status --json"))

    until = time.monotonic() + SETTLED_SECONDS_MAX
    while '"SETTLED"' not in reader.paste(f"npp payment show {payment} --kafka --json"):
        assert time.monotonic() < until, _logs(reader)
        time.sleep(1)
    session = 'curl -sS "$NPP_API_URL/api/session" -H "Authorization: Bearer $VIEWER"'
    answered = reader.paste(session)
    assert "viewer" in answered, answered + _logs(reader)
    assert reader.end_what_runs() == [0] * 5, _logs(reader)
    reader.paste(lines[-1])
    assert not (reader.folder / ".npp" / "trial.json").exists()
    reader.evaluated = ""  # the file that it read was deleted with the trial
    with pytest.raises(AssertionError, match="No trial is up"):
        reader.paste(".venv/bin/npp trial status")
    with pytest.raises(httpx.ConnectError):
        httpx.get(again["registry"], trust_env=False, timeout=5.0)


def _logs(reader: Reader) -> str:
    return "\n".join(each.read_text()[-1500:] for each in sorted(reader.folder.glob("*.log")))
