"""NPP_CRASH_AT=<point>:<n>: the process kills itself hard at a named step. Test profile only."""

from __future__ import annotations

import os
import signal
from typing import Final

from app.exits import usage
from app.settings import Environment, Profile
from engine.batch import no_crash
from engine.ports import CrashPoint

POINTS: Final = frozenset(
    {
        "after_poll",
        "after_decide",
        "after_produce",
        "after_send_offsets",
        "before_commit",
        "commit_sent",
        "after_commit",
        "during_restore",
    }
)


def crash_point(environment: Environment) -> CrashPoint:
    """What the engine calls at each step: SIGKILL at the nth time the named one is reached.

    Raises Problem for a point that does not exist, or outside the test profile.
    """
    given = environment.settings.crash_at
    if not given:
        return no_crash
    if environment.settings.profile is not Profile.TEST:
        raise usage("NPP_CRASH_AT is for the test profile only.", do="Unset it.")
    point, _, number = given.partition(":")
    if point not in POINTS or not number.isdigit() or number == "0":
        raise usage(f"NPP_CRASH_AT={given} names no step.", do=f"POINT:N, {sorted(POINTS)}")
    left = int(number)

    def crash(name: str) -> None:
        nonlocal left
        if name != point:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash
