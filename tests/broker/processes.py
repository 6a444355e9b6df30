"""One process of the product as tests use it, and its HTTP endpoints."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from app.platform.children import Child, end_child, kill_child, tail_of

CRASH_SECONDS_MAX = 60.0
HTTP_SECONDS_MAX = 30.0
LAST_BYTES_MAX = 400
LOOK_SECONDS_MAX = 5.0  # of a repeated request


@dataclass
class Process:
    """One process of the product; `port` serves its health and metrics."""

    name: str
    child: Child
    log: Path
    port: int
    ended_by_us: bool = False

    def alive(self) -> bool:
        return self.child.poll() is None

    def kill(self) -> int:
        self.ended_by_us = True
        return kill_child(self.child)

    def stop(self) -> int:
        self.ended_by_us = True
        return end_child(self.child, 30.0)

    def exited(self, seconds: float = CRASH_SECONDS_MAX) -> int:
        """Its exit code; raises if it keeps running."""
        self.ended_by_us = True
        try:
            return int(self.child.wait(seconds))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} lives on:\n{tail_of(self.log)}") from None

    def held(self, seconds: float = CRASH_SECONDS_MAX) -> None:
        """Wait until it has stopped itself (SIGSTOP)."""
        deadline = time.monotonic() + seconds
        stat = Path(f"/proc/{self.child.pid}/stat")
        while stat.read_text().rpartition(") ")[2][:1] != "T":
            assert self.alive(), f"{self.name} ended:\n{tail_of(self.log)}"
            assert time.monotonic() < deadline, f"{self.name} runs on:\n{tail_of(self.log)}"
            time.sleep(0.05)

    def condition(self) -> str:
        """What it says of itself, in one line: for the message of a failed test."""
        if not self.alive():
            return f"{self.name} ended: {self.child.returncode}"
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/readyz", timeout=LOOK_SECONDS_MAX
            ) as answer:
                said = answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
        except OSError as error:
            said = repr(error)
        last = tail_of(self.log, LAST_BYTES_MAX).rpartition("\n")[2]
        return f"{self.name}: {said}; last line of its log: {last}"

    def metrics(self) -> dict[str, float]:
        """Every current sample, with labels in the name."""
        text = get(f"http://127.0.0.1:{self.port}/metrics").decode()
        found = (line.rpartition(" ") for line in text.splitlines() if line[:1] not in ("", "#"))
        return {name: float(value) for name, _, value in found}

    def metric(self, name: str) -> float:
        """The sum of a family's samples over its labels."""
        return sum(v for n, v in self.metrics().items() if re.split(r"[{ ]", n)[0] == name)


def get(url: str, seconds: float = HTTP_SECONDS_MAX) -> bytes:
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        raw: bytes = answer.read()
        return raw


def answers(url: str) -> bool:
    try:
        get(url, LOOK_SECONDS_MAX)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
