"""A projector that runs in a thread, and how long a test waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from engine.clock import SystemClock
from engine.errors import Exit
from engine.loop.watch import Health
from processors.projector.metrics import ProjectorMetrics
from processors.projector.process import Projector, probes
from readmodel.model import Model
from tests.processors.payments.clean_history import Outside
from tests.processors.projector.harness import (
    MemorySource,
    carried,
)

pytestmark = pytest.mark.slow

SECONDS_MAX = 20.0


class Running:
    """A projector in its thread; its exception is kept."""

    def __init__(self, source: MemorySource, model: Model, world: Outside) -> None:
        clock = SystemClock()
        self.registry = CollectorRegistry()
        self.health = Health(clock)
        self.projector = Projector(
            source=source,
            model=model,
            codec=world.codec,
            rules_of=carried,
            clock=clock,
            metrics=ProjectorMetrics(self.registry),
            health=self.health,
            publish_minutes=lambda buckets: 0,
        )
        self.probes = probes(self.projector, self.health, 10.0)
        self.ended: Exit | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.projector.run()
        except Exit as end:
            self.ended = end

    def until(self, holds: Callable[[], bool]) -> None:
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + SECONDS_MAX
        while not holds():
            assert clock.monotonic_s() < deadline_s, self.probes.ready()
            clock.sleep(0.01)

    def stop(self) -> None:
        self.projector.stop()
        self._thread.join(SECONDS_MAX)
        assert not self._thread.is_alive()

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value
