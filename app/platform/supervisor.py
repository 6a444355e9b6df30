"""Keeps a few named child processes running: start, restart after a failure, kill one, end all.

It has no thread of its own: its owner calls `tend` a few times a second. It knows processes,
log files and exit codes, and nothing of what runs in them.

    WAITING ── added, or its pause is over ───────────────▶ RUNNING
    RUNNING ── killed by us, or failed ───────────────────▶ WAITING
    RUNNING ── exit code 0, or not to be restarted ───────▶ ENDED
    RUNNING ── failed too often ──────────────────────────▶ GIVEN_UP

`end` and `end_all` forget a child, whatever its status.
"""

from __future__ import annotations

import enum
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.platform.children import (
    Child,
    ask_to_end,
    await_end,
    end_child,
    kill_child,
    pause_child,
    start_child,
    tail_of,
)
from engine.clock import Clock, SystemClock
from engine.errors import check_move

RESTARTS_MAX = 5
RESTARTS_WINDOW_SECONDS = 60.0  # more than RESTARTS_MAX failures within it: give up
BACK_OFF_FIRST_SECONDS = 0.2
BACK_OFF_MAX_SECONDS = 5.0
END_WAIT_SECONDS = 20.0


class Restart(enum.Enum):
    """What to do when a child exits."""

    NEVER = "never"
    ON_FAILURE = "on failure"  # any exit code but 0


class Status(enum.Enum):
    """Of a child; drawn above."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    GIVEN_UP = "given up"


MOVES: Final = {
    Status.WAITING: {Status.RUNNING},
    Status.RUNNING: {Status.WAITING, Status.ENDED, Status.GIVEN_UP},
    Status.ENDED: set[Status](),
    Status.GIVEN_UP: set[Status](),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A child process to start: name, command, additions to our environment, restart policy."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    restart: Restart = Restart.ON_FAILURE
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """One exit of one process. `killed_by_us` distinguishes our own kill from a crash."""

    name: str
    pid: int
    exit_code: int
    killed_by_us: bool


class SupervisorError(RuntimeError):
    """A name that is unknown, taken, or not running."""


class _Managed:
    """One program with its current process and its recent failures."""

    def __init__(self, program: Program, log_file: Path) -> None:
        self.program, self.log_file = program, log_file
        self.status = Status.WAITING
        self.child: Child | None = None
        self.start_at = 0.0
        self.falls: deque[float] = deque(maxlen=RESTARTS_MAX + 1)
        self.killed_by_us = False

    def running(self) -> Child:
        if self.status is not Status.RUNNING or self.child is None:
            raise SupervisorError(f"{self.program.name} is {self.status.value}")
        return self.child

    def move(self, after: Status) -> None:
        """Raises WrongOrder for a move that is not in MOVES."""
        check_move(self.program.name, MOVES, self.status, after)
        self.status = after

    def start(self) -> None:
        self.move(Status.RUNNING)
        program = self.program
        self.child = start_child(
            program.command, log_file=self.log_file, env=program.env, cwd=program.cwd
        )
        self.killed_by_us = False

    def note_end(self, exit_code: int, now: float) -> Ended:
        """Move on after the process ended; decides about the restart."""
        assert self.child is not None
        ended = Ended(self.program.name, self.child.pid, exit_code, self.killed_by_us)
        self.child = None
        if self.killed_by_us:  # a requested kill is no sign of a fault
            self.start_at = now
            self.move(Status.WAITING)
        elif exit_code == 0 or self.program.restart is Restart.NEVER:
            self.move(Status.ENDED)
        else:
            self._back_off(now)
        return ended

    def _back_off(self, now: float) -> None:
        self.falls.append(now)
        recent = sum(1 for fall in self.falls if now - fall <= RESTARTS_WINDOW_SECONDS)
        if recent > RESTARTS_MAX:
            self.move(Status.GIVEN_UP)
            return
        wait = min(BACK_OFF_FIRST_SECONDS * 2 ** (recent - 1), BACK_OFF_MAX_SECONDS)
        self.start_at = now + wait
        self.move(Status.WAITING)


class Supervisor:
    """Supervises the programs it was given; `log_dir/NAME.log` holds each one's output."""

    def __init__(self, log_dir: Path, clock: Clock | None = None) -> None:
        self._log_dir = log_dir
        self._clock = clock or SystemClock()
        self._managed: dict[str, _Managed] = {}

    def start(self, program: Program) -> int:
        """Start a program under its name; returns its process id."""
        if program.name in self._managed:
            raise SupervisorError(f"{program.name} is there already")
        managed = _Managed(program, self._log_dir / f"{program.name}.log")
        managed.start()
        self._managed[program.name] = managed
        return managed.running().pid

    def tend(self) -> list[Ended]:
        """Detect exits, restart what is due; returns the exits since the last call."""
        now = self._clock.monotonic_s()
        ends: list[Ended] = []
        for managed in self._managed.values():
            if managed.status is Status.RUNNING and managed.child is not None:
                code = managed.child.poll()
                if code is not None:
                    ends.append(managed.note_end(code, now))
            if managed.status is Status.WAITING and managed.start_at <= now:
                managed.start()
        return ends

    def kill(self, name: str) -> int:
        """SIGKILL one child and wait for its end; returns its process id.

        `tend` starts it again at once, whatever its policy, and does not count it as a crash.
        """
        managed = self._of(name)
        child = managed.running()
        if child.poll() is None:
            managed.killed_by_us = True
            kill_child(child)
        return child.pid

    def pause(self, name: str) -> None:
        """SIGSTOP one child."""
        pause_child(self._of(name).running())

    def unpause(self, name: str) -> None:
        self._of(name).running().send_signal(signal.SIGCONT)

    def end(self, name: str, within_seconds: float = END_WAIT_SECONDS) -> int | None:
        """SIGTERM one child and forget it; its exit code, None when it was not running."""
        managed = self._of(name)
        code = None
        if managed.status is Status.RUNNING and managed.child is not None:
            code = end_child(managed.child, within_seconds)
        del self._managed[name]
        return code

    def end_all(self, within_seconds: float = END_WAIT_SECONDS) -> dict[str, int]:
        """SIGTERM all at once, SIGKILL those that live on after the time; exit codes by name.

        Only those that were running are named; -9 is one that had to be killed. Afterwards the
        supervisor is empty, and calling this again does nothing.
        """
        deadline = self._clock.monotonic_s() + within_seconds
        running = {
            name: managed.child
            for name, managed in self._managed.items()
            if managed.status is Status.RUNNING and managed.child is not None
        }
        self._managed.clear()
        for child in running.values():
            ask_to_end(child)
        return {
            name: await_end(child, max(0.0, deadline - self._clock.monotonic_s()))
            for name, child in running.items()
        }

    def status(self) -> dict[str, Status]:
        return {name: managed.status for name, managed in self._managed.items()}

    def pid(self, name: str) -> int:
        """The process id of a running child; raises SupervisorError for any other."""
        return self._of(name).running().pid

    def log_tail(self, name: str) -> str:
        """The end of a child's log, for the message about its failure."""
        return tail_of(self._of(name).log_file)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()

    def _of(self, name: str) -> _Managed:
        if name not in self._managed:
            raise SupervisorError(f"no program is named {name}")
        return self._managed[name]
