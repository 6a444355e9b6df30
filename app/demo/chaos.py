"""kill -9 at random while the load runs; the supervisor starts again what was killed."""

from __future__ import annotations

import random
from typing import Final

from app.platform.supervisor import Status, Supervisor
from engine.clock import Clock

PAUSE_SECONDS: Final = (1.5, 5.0)
KILLS_MIN: Final = 3  # a short load ends before: then a few kills follow it
VICTIMS: Final = ("payments", "payments", "adapters", "adapters", "verifier")


class Chaos:
    """`step` a few times a second."""

    def __init__(self, supervisor: Supervisor, clock: Clock, seed: int) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._draw = random.Random(f"chaos:{seed}")
        self._next_s = clock.monotonic_s() + self._draw.uniform(*PAUSE_SECONDS)
        self.kills = 0

    def wanted(self, *, load_runs: bool) -> bool:
        """Whether there is more to kill."""
        return load_runs or self.kills < KILLS_MIN

    def step(self) -> str | None:
        """Kill one, when its time has come; its name."""
        if self._clock.monotonic_s() < self._next_s:
            return None
        self._next_s = self._clock.monotonic_s() + self._draw.uniform(*PAUSE_SECONDS)
        victim = self._draw.choice(VICTIMS)
        if self._supervisor.status().get(victim) is not Status.RUNNING:
            return None
        self._supervisor.kill(victim)
        self.kills += 1
        return victim
