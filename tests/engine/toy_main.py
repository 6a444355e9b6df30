"""The toy application as a process: `python -m tests.engine.toy_main BOOTSTRAP INSTANCE DATA
PARTITIONS APP`.

Environment: TOY_END_S, TOY_SLOW_MS: the transaction's settings.
TOY_CRASH=<point>:<nth> kills the process (SIGKILL) when it reaches that step.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from engine.clock import SystemClock
from engine.errors import EngineError
from engine.loop.loop import Loop
from engine.loop.transaction import TransactionSettings
from engine.loop.watch import Health, start_watchdog, stop_on_signals
from engine.metrics import EngineMetrics
from engine.ports import CrashPoint
from engine.settings import EngineSettings
from tests.engine.toy import Toy, ToyControl

EXIT_ENGINE = 3


def crash_from_environment() -> CrashPoint:
    """Kill this process at the nth time a step is reached; `commit_sent` means while the commit is
    in progress.
    """
    wanted = os.environ.get("TOY_CRASH", "")
    if not wanted:
        return lambda step: None
    point, _, count = wanted.partition(":")
    left = int(count or 1)
    at = "before_commit" if point == "commit_sent" else point

    def crash(step: str) -> None:
        nonlocal left
        if step != at:
            return
        left -= 1
        if left == 0 and point == "commit_sent":
            threading.Thread(target=_kill_soon, daemon=True).start()
        elif left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return crash


def _kill_soon() -> None:
    time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)


def stop_fetching(loop: Loop) -> None:
    """Silently stop fetching one partition."""
    consumer = loop._consumer._consumer
    consumer.pause(consumer.assignment()[:1])
    print(json.dumps({"notFetched": str(consumer.assignment()[0])}), flush=True)


def main() -> int:
    bootstrap, instance, data, partitions, application = sys.argv[1:6]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    clock = SystemClock()
    health = Health(clock)
    settings = EngineSettings(
        connection={"bootstrap.servers": bootstrap},
        instance_id=instance,
        data_dir=Path(data),
        transaction=TransactionSettings(
            end_s=float(os.environ.get("TOY_END_S", "5")),
            slow_ms=int(os.environ.get("TOY_SLOW_MS", "1000")),
        ),
    )
    registry = CollectorRegistry()

    def alarm(name: str, partition: int | None, sentence: str) -> None:
        print(json.dumps({"alarm": name, "partition": partition, "detail": sentence}), flush=True)

    try:
        loop = Loop(
            Toy(int(partitions), application),
            ToyControl(),
            settings,
            clock,
            EngineMetrics(registry),
            health,
            alarm,
            crash_from_environment(),
        )
        signal.signal(signal.SIGUSR1, lambda *_: stop_fetching(loop))
        stop_on_signals(loop.request_stop, 20.0)
        start_watchdog(health, 120.0)
        loop.run()
    except EngineError as error:
        print(json.dumps({"exit": error.code, "detail": error.detail}), flush=True)
        return EXIT_ENGINE
    finally:
        outcomes = {
            s.labels["outcome"]: s.value
            for family in registry.collect()
            for s in family.samples
            if s.name == "npp_engine_transactions_total"
        }
        print(json.dumps({"transactions": outcomes}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
