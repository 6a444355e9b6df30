"""The threads in which actions wait, by kind: what waits long in one kind holds up no other, and no
person holds up the others of his kind. Used from event loops.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from api.edge.problems import Problem, unavailable

COMMANDS_MAX: Final = 200  # that wait for their outcome, each up to 12 s
COMMANDS_OF_ONE_MAX: Final = 50
CREATIONS_MAX: Final = 200  # a submitter is a machine: one may fill them
DECISIONS_MAX: Final = 50  # the second person's: approve, reject, resume a parked payment
DECISIONS_OF_ONE_MAX: Final = 10
CONTROL_MAX: Final = 16  # STOP, its end, redrives: control records, each up to 8 s
CONTROL_OF_ONE_MAX: Final = 4
T = TypeVar("T")


class ActionThreads:
    """So many threads, and so many of them for one person."""

    def __init__(self, kind: str, count: int, of_one: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=f"npp-{kind}")
        self._count = count
        self._of_one = of_one
        self._busy: Counter[str] = Counter()

    async def run(self, person: str, work: Callable[[], T]) -> T:
        """Run what blocks until it is known what became of it. Raises Problem: 503 when all threads
        are taken, 429 when the person has as many as he may."""
        if self._busy[person] >= self._of_one:
            raise Problem(
                429,
                "RATE_LIMITED",
                "TOO_MANY_OF_ONE",
                f"{self._of_one} of your actions wait for their outcome already.",
                headers={"Retry-After": "5"},
            )
        if self._busy.total() >= self._count:
            raise unavailable("TOO_MANY_COMMANDS", "Too many commands wait already.")
        self._busy[person] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._busy[person] -= 1
            if not self._busy[person]:
                del self._busy[person]


COMMANDS: Final = ActionThreads("command", COMMANDS_MAX, COMMANDS_OF_ONE_MAX)
CREATIONS: Final = ActionThreads("creation", CREATIONS_MAX, CREATIONS_MAX)
DECISIONS: Final = ActionThreads("decision", DECISIONS_MAX, DECISIONS_OF_ONE_MAX)
CONTROL: Final = ActionThreads("control", CONTROL_MAX, CONTROL_OF_ONE_MAX)
