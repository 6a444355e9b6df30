"""Places that do not move although decided records lie before them: for how long.

Nothing else tells that a partition is not read: a client that is deaf for it, a record that hangs,
a process that waits for what never comes. All are silent while the topic grows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Final

from engine.clock import Clock
from engine.errors import ConsumerLost
from engine.heard import Ends
from engine.lifeline import DEAF
from engine.reader import LogEnds

Name = tuple[str, int]  # topic and partition
LOOK_EVERY_S: Final = 2.0
ELAPSED_S_MAX: Final = 2 * LOOK_EVERY_S  # of one look: nobody was seen to stand meanwhile
DEAF_AFTER_S: Final = 10.0


class Standing:
    """Seconds by place. A place stands between two looks that saw it at the same offset, and a
    last stable offset beyond it, both times."""

    def __init__(self) -> None:
        self._at: dict[Name, int] = {}
        self.seconds: dict[Name, float] = {}  # of places before which something lies

    def look(
        self, positions: Mapping[Name, int], stable: Mapping[Name, int], elapsed_s: float
    ) -> None:
        """`positions`: next offsets, past the markers of transactions. `elapsed_s`: since the last
        look."""
        waiting = {n: at for n, at in positions.items() if stable.get(n, at) > at}
        self.seconds = {
            name: self.seconds[name] + elapsed_s if self._at.get(name) == at else 0.0
            for name, at in waiting.items()
        }
        self._at = waiting

    def longest(self) -> float:
        """Seconds of the place that has stood longest."""
        return max(self.seconds.values(), default=0.0)


class Hearing:
    """Whether a consumer is given what is on the log: its places are compared with what another
    client says, now and then, never waited for."""

    def __init__(self, ends: LogEnds, clock: Clock) -> None:
        self._ends = ends
        self._clock = clock
        self._asked: Callable[[], Ends | None] | None = None
        self.begin()

    def begin(self) -> None:
        """Places were taken, perhaps the same anew after a long restore: nothing is known of
        them."""
        self._standing = Standing()
        self._asked = None
        self._looked_s = self._reading_s = self._clock.monotonic_s()

    @property
    def seconds(self) -> Mapping[Name, float]:
        """For how long places have stood; those alone before which something lies."""
        return self._standing.seconds

    def check(
        self, positions: Mapping[Name, int], idle: Callable[[], Container[Name]], *, reading: bool
    ) -> float:
        """The seconds for which some place has stood. `positions` as in Standing; `idle`: places
        with nothing under way; `reading`: whatever lies before them should come at once, since
        nothing is paused and no backlog is worked off.

        Raises ConsumerLost when an idle place was not given a record for DEAF_AFTER_S though one
        was there and all was read; Exit when asking is forbidden.
        """
        now_s = self._clock.monotonic_s()
        self._look(now_s, positions)
        if not reading:
            self.not_reading()
        elif now_s - self._reading_s >= DEAF_AFTER_S:
            for (topic, number), stood_s in self.seconds.items():
                if stood_s >= DEAF_AFTER_S and (topic, number) in idle():
                    raise ConsumerLost(DEAF, f"{topic} {number} has records that do not come")
        return self._standing.longest()

    def not_reading(self) -> None:
        """Something is paused: nothing is expected."""
        self._reading_s = self._clock.monotonic_s()

    def _look(self, now_s: float, positions: Mapping[Name, int]) -> None:
        """Note the answer that has come, or ask again when it is time."""
        if self._asked is not None:
            stable = self._asked()
            if stable is not None:
                elapsed_s = min(now_s - self._looked_s, ELAPSED_S_MAX)
                self._standing.look(positions, stable, elapsed_s)
                self._looked_s, self._asked = now_s, None
        elif positions and now_s - self._looked_s >= LOOK_EVERY_S:
            self._asked = self._ends.ask_stable(list(positions))
