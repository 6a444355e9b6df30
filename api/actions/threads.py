"""The threads in which actions wait, by kind. A slow kind of action cannot block another, nor one
person another. Used from event loops.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

from api.edge.problems import rate_limited, unavailable

COMMANDS_MAX: Final = 200  # that wait for their outcome, each up to 12 s
COMMANDS_OF_ONE_MAX: Final = 50
CREATIONS_MAX: Final = 200  # a submitter is a machine: one may fill them
DECISIONS_MAX: Final = 50  # the second person's: approve, reject, resume a parked payment
DECISIONS_OF_ONE_MAX: Final = 10
CONTROL_MAX: Final = 16  # STOP, its end, redrives: control records, each up to 8 s
CONTROL_OF_ONE_MAX: Final = 4
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class ActionThreads:
    """A pool of `count` threads, of which one person can use `of_one` at once."""

    def __init__(self, kind: str, count: int, of_one: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=f"npp-{kind}")
        self._count = count
        self._of_one = of_one
        self._busy: Counter[str] = Counter()

    async def run(
        self,
        person: str,
        work: Callable[[*Arguments], T],
        *arguments: *Arguments,
    ) -> T:
        """Run blocking `work(*arguments)` until its result is known. Raises Problem: 503 if all
        threads are in use, 429 if this person already uses as many as allowed.
        """
        if self._busy[person] >= self._of_one:
            raise rate_limited(
                "TOO_MANY_OF_ONE",
                f"{self._of_one} of your actions are already waiting for their outcome.",
            )
        if self._busy.total() >= self._count:
            raise unavailable("TOO_MANY_COMMANDS", "Too many commands are already waiting.")
        self._busy[person] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._busy[person] -= 1
            if not self._busy[person]:
                del self._busy[person]


COMMANDS: Final = ActionThreads("command", COMMANDS_MAX, COMMANDS_OF_ONE_MAX)
CREATIONS: Final = ActionThreads("creation", CREATIONS_MAX, CREATIONS_MAX)
DECISIONS: Final = ActionThreads("decision", DECISIONS_MAX, DECISIONS_OF_ONE_MAX)
CONTROL: Final = ActionThreads("control", CONTROL_MAX, CONTROL_OF_ONE_MAX)
