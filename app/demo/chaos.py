"""kill -9 at random while the load runs; the supervisor restarts the killed process.

Only ready processes are killed: killing one that never starts proves nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from app.platform.supervisor import Status, Supervisor
from engine.clock import Clock

READY_SECONDS: Final = (1.0, 6.0)  # how long a victim works before it is killed
LOOK_EVERY_SECONDS: Final = 0.5
KILLS_MIN: Final = 3  # a short load ends before: then a few kills follow it
KILLS_WAIT_SECONDS_MAX: Final = 150.0  # for them
VICTIMS: Final = ("payments", "payments", "adapters", "adapters", "verifier", "projector", "api")


class Chaos:
    """`step` a few times a second. `ready` asks a process whether it works."""

    def __init__(
        self, supervisor: Supervisor, clock: Clock, seed: int, ready: Callable[[str], bool]
    ) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._ready = ready
        self._draw = random.Random(f"chaos:{seed}")
        self._next_s = clock.monotonic_s() + self._draw.uniform(*READY_SECONDS)
        self._victim = self._draw.choice(VICTIMS)
        self._works = False
        self._load_ended_s: float | None = None
        self.kills = 0

    def wanted(self, *, load_runs: bool) -> bool:
        """Whether there is more to kill."""
        if load_runs:
            return True
        now = self._clock.monotonic_s()
        self._load_ended_s = self._load_ended_s or now
        return self.kills < KILLS_MIN and now - self._load_ended_s < KILLS_WAIT_SECONDS_MAX

    def step(self) -> str | None:
        """Kill the victim if it has worked long enough; returns its name, else None."""
        now = self._clock.monotonic_s()
        if now < self._next_s:
            return None
        running = self._supervisor.status().get(self._victim) is Status.RUNNING
        if not running or not self._ready(self._victim):
            self._works, self._next_s = False, now + LOOK_EVERY_SECONDS
            return None
        if not self._works:
            self._works, self._next_s = True, now + self._draw.uniform(*READY_SECONDS)
            return None
        killed = self._victim
        self._supervisor.kill(killed)
        self.kills += 1
        self._victim, self._works = self._draw.choice(VICTIMS), False
        return killed
