"""`npp run projector`: folds the journal and the other topics into the read model.

One per database: the others are on standby, alive and not ready, and one of them takes over when it
ends. Offsets are in the same transaction as the rows and move by compare-and-set, so a crash
neither duplicates nor skips, and a writer without the claim is fenced.

    STAND_BY ── the claim is taken ────────────▶ OPENING
    OPENING  ── the generation is open ────────▶ FOLDING
    OPENING  ── another generation is current ─▶ OPENING
    FOLDING  ── another generation is current ─▶ OPENING
    FOLDING  ── history does not fit ──────────▶ HALTED
    HALTED   ── two people have ruled ─────────▶ OPENING
    OPENING  ── the claim is lost ─────────────▶ STAND_BY
    FOLDING  ── the claim is lost ─────────────▶ STAND_BY
    HALTED   ── the claim is lost ─────────────▶ STAND_BY

While the database or the registry is down, the step is repeated. A writer that is fenced although
it holds the claim and its generation is current ends the process.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Any, Final, assert_never

import structlog

from core.payment.state import CorruptHistory
from core.rules import Rules
from engine.clock import Clock
from engine.errors import Exit, Retry, check_move
from engine.health import Answer, Probes, progress
from engine.loop.watch import Health, Phase
from processors.projector.events import Stuck, stuck
from processors.projector.feed import Feed, ProjectorLog, Written
from processors.projector.metrics import ProjectorMetrics
from processors.projector.progress import READY_DELAY_S_MAX, Progress
from readmodel import minutes
from readmodel.database.store import Claim
from readmodel.day import Day, journal_offsets
from readmodel.minutes import Buckets, SlowRuns
from readmodel.model import Model
from readmodel.ports import Contradiction, Fenced, Reader, ReadModelDown
from readmodel.reader import DatabaseReader
from readmodel.rows import PaymentRow
from readmodel.writer import DatabaseWriter
from schemas.codec import Codec
from schemas.errors import RegistryDown

log = structlog.get_logger("npp.projector")

READ_WAIT_S: Final = 0.01  # how long a single record may wait for more
HOUSEKEEPING_S: Final = 1.0
DATABASE_PAUSE_S: Final = 0.5
STAND_BY_PAUSE_S: Final = 0.5
DEPENDENCY_DOWN_S_MAX: Final = 600.0  # then the supervisor starts it again
HALTED_PAUSE_S: Final = 0.5
ATTENTION_PAGE: Final = 200
ATTENTION_PAGES_MAX: Final = 5_000  # a million payments that need attention
FENCED: Final = "READ_MODEL_FENCED"
STANDS_BY: Final = "another projector fills this read model: this one waits until that ends"


class State(enum.Enum):
    """What the projector does; drawn above."""

    STAND_BY = "another projector holds the claim"
    OPENING = "opens the current generation"
    FOLDING = "reads, folds and writes"
    HALTED = "waits for people to rule on a record of the journal"


MOVES: Final = {
    State.STAND_BY: {State.OPENING},
    State.OPENING: {State.OPENING, State.FOLDING, State.STAND_BY},
    State.FOLDING: {State.OPENING, State.HALTED, State.STAND_BY},
    State.HALTED: {State.OPENING, State.STAND_BY},
}


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
        self._state = State.STAND_BY
        self._feed: Feed  # while FOLDING or HALTED
        self._generation = 0
        self._reader: DatabaseReader | None = None
        self._day: Day | None = None
        self._writer: DatabaseWriter | None = None
        self._claim: Claim | None = None
        self._claim_seen_s = float("-inf")
        self._checked_s = 0.0
        self._down_since_s: float | None = None
        self._stuck: dict[Stuck, int] = {}
        self._runs = SlowRuns()
        self._halted_why = ""
        self.progress = Progress(clock)
        metrics.watch_delay(self.progress.delay_s)

    def stop(self) -> None:
        """End after the current batch; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Project until `stop`.

        Raises Exit if a writer without the claim writes the read model, the log lacks the next
        records, or a dependency is down for DEPENDENCY_DOWN_S_MAX.
        """
        try:
            while not self._stop.is_set():
                try:
                    self._step()
                except (ReadModelDown, RegistryDown, Retry) as down:
                    self._wait(down)
                except Fenced as fenced:
                    self._check_fence(fenced)
                except (CorruptHistory, Contradiction) as corrupt:
                    self._halt(str(corrupt))
        finally:
            self._close()
            self._release_claim()

    def _step(self) -> None:
        if self._state is not State.STAND_BY and not self._holds_claim():
            self._move(State.STAND_BY)
        match self._state:
            case State.STAND_BY:
                self._stand_by()
            case State.OPENING:
                self._open()
            case State.FOLDING:
                self._round()
            case State.HALTED:
                self._ask_for_rulings()
            case _:
                assert_never(self._state)

    def _move(self, after: State) -> None:
        """Raises WrongOrder for a move that is not in MOVES."""
        check_move("the projector", MOVES, self._state, after)
        self._state = after
        self._metrics.halted.set(after is State.HALTED)

    # -- one at a time ---------------------------------------------------------------------------

    def _holds_claim(self) -> bool:
        """Whether we hold the claim without interruption; checked in the database once a second."""
        if self._claim is None:
            return False
        now_s = self._clock.monotonic_s()
        if now_s - self._claim_seen_s < HOUSEKEEPING_S:
            return True
        self._claim_seen_s = now_s
        if self._claim.held():
            return True
        log.warning("projector lost its claim on the read model")
        self._release_claim()
        return False

    def _release_claim(self) -> None:
        if self._claim is not None:
            self._claim.close()
        self._claim = None

    def _stand_by(self) -> None:
        """Take the claim, or wait while another projector works: alive, not ready, reporting no
        delay.
        """
        self._claim = self._model.claim()
        if self._claim is not None:
            self._claim_seen_s = self._clock.monotonic_s()
            self._move(State.OPENING)
            return
        if self._health.reason != STANDS_BY:
            log.warning("projector stands by", why=STANDS_BY)
            self._close()
            self.progress.opened(())
        self._down_since_s = None
        self.progress.answered()
        self._health.report(Phase.BLOCKED, STANDS_BY)
        self._health.beat()
        self._stop.wait(STAND_BY_PAUSE_S)

    # -- the round -------------------------------------------------------------------------------

    def _open(self) -> None:
        self._health.report(Phase.STARTING, "")
        self._close()
        self._writer = self._model.writer()
        self._generation = self._writer.generation
        self._reader = self._model.reader()
        self._day = Day(self._reader)
        self._feed = Feed(
            source=self._source,
            writer=self._writer,
            codec=self._codec,
            rules_of=self._rules_of,
            clock=self._clock,
            skip=lambda topic, why: self._metrics.skipped.labels(topic, why).inc(),
            progress=self.progress,
        )
        self._feed.open(self._reader)
        self._stuck = self._count_stuck(self._reader)
        self._checked_s = 0.0
        self._check_and_publish()
        buckets = self._feed.projection.events.buckets
        self._runs = SlowRuns(minutes.last_latencies(buckets.values()))
        self._metrics.generation.set(self._generation)
        log.info("read model is open", generation=self._generation, position=self._feed.total())
        self._move(State.FOLDING)

    def _close(self) -> None:
        self._source.close()
        if self._writer is not None:
            self._writer.close()
        if self._reader is not None:
            self._reader.close()

    def _round(self) -> None:
        began_s = self._clock.monotonic_s()
        written = self._feed.step(READ_WAIT_S)
        self._health.beat()
        if written is not None:
            self._metrics.batch_seconds.observe(self._clock.monotonic_s() - began_s)
            self._count(written)
        if self._clock.monotonic_s() - self._checked_s >= HOUSEKEEPING_S:
            self._check_and_publish()
        self._down_since_s = None
        self._health.report(Phase.RUNNING, "")

    def _count(self, written: Written) -> None:
        for topic, count in written.records.items():
            self._metrics.records.labels(topic).inc(count)
        for place, by in written.changes.stuck.items():
            self._stuck[place] = self._stuck.get(place, 0) + by
        if written.changes.latencies:
            before = self._runs.counted
            self._runs.feed(written.changes.latencies)
            self._metrics.slow_runs.inc(self._runs.counted - before)

    def _check_and_publish(self) -> None:
        """Once a second: check that this generation is current, and update the metrics."""
        self._checked_s = self._clock.monotonic_s()
        if self._model.current() != self._generation:
            raise Fenced(f"generation {self._generation} has been replaced")
        now = self._clock.now_ms()
        last = minutes.minute_of(now)
        hour = range(last - minutes.HOUR_MINUTES + 1, last + 1)
        fold = self._feed.projection.events
        partitions = range(self._feed.partitions)
        keys = [(partition, minute) for partition in partitions for minute in hour]
        fold.load_buckets([key for key in keys if key not in fold.buckets])
        buckets = {key: fold.buckets[key] for key in keys}
        self._metrics.business(buckets, now)
        self._publish_minutes(buckets)
        self._metrics.stuck(self._stuck)
        if self._reader is not None and self._day is not None:
            self._metrics.counts(self._reader.counts())
            day = self._day.look(last, journal_offsets(self._reader))
            self._metrics.day(minutes.total(day.values()))

    def _count_stuck(self, reader: Reader) -> dict[Stuck, int]:
        """The number of payments in the model that wait too long for the rail."""
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

    # -- failures ------------------------------------------------------------------------

    def _wait(self, down: Exception) -> None:
        """A dependency is down: repeat the step after a pause."""
        now_s = self._clock.monotonic_s()
        if self._down_since_s is None:
            self._down_since_s = now_s
            log.warning("projector waits", why=str(down))
        if now_s - self._down_since_s > DEPENDENCY_DOWN_S_MAX:
            raise Exit("DEPENDENCY_DOWN", str(down)) from down
        self._claim_seen_s = float("-inf")
        self._metrics.waits.inc()
        self._health.report(Phase.BLOCKED, str(down))
        self._health.beat()
        self._stop.wait(DATABASE_PAUSE_S)

    def _check_fence(self, fenced: Fenced) -> None:
        """Open the new generation if there is one; the next step stands by if the claim is lost.
        Raises Exit if somebody writes without it.
        """
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
        self._move(State.OPENING)

    def _halt(self, why: str) -> None:
        """The log is inconsistent: people must investigate. See `_ask_for_rulings`."""
        log.critical("projector halts", why=why)
        self._halted_why = why
        self._move(State.HALTED)
        self._health.report(Phase.HALTED, why)

    def _ask_for_rulings(self) -> None:
        """Open again if people have ruled on a journal record since."""
        self._health.beat()
        ruled = self._feed.ruled_anew()
        self._down_since_s = None
        if ruled:
            log.warning("projector begins again", why="two people ruled on a journal record")
            self._move(State.OPENING)
            return
        self._health.report(Phase.HALTED, self._halted_why)
        self._stop.wait(HALTED_PAUSE_S)


def probes(projector: Projector, health: Health, progress_s_max: float) -> Probes:
    """Ready while it folds and no topic is more than READY_DELAY_S_MAX behind; alive while it made
    progress within `progress_s_max` seconds.
    """

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
