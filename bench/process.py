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
from typing import Final

READY_WAIT_SECONDS: Final = 300.0
END_WAIT_SECONDS: Final = 30.0
LOOK_EVERY_SECONDS: Final = 0.02
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
KIB: Final = 1024


class Process:
    """A program under measurement, with its health port and its resource use; `group` is the
    consumer group whose offsets say how far it is.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, group: str
    ) -> None:
        self._log = log.open("ab")
        self.group = group
        self.started_s = time.monotonic()
        self.child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
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

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self._log_path.read_text(errors="replace")[-2_000:]

    def cpu_seconds(self) -> float:
        """User and system seconds of all its threads so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_bytes(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * KIB
        raise RuntimeError("the kernel does not say VmRSS")

    def pause(self) -> None:
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
