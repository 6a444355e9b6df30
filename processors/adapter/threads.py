"""The workers of one process, one thread each. If one fails, all end, and the supervisor restarts
the process.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from engine.errors import Exit
from engine.health import Answer, Probes
from engine.loop.watch import Health

log = structlog.get_logger("processors.adapter.threads")

LOOK_EVERY_S: Final = 0.2


class Runs(Protocol):
    """A worker: runs until asked to stop."""

    def run(self) -> None: ...

    def request_stop(self) -> None: ...


class Threads:
    """Runs workers until a stop is requested or one of them has ended."""

    def __init__(self, workers: Mapping[str, Runs], *, shutdown_s_max: float) -> None:
        self._workers = workers
        self._shutdown_s_max = shutdown_s_max
        self._failures: dict[str, BaseException] = {}
        self._stopping = threading.Event()

    def request_stop(self) -> None:
        """End all; safe from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Returns after `request_stop`. Raises Exit when a worker has failed."""
        threads = [
            threading.Thread(
                target=self._run_one, args=(name, worker), name=f"npp-{name}", daemon=True
            )
            for name, worker in self._workers.items()
        ]
        for thread in threads:
            thread.start()
        while not self._failures and not self._stopping.wait(LOOK_EVERY_S):
            pass
        for worker in self._workers.values():
            worker.request_stop()
        for thread in threads:
            thread.join(self._shutdown_s_max)
        for name, error in self._failures.items():
            log.critical("adapter ends", adapter=name, error=str(error), exc_info=error)
        if self._failures:
            raise Exit("ADAPTER_ENDED", ", ".join(self._failures))

    def _run_one(self, name: str, worker: Runs) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001 the process ends by it, in `run`
            self._failures[name] = error


def worst_of(healths: Mapping[str, Health], progress_s_max: float) -> Probes:
    """Probes of the process: ready while all workers are, alive while none has been silent for more
    than `progress_s_max` seconds.
    """

    def live() -> Answer:
        ages = {name: round(health.age_s(), 3) for name, health in healths.items()}
        return max(ages.values()) <= progress_s_max, {"progressSecondsAgo": ages}

    def ready() -> Answer:
        phases = {name: health.phase.value for name, health in healths.items()}
        return all(health.ready() for health in healths.values()), phases

    return Probes(live, ready, ready)
