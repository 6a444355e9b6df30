"""Child processes that cannot outlive us: started on a leash, ended by their handle.

Each is the leader of its own session, so a Ctrl-C on the terminal reaches only the process that
supervises them, and each has its own log file.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.clock import SystemClock

PORTS = range(15_000, 32_000)

LEASH = Path(__file__).with_name("leash.py")
KILL_WAIT_SECONDS = 10.0  # SIGKILL is certain; only the kernel's cleaning up is waited for
STOPPED_POLL_SECONDS = 0.001

# The kernel ties a child to the thread that started it, so one thread that lives as long as this
# process starts them all. No thread exists before the first start.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="start-children")

_reserved: list[socket.socket] = []  # for as long as this process lives

Child = subprocess.Popen[bytes]


def start_child(
    command: Sequence[str],
    *,
    log_file: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Child:
    """Start a command with its output appended to `log_file`; `env` is added to our environment."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    leashed = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command]

    def start() -> Child:
        with log_file.open("ab") as log:
            return subprocess.Popen(
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    return _starter.submit(start).result()


def kill_child(child: Child) -> int:
    """SIGKILL, and wait until it is gone. The exit code is the negative number of the signal."""
    child.kill()
    return child.wait(KILL_WAIT_SECONDS)


def pause_child(child: Child) -> None:
    """SIGSTOP, and wait until every thread has stopped: until then it may still answer."""
    clock = SystemClock()
    child.send_signal(signal.SIGSTOP)
    deadline_s = clock.monotonic_s() + KILL_WAIT_SECONDS
    while os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is None:
        if clock.monotonic_s() > deadline_s:
            raise TimeoutError(f"process {child.pid} does not stop")
        clock.sleep(STOPPED_POLL_SECONDS)


def end_child(child: Child, grace_seconds: float) -> int:
    """SIGTERM, SIGKILL when the grace is over; returns the exit code. Safe on an ended child."""
    ask_to_end(child)
    return await_end(child, grace_seconds)


def ask_to_end(child: Child) -> None:
    """SIGTERM, once: a second one means "at once" to most programs. Safe on an ended child."""
    if child.poll() is None:
        child.send_signal(signal.SIGCONT)  # a paused process would never see the SIGTERM
        child.terminate()


def await_end(child: Child, grace_seconds: float) -> int:
    """Wait for a child that was asked to end, SIGKILL it after that; returns the exit code."""
    try:
        return child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        return kill_child(child)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports, reserved for servers that this process or its children start.

    Below the range the kernel takes outgoing ports from: a client that keeps asking for a killed
    server's port could otherwise be given that very port, and the server would not come back.
    A server binds its port long after it was found, so this process keeps a socket bound to it:
    no other process finds it free, but a server with SO_REUSEADDR can bind it, as all of ours,
    Kafka, PostgreSQL and Prometheus do. Raises OSError if there are not that many.
    """
    found: list[int] = []
    for port in random.sample(PORTS, k=len(PORTS)):
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            one.close()
            continue
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(one)
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports in {PORTS.start}..{PORTS.stop - 1}")


def tail_of(log_file: Path, bytes_max: int = 4000) -> str:
    """The end of a log, for error messages."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as log:
        log.seek(max(0, log_file.stat().st_size - bytes_max))
        return log.read().decode(errors="replace").strip()
