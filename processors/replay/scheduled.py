"""`npp run replay`: proves the whole log on a schedule, and stops processing if a proof fails.

It emits no instructions. A pass is published, for a later resume; a failure is a STOP, a metric and
a critical log line, and the next proof still runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from engine.clock import MS_PER_S, Clock
from engine.errors import EngineError
from engine.loop.watch import Health, Phase
from engine.meters import Meters
from processors.replay.report import FAILED, PASSED, Report
from processors.replay.reporter import ProofReporter

log = structlog.get_logger("npp.replay")

AGAIN_S: Final = 60.0  # after a proof that could not run because Kafka did not answer
LOOK_S: Final = 0.5
STRENGTHS: Final = ("fold", "chain", "redecide", "identity", "money")

Shown = Callable[[str, int, int], None]


class ScheduledMetrics:
    """NaN in `passed` means not checkable, or that no proof has ended yet."""

    def __init__(self, registry: CollectorRegistry) -> None:
        new = Meters(registry)
        self.running = new.gauge("npp_replay_running", "1 while a proof of the whole log runs.")
        self.done = new.gauge("npp_replay_records_done", "Records read by the proof that runs.")
        self.total = new.gauge("npp_replay_records_expected", "Records that it has to read.")
        self.ended = new.gauge("npp_replay_last_end_seconds", "Time at which the last proof ended.")
        self.events = new.gauge("npp_replay_last_events", "Events that the last proof covered.")
        self.passed = new.gauge(
            "npp_replay_passed",
            "1 when the last proof of this strength passed, 0 when it failed.",
            strength=STRENGTHS,
        )
        for name in STRENGTHS:
            self.passed.labels(name).set(float("nan"))


class ScheduledProof:
    """One thread calls `run` until `stop`; a running proof is finished first."""

    def __init__(
        self,
        *,
        prove: Callable[[Shown], Report],
        passed: Callable[[Report], None],
        failed: Callable[[str], None],
        every_s: float,
        clock: Clock,
        metrics: ScheduledMetrics,
        health: Health,
        reporter: ProofReporter,
    ) -> None:
        """`passed` publishes a report, `failed` stops processing and gets the reason. Both may
        raise EngineError, and are then called again with the next proof.
        """
        self._prove = prove
        self._passed = passed
        self._failed = failed
        self._every_s = every_s
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._reporter = reporter
        self._stop = threading.Event()

    def stop(self) -> None:
        """Stop after the running proof; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Prove at once, then every `every_s` seconds from start to start."""
        self._health.report(Phase.RUNNING, "")
        while not self._stop.is_set():
            began_s = self._clock.monotonic_s()
            pause_s = self._every_s
            try:
                self.once()
            except EngineError as error:
                log.exception("proof_not_made", code=error.code, detail=error.detail)
                pause_s = min(AGAIN_S, self._every_s)
            self._wait(began_s + pause_s)

    def once(self) -> Report:
        """One proof. Raises EngineError if Kafka does not answer."""
        self._metrics.running.set(1)
        self._reporter.began()
        report = None
        try:
            report = self._prove(self._show)
            self._tell(report)
        finally:
            self._metrics.running.set(0)
            self._reporter.ended(report)  # after a STOP, which nothing may delay
        return report

    def _tell(self, report: Report) -> None:
        worth = {PASSED: 1.0, FAILED: 0.0}
        for each in report.strengths():
            self._metrics.passed.labels(each.name).set(worth.get(each.verdict, float("nan")))
        self._metrics.events.set(report.fold.events)
        self._metrics.ended.set(self._clock.now_ms() / MS_PER_S)
        failures = [f for each in report.strengths() for f in each.failures[:1]]
        if report.passed:
            log.info("proof_passed", events=report.fold.events, seconds=report.seconds)
            self._passed(report)
            return
        why = failures[0].sentence() if failures else "see the report"
        log.critical("proof_failed", why=why, seconds=report.seconds)
        self._failed(why)

    def _show(self, what: str, done: int, total: int) -> None:
        self._metrics.done.set(done)
        self._metrics.total.set(total)
        self._reporter.progress(done, total)
        self._health.beat()

    def _wait(self, until_s: float) -> None:
        while self._clock.monotonic_s() < until_s and not self._stop.is_set():
            self._health.beat()
            self._stop.wait(LOOK_S)
