"""Health of the process: its phase, its heartbeat, and the watchdog that ends it when it hangs."""

from __future__ import annotations

import enum
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final

from engine.clients.partition_errors import PartitionErrors
from engine.clock import Clock
from engine.ports import TopicPartition
from engine.store.restore import RestoreProgress

EXIT_HANGING: Final = 70
EXIT_SHUTDOWN_LATE: Final = 75
EXIT_SECOND_SIGNAL: Final = 76
CHECK_EVERY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Phase(enum.Enum):
    """What the loop is doing, as last observed. Not a status machine: a rebalance, a STOP or a
    dependency that is down may interrupt any phase.
    """

    STARTING = "starting"
    BLOCKED = "blocked"  # may not take a partition yet: no rule set, or the clock is wrong
    RESTORING = "restoring"
    RUNNING = "running"
    STOPPED = "stopped"
    HALTED = "halted"  # the log's tail is lost: only a recovery helps
    STOPPING = "stopping"


class Health:
    """Written by the loop, read by the HTTP thread and the watchdog."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat_s = clock.monotonic_s()
        self.phase = Phase.STARTING
        self.reason = ""
        self.partitions: tuple[int, ...] = ()
        self.progress = RestoreProgress()
        self.stalled_s = 0.0  # of a worker: for how long a processable record has waited
        self.lag: Mapping[TopicPartition, int] = {}  # records not done, by partition
        self.partition_errors = PartitionErrors(clock)

    def beat(self) -> None:
        """The loop has made progress."""
        self._beat_s = self._clock.monotonic_s()

    def age_s(self) -> float:
        """Seconds since the last progress."""
        return self._clock.monotonic_s() - self._beat_s

    def report(self, phase: Phase, reason: str) -> None:
        """Record the phase and its reason: an observation, in any order."""
        if phase is not self.phase or reason != self.reason:
            _log.info("engine is %s%s", phase.value, f": {reason}" if reason else "")
        self.phase, self.reason = phase, reason

    def ready(self) -> bool:
        """False while restoring, stopped or blocked."""
        return self.phase is Phase.RUNNING


def start_watchdog(
    health: Health, progress_s_max: float, end: Callable[[int], object] = os._exit
) -> None:
    """End the process if the loop makes no progress: the client can hang inside a call."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(CHECK_EVERY_S):
            if health.age_s() > progress_s_max:
                _log.critical("no progress for %.0f s: ending the process", health.age_s())
                end(EXIT_HANGING)
                return

    threading.Thread(target=watch, name="npp-watchdog", daemon=True).start()


def stop_on_signals(request_stop: Callable[[], None], shutdown_s_max: float) -> None:
    """SIGTERM and SIGINT end cleanly within `shutdown_s_max`; a second one ends at once,
    uncommitted work aborts.
    """
    seen = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(EXIT_SECOND_SIGNAL)
        seen = True
        request_stop()
        timer = threading.Timer(shutdown_s_max, os._exit, (EXIT_SHUTDOWN_LATE,))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
