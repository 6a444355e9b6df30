"""`npp run projector`: the journal and what is beside it, folded into the read model.

One a database: the others stand by, alive and not ready, and one of them goes on when it ends.
Offsets are in the same transaction as the rows and move by compare-and-set, so a crash neither
doubles nor skips, and who writes without the claim is fenced.

    STAND BY ─claim─▶ OPEN ──▶ read ──▶ fold ──▶ apply ──▶ read …
      ▲                ▲                  │         ├ database down: the same batch again, not ready
      └ claim is lost  └ generation       │         ├ fenced, another generation is current ──▶ OPEN
                                          │         └ fenced otherwise ──▶ exit
                                          └ history does not fit ──▶ HALTED, until two persons have
                                            ruled on a record of the journal ──▶ OPEN
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import structlog

from core.payment.state import CorruptHistory
from core.rules import Rules
from engine.clock import Clock
from engine.errors import Exit, Retry
from engine.health import Answer, Probes, progress
from engine.loop.watch import Health, Phase
from processors.projector.events import Stuck, stuck
from processors.projector.feed import Feed, ProjectorLog, Written
from processors.projector.metrics import ProjectorMetrics
from processors.projector.progress import READY_DELAY_S_MAX, Progress
from readmodel import minutes
from readmodel.database.store import Claim
from readmodel.minutes import Buckets, SlowRuns
from readmodel.model import Model
from readmodel.ports import Contradiction, Fenced, Reader, ReadModelDown
from readmodel.reader import DatabaseReader
from readmodel.rows import PaymentRow
from readmodel.writer import DatabaseWriter
from schemas.codec import Codec
from schemas.errors import RegistryDown

log = structlog.get_logger("npp.projector")

READ_WAIT_S: Final = 0.01  # how long a lone record may wait for company
HOUSEKEEPING_S: Final = 1.0
DATABASE_PAUSE_S: Final = 0.5
STAND_BY_PAUSE_S: Final = 0.5
DEPENDENCY_DOWN_S_MAX: Final = 600.0  # then the supervisor starts it again
HALTED_PAUSE_S: Final = 0.5
ATTENTION_PAGE: Final = 200
ATTENTION_PAGES_MAX: Final = 5_000  # a million payments that need attention
FENCED: Final = "READ_MODEL_FENCED"
STANDS_BY: Final = "another projector fills this read model: this one waits until that ends"


class Projector:
    """Projects until `stop`. One thread calls it."""

    def __init__(
        self,
        *,
        source: ProjectorLog,
        model: Model,
        codec: Codec,
        rules_of: Callable[[int], Rules],
        clock: Clock,
        metrics: ProjectorMetrics,
        health: Health,
        publish_minutes: Callable[[Buckets], object],
    ) -> None:
        self._source = source
        self._model = model
        self._codec = codec
        self._rules_of = rules_of
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._publish_minutes = publish_minutes
        self._stop = threading.Event()
        self._generation = 0
        self._reader: DatabaseReader | None = None
        self._writer: DatabaseWriter | None = None
        self._claim: Claim | None = None
        self._claim_seen_s = float("-inf")
        self._checked_s = 0.0
        self._down_since_s: float | None = None
        self._stuck: dict[Stuck, int] = {}
        self._runs = SlowRuns()
        self._halted = ""  # why, while a history does not fit
        self.progress = Progress(clock)
        metrics.watch_delay(self.progress.delay_s)

    def stop(self) -> None:
        """End after the current batch; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Project until `stop`.

        Raises Exit when somebody without the claim writes the read model, the log does not have
        what comes next, or a dependency stays away for DEPENDENCY_DOWN_S_MAX.
        """
        feed: Feed | None = None
        try:
            while not self._stop.is_set():
                try:
                    if not self._holds_claim():
                        feed = None
                    if feed is None:
                        if not self._take_claim():
                            self._stand_by()
                            continue
                        feed = self._open()
                    if self._halted:
                        feed = self._ask_for_rulings(feed)
                        continue
                    self._round(feed)
                    self._well()
                except (ReadModelDown, RegistryDown, Retry) as down:
                    self._wait(down)
                except Fenced as fenced:
                    self._check_fence(fenced)
                    feed = None
                except (CorruptHistory, Contradiction) as corrupt:
                    self._halt(str(corrupt))
        finally:
            self._close()
            self._let_go()

    # -- one at a time ---------------------------------------------------------------------------

    def _holds_claim(self) -> bool:
        """Whether the claim is ours and was all the time; the database is asked once a second."""
        if self._claim is None:
            return False
        now_s = self._clock.monotonic_s()
        if now_s - self._claim_seen_s < HOUSEKEEPING_S:
            return True
        self._claim_seen_s = now_s
        if self._claim.held():
            return True
        log.warning("projector lost its claim on the read model")
        self._let_go()
        return False

    def _take_claim(self) -> bool:
        if self._claim is None:
            self._claim = self._model.claim()
            self._claim_seen_s = self._clock.monotonic_s()
        return self._claim is not None

    def _let_go(self) -> None:
        if self._claim is not None:
            self._claim.close()
        self._claim = None

    def _stand_by(self) -> None:
        """Another one works: alive, not ready, and no delay of ours, until that one ends."""
        if self._health.reason != STANDS_BY:
            log.warning("projector stands by", why=STANDS_BY)
            self._close()
            self.progress.opened(())
        self._down_since_s = None
        self.progress.answered()
        self._health.wait(Phase.BLOCKED, STANDS_BY)
        self._health.beat()
        self._stop.wait(STAND_BY_PAUSE_S)

    # -- the round -------------------------------------------------------------------------------

    def _open(self) -> Feed:
        self._halted = ""
        self._metrics.halted.set(0)
        self._health.wait(Phase.STARTING, "")
        self._close()
        self._writer = self._model.writer()
        self._generation = self._writer.generation
        self._reader = self._model.reader()
        feed = Feed(
            source=self._source,
            writer=self._writer,
            codec=self._codec,
            rules_of=self._rules_of,
            clock=self._clock,
            skip=lambda topic, why: self._metrics.skipped.labels(topic, why).inc(),
            progress=self.progress,
        )
        feed.open(self._reader)
        self._stuck = self._count_stuck(self._reader)
        self._checked_s = 0.0
        self._keep_house(feed)
        self._runs = SlowRuns(minutes.last_latencies(feed.projection.events.buckets.values()))
        self._metrics.generation.set(self._generation)
        log.info("read model is open", generation=self._generation, position=feed.total())
        return feed

    def _close(self) -> None:
        self._source.close()
        if self._writer is not None:
            self._writer.close()
        if self._reader is not None:
            self._reader.close()

    def _round(self, feed: Feed) -> None:
        began_s = self._clock.monotonic_s()
        written = feed.step(READ_WAIT_S)
        self._health.beat()
        if written is not None:
            self._metrics.batch_seconds.observe(self._clock.monotonic_s() - began_s)
            self._count(written)
        if self._clock.monotonic_s() - self._checked_s >= HOUSEKEEPING_S:
            self._keep_house(feed)

    def _count(self, written: Written) -> None:
        for topic, count in written.records.items():
            self._metrics.records.labels(topic).inc(count)
        self._metrics.bypassed.inc(written.changes.bypassed)
        for place, by in written.changes.stuck.items():
            self._stuck[place] = self._stuck.get(place, 0) + by
        if written.changes.latencies:
            fives = self._runs.fives
            self._runs.feed(written.changes.latencies)
            self._metrics.slow_runs.inc(self._runs.fives - fives)

    def _keep_house(self, feed: Feed) -> None:
        """Once a second: is this generation still the current one, and the figures shown."""
        self._checked_s = self._clock.monotonic_s()
        if self._model.current() != self._generation:
            raise Fenced(f"generation {self._generation} has been replaced")
        now = self._clock.now_ms()
        last = minutes.minute_of(now)
        hour = range(last - minutes.HOUR_MINUTES + 1, last + 1)
        fold = feed.projection.events
        keys = [(partition, minute) for partition in range(feed.partitions) for minute in hour]
        fold.load_buckets([key for key in keys if key not in fold.buckets])
        buckets = {key: fold.buckets[key] for key in keys}
        self._metrics.business(buckets, now)
        self._publish_minutes(buckets)
        self._metrics.stuck(self._stuck)
        if self._reader is not None:
            self._metrics.counts(self._reader.counts())

    def _count_stuck(self, reader: Reader) -> dict[Stuck, int]:
        """How many payments wait too long for the rail, of those the model has already."""
        found: dict[Stuck, int] = {}
        cursor: str | None = None
        for _ in range(ATTENTION_PAGES_MAX):
            page = reader.attention(ATTENTION_PAGE, cursor)
            for row in page.items:
                assert isinstance(row, PaymentRow)
                place = stuck(row.state, row.overdue)
                if place is not None:
                    found[place] = found.get(place, 0) + 1
            cursor = page.next
            if cursor is None:
                break
        return found

    # -- what is not well ------------------------------------------------------------------------

    def _well(self) -> None:
        self._down_since_s = None
        self._health.wait(Phase.RUNNING, "")

    def _wait(self, down: Exception) -> None:
        """A dependency is away: the same step again after a pause."""
        now_s = self._clock.monotonic_s()
        if self._down_since_s is None:
            self._down_since_s = now_s
            log.warning("projector waits", why=str(down))
        if now_s - self._down_since_s > DEPENDENCY_DOWN_S_MAX:
            raise Exit("DEPENDENCY_DOWN", str(down)) from down
        self._claim_seen_s = float("-inf")
        self._metrics.waits.inc()
        self._health.wait(Phase.BLOCKED, str(down))
        self._health.beat()
        self._stop.wait(DATABASE_PAUSE_S)

    def _check_fence(self, fenced: Fenced) -> None:
        """Return when there is another generation to go on in, or another projector has the claim
        now. Raises Exit when somebody writes without it."""
        try:
            current = self._model.current()
        except ReadModelDown as down:
            raise Exit(FENCED, f"{fenced}; {down}") from fenced
        self._claim_seen_s = float("-inf")
        if not self._holds_claim():
            return
        if current == self._generation:
            raise Exit(FENCED, f"{fenced}. One projector a read model: this one ends.") from fenced
        log.warning("read model was rebuilt", before=self._generation, now=current)

    def _halt(self, why: str) -> None:
        """The log does not fit together: persons have to look. See `_ask_for_rulings`."""
        log.critical("projector halts", why=why)
        self._halted = why
        self._metrics.halted.set(1)
        self._health.wait(Phase.HALTED, why)

    def _ask_for_rulings(self, feed: Feed) -> Feed | None:
        """None, to begin again, when two persons have ruled on a journal record since."""
        self._health.beat()
        ruled = feed.ruled_anew()
        self._down_since_s = None
        self._health.wait(Phase.HALTED, self._halted)
        if ruled:
            log.warning("projector begins again", why="two persons ruled on a journal record")
            return None
        self._stop.wait(HALTED_PAUSE_S)
        return feed


def probes(projector: Projector, health: Health, progress_s_max: float) -> Probes:
    """Ready while no topic is more than READY_DELAY_S_MAX behind and nothing is in the way."""

    def state() -> dict[str, Any]:
        delays = projector.progress.delays()
        return {
            "phase": health.phase.value,
            "reason": health.reason,
            "delaySeconds": {topic: round(delay, 3) for topic, delay in delays.items()},
            "unreadable": health.partition_errors.first(),
        }

    def ready() -> Answer:
        return health.ready() and projector.progress.within(READY_DELAY_S_MAX), state()

    def started() -> Answer:
        return health.phase is not Phase.STARTING, state()

    return Probes(progress(health, progress_s_max), ready, started)
