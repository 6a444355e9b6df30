"""Fills a new generation of the read model from offset zero next to the live one, and switches.

Readers and the live projector continue; the switch fences the projector, which then continues in
the new generation. A rebuild that fails or is interrupted changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from core.rules import Rules
from engine.clock import Clock
from engine.errors import Exit
from engine.ports import TopicPartition
from processors.projector.feed import Feed, ProjectorLog
from processors.projector.progress import Progress
from readmodel.model import Behind, Model
from readmodel.ports import ReadModelDown
from schemas.codec import Codec
from schemas.errors import RegistryDown
from schemas.topology import EVENTS

READ_WAIT_S: Final = 0.1
DELAY_S_MAX: Final = 1.0  # this close, the rest is read while the live projector is locked out
CATCH_UP_S_MAX: Final = 3.0  # the live projector waits for its lock at most 5 s
SWITCHES_MAX: Final = 10
DOWN_PAUSE_S: Final = 0.5
DOWN_S_MAX: Final = 60.0
READERS_FOLLOW_S: Final = 3.0  # readers look for a switch each half second
NO_PROGRESS_S_MAX: Final = 120.0

Shown = Callable[[int, int], None]


class Rebuilt(msgspec.Struct, frozen=True, rename="camel"):
    """A rebuild's result. `replaced` is 0 if there was no earlier generation."""

    generation: int
    replaced: int
    records: int
    events: int
    skipped: int
    seconds: float
    dropped: list[int]


class Rebuild:
    """One run. `show(done, total)` is called with the progress in records."""

    def __init__(
        self,
        *,
        source: ProjectorLog,
        model: Model,
        codec: Codec,
        rules_of: Callable[[int], Rules],
        clock: Clock,
        show: Shown,
    ) -> None:
        self._source = source
        self._model = model
        self._codec = codec
        self._rules_of = rules_of
        self._clock = clock
        self._show = show
        self._progress = Progress(clock)
        self._records = 0
        self._events = 0
        self._skipped = 0

    def run(self) -> Rebuilt:
        """Build, switch, and drop the old generation.

        Raises Exit if the log cannot be read or gives nothing for NO_PROGRESS_S_MAX; ReadModelDown
        or RegistryDown after DOWN_S_MAX; CorruptHistory or Contradiction if the log is wrong.
        """
        began_s = self._clock.monotonic_s()
        replaced = self._model.current()
        generation = self._model.new_generation()
        writer = self._model.writer(generation)
        switched = False
        try:
            feed = Feed(
                source=self._source,
                writer=writer,
                codec=self._codec,
                rules_of=self._rules_of,
                clock=self._clock,
                skip=self._skip,
                progress=self._progress,
            )
            feed.open(None)
            self._fill(feed)
            self._switch(feed, generation)
            switched = True
        finally:
            self._source.close()
            writer.close()
            if not switched:
                self._model.drop_generation(generation)
        seconds = self._clock.monotonic_s() - began_s
        return Rebuilt(
            generation=generation,
            replaced=replaced,
            records=self._records,
            events=self._events,
            skipped=self._skipped,
            seconds=round(seconds, 3),
            dropped=self._drop_others(generation),
        )

    def _fill(self, feed: Feed) -> None:
        """Read and write until the new generation is at most DELAY_S_MAX behind."""
        began = feed.total()
        total = sum(high for _, high in self._source.bounds().values()) - began
        moved_s = self._clock.monotonic_s()
        while not self._progress.within(DELAY_S_MAX):
            at = feed.total()
            self._step(feed)
            now_s = self._clock.monotonic_s()
            if feed.total() != at:
                moved_s = now_s
            elif now_s - moved_s > NO_PROGRESS_S_MAX:
                raise Exit("READ_STUCK", f"nothing was read for {NO_PROGRESS_S_MAX:.0f} s")
            self._show(feed.total() - began, max(total, feed.total() - began))

    def _switch(self, feed: Feed, generation: int) -> None:
        """Switch readers once the new generation has everything that the old one has."""

        def catch_up(reached: Mapping[TopicPartition, int]) -> None:
            until_s = self._clock.monotonic_s() + CATCH_UP_S_MAX
            while not feed.has(reached) and self._clock.monotonic_s() < until_s:
                feed.hurry()
                self._count(feed)

        for _ in range(SWITCHES_MAX):
            try:
                self._model.switch_to(generation, catch_up)
                return
            except Behind:
                self._fill(feed)
        raise Exit("REBUILD_BEHIND", f"not caught up after {SWITCHES_MAX} tries: it is left out")

    def _step(self, feed: Feed) -> None:
        """One step, repeated after a pause while a dependency is down."""
        until_s = self._clock.monotonic_s() + DOWN_S_MAX
        while True:
            try:
                self._count(feed)
                return
            except (ReadModelDown, RegistryDown):
                if self._clock.monotonic_s() >= until_s:
                    raise
                self._clock.sleep(DOWN_PAUSE_S)

    def _count(self, feed: Feed) -> None:
        written = feed.step(READ_WAIT_S)
        if written is not None:
            self._records += sum(written.records.values())
            self._events += written.records.get(EVENTS, 0)

    def _skip(self, _topic: str, _why: str) -> None:
        self._skipped += 1

    def _drop_others(self, generation: int) -> list[int]:
        """Drop old generations, including remains of killed rebuilds, once readers have
        switched.
        """
        others = [number for number in self._model.generations() if number < generation]
        if others:
            self._clock.sleep(READERS_FOLLOW_S)
        for number in others:
            self._model.drop_generation(number)
        return others
