"""Child processes of the bench and what the kernel says they cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

READY_WAIT_SECONDS: Final = 300.0
END_WAIT_SECONDS: Final = 30.0
LOOK_EVERY_SECONDS: Final = 0.02
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
METRICS_SECONDS_MAX: Final = 30.0
LOG_TAIL_CHARACTERS: Final = 2_000
KIB: Final = 1024


def cpu_seconds(pid: int) -> float:
    """User and system seconds of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


class Measured(Protocol):
    """One process, or a group that shares the work: what it uses, and how far it is."""

    @property
    def group(self) -> str:
        """The consumer group whose offsets say how far it is."""

    def cpu_seconds(self) -> float:
        """User and system seconds of all its threads so far."""

    def memory_bytes(self) -> int:
        """Resident memory."""

    def pause(self) -> None:
        """Do nothing until `resume`."""

    def resume(self) -> None:
        """Continue."""

    def has_ended(self) -> bool:
        """Whether it, or one of the group, is gone."""

    def log_tail(self) -> str:
        """The end of its output."""


class Process:
    """A program under measurement, with its health port and its resource use; `group` is the
    consumer group whose offsets say how far it is.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        group: str,
        folder: Path | None = None,
    ) -> None:
        self._log = log.open("ab")
        self._log_starts_at = self._log.tell()  # an earlier process may have written to it
        self.group = group
        self.started_s = time.monotonic()
        self.child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._port = environment.get("NPP_METRICS_PORT", "")
        self._log_path = log

    def wait_ready(self) -> tuple[float, float]:
        """(seconds from its start until it runs, seconds of these it spent restoring).

        Raises RuntimeError when it never runs.
        """
        restoring_s: float | None = None
        while time.monotonic() - self.started_s < READY_WAIT_SECONDS:
            if self.child.poll() is not None:
                raise RuntimeError(f"it ended with {self.child.returncode}: {self.log_tail()}")
            phase, now_s = self.phase(), time.monotonic()
            if phase == "restoring" and restoring_s is None:
                restoring_s = now_s
            if phase == "running":
                return now_s - self.started_s, now_s - (restoring_s or now_s)
            time.sleep(LOOK_EVERY_SECONDS)
        raise RuntimeError(f"not ready in {READY_WAIT_SECONDS} s: {self.log_tail()}")

    def phase(self) -> str:
        """What /startupz says; 503 until it has started."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}/startupz", timeout=2
            ) as got:
                body = got.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        except (urllib.error.URLError, OSError):
            return ""
        return str(json.loads(body).get("phase", ""))

    def metric(self, name: str) -> float:
        """One metric of it, by its name and labels as they are exported."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._port}/metrics", timeout=METRICS_SECONDS_MAX
        ) as got:
            for line in got.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        raise RuntimeError(f"it exports no {name}")

    def has_ended(self) -> bool:
        """Whether the process is gone, whatever ended it."""
        return self.child.poll() is not None

    def log_tail(self) -> str:
        """The end of its output."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_starts_at)
            return log.read().decode(errors="replace")[-LOG_TAIL_CHARACTERS:]

    def cpu_seconds(self) -> float:
        """User and system seconds of all its threads so far."""
        return cpu_seconds(self.child.pid)

    def memory_bytes(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * KIB
        raise RuntimeError("the kernel does not say VmRSS")

    def pause(self) -> None:
        """SIGSTOP, until `resume`."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """SIGTERM, and SIGKILL when it does not obey in time."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(END_WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._log.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
