"""NPP_CRASH_AT=<point>:<n>: the process sends itself SIGKILL at a named step. Test profile only.

Most points are between two calls. Two are inside one: `commit_sent` dies after EndTxn was sent and
before its answer is read, which only the client's own log shows (NPP_KAFKA_DEBUG=protocol,
NPP_KAFKA_LOG_LEVEL=7). `commit_held` stops itself (SIGSTOP) just before EndTxn, so that a test can
stop the broker, then continues like `commit_sent`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Final

from app.config.settings import Environment, Profile
from app.exits import usage
from core.values import ascii_digits
from engine.clock import SystemClock
from engine.loop.batch import no_crash
from engine.ports import CrashPoint

BETWEEN: Final = frozenset(
    {
        "after_poll",
        "after_decide",
        "after_send_offsets",
        "after_produce",
        "before_commit",
        "after_commit",
        "during_restore",
    }
)
SENT: Final = "commit_sent"
HELD: Final = "commit_held"
POINTS: Final = BETWEEN | {SENT, HELD}
BEFORE_END: Final = "before_commit"  # the last step before EndTxn
ANSWERED: Final = "commit_sent"  # the loop's step after the commit has returned
SENT_WORD: Final = b"Sent EndTxnRequest"
RECEIVED_WORD: Final = b"Received EndTxnResponse"
DELIVERY_S: Final = 0.5  # until the batch's records are acknowledged and only EndTxn is left
STDERR: Final = 2
CHUNK_BYTES: Final = 65_536


def crash_point(environment: Environment) -> CrashPoint:
    """What the engine calls at each step: SIGKILL when the named step is reached for the nth time.

    Raises Problem for a point that does not exist, or outside the test profile.
    """
    given = environment.settings.crash_at
    if not given:
        return no_crash
    if environment.settings.profile is not Profile.TEST:
        raise usage("NPP_CRASH_AT is for the test profile only.", do="Unset it.")
    point, _, number = given.partition(":")
    if point not in POINTS or not ascii_digits(number) or number == "0":
        raise usage(f"NPP_CRASH_AT={given} names no step.", do=f"POINT:N, {sorted(POINTS)}")
    if point in BETWEEN:
        return _between(point, int(number))
    if environment.kafka.get("debug") != "protocol" or environment.kafka.get("log_level") != "7":
        raise usage(
            f"NPP_CRASH_AT={given} watches the client's log.",
            do="Set NPP_KAFKA_DEBUG=protocol and NPP_KAFKA_LOG_LEVEL=7.",
        )
    return _InFlight(int(number), hold=point == HELD)


def _between(point: str, left: int) -> Callable[[str], None]:
    def crash(name: str) -> None:
        nonlocal left
        if name != point:
            return
        left -= 1
        if left == 0:
            _die()

    return crash


class _InFlight:
    """Dies while the nth commit, or a later one, is between EndTxn and its answer."""

    def __init__(self, left: int, *, hold: bool) -> None:
        self._left = left
        self._hold = hold
        self._armed = False
        reading, writing = os.pipe()
        self._log = os.dup(STDERR)
        os.dup2(writing, STDERR)
        threading.Thread(target=self._watch, args=(reading,), name="npp-crash", daemon=True).start()

    def __call__(self, name: str) -> None:
        if name == BEFORE_END:
            self._left -= 1
            if self._left <= 0:
                if self._hold:
                    SystemClock().sleep(DELIVERY_S)
                    self._hold = False
                    self._armed = True
                    os.kill(os.getpid(), signal.SIGSTOP)
                self._armed = True
        elif name == ANSWERED:
            self._armed = False  # the answer came first: try again at the next commit

    def _watch(self, reading: int) -> None:
        """Pass the client's log on, and die when it says that EndTxn was sent and not answered."""
        while chunk := os.read(reading, CHUNK_BYTES):
            os.write(self._log, chunk)
            if self._armed and SENT_WORD in chunk and RECEIVED_WORD not in chunk:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
