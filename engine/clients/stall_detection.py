"""Partitions that do not move although decided records lie before them: for how long.

Nothing else tells that a partition is not read: a client that does not fetch it, a record that
hangs, a process that waits for what never comes. All are silent while the topic grows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

from engine.clients.membership import NOT_FETCHING
from engine.clients.reader import LogEnds
from engine.clock import Clock
from engine.errors import ConsumerLost
from engine.loop.timer_gate import Ends
from engine.ports import TopicPartition

LOOK_EVERY_S: Final = 2.0
ELAPSED_S_MAX: Final = 2 * LOOK_EVERY_S  # of one look: no partition was seen to stall meanwhile
NOT_FETCHING_S: Final = 10.0
TURN_S_MAX: Final = 60.0  # in a backlog the client's one queue is full of others' records


class StalledPartitions:
    """Seconds by place. A partition is stalled between two looks that saw it at the same offset,
    and a last stable offset beyond it, both times."""

    def __init__(self) -> None:
        self._at: dict[TopicPartition, int] = {}
        self.seconds: dict[TopicPartition, float] = {}  # of places before which something lies
        self.records: dict[TopicPartition, int] = {}  # that lie before each place

    def look(
        self,
        positions: Mapping[TopicPartition, int],
        stable: Mapping[TopicPartition, int],
        elapsed_s: float,
    ) -> None:
        """`positions`: next offsets, past the markers of transactions. `elapsed_s`: since the last
        look."""
        waiting = {n: at for n, at in positions.items() if stable.get(n, at) > at}
        self.seconds = {
            name: self.seconds[name] + elapsed_s if self._at.get(name) == at else 0.0
            for name, at in waiting.items()
        }
        self._at = waiting
        known = {n: at for n, at in positions.items() if at >= 0 and n in stable}
        self.records = {name: max(0, stable[name] - at) for name, at in known.items()}

    def at(self, name: TopicPartition) -> int | None:
        """Where the last look saw it wait; None when nothing lay before it."""
        return self._at.get(name)

    def longest(self) -> float:
        """Seconds of the place that has stood longest."""
        return max(self.seconds.values(), default=0.0)


class StallDetector:
    """Whether a consumer is given what is on the log: its positions are compared with what another
    client says, now and then, never waited for.

    Each partition is judged by itself, unless it is paused or the client has said why it cannot
    read it: whatever happens to the others, records that lie before it must come.
    """

    def __init__(self, ends: LogEnds, clock: Clock) -> None:
        self._ends = ends
        self._clock = clock
        self._asked: Callable[[], Ends | None] | None = None
        self.begin()

    def begin(self) -> None:
        """Partitions were assigned, perhaps the same again after a long restore: nothing is known
        of them, and none is paused."""
        self._stalled = StalledPartitions()
        self._asked = None
        self._looked_s = self._began_s = self._clock.monotonic_s()
        self._backlog_s = float("-inf")
        self._paused: set[TopicPartition] = set()
        self._resumed_s: dict[TopicPartition, float] = {}

    @property
    def seconds(self) -> Mapping[TopicPartition, float]:
        """For how long partitions have stood; those alone before which something lies."""
        return self._stalled.seconds

    @property
    def records(self) -> Mapping[TopicPartition, int]:
        """How many records lay before each partition at the last look."""
        return self._stalled.records

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """These fetch nothing from now on, and are meant to."""
        self._paused.update(names)

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """These are fetched again: they are given time before anything is expected."""
        now_s = self._clock.monotonic_s()
        for name in names:
            self._paused.discard(name)
            self._resumed_s[name] = now_s

    def backlog(self) -> None:
        """A full batch was read: each partition waits for its turn, but not for ever."""
        self._backlog_s = self._clock.monotonic_s()

    def check(
        self,
        positions: Mapping[TopicPartition, int],
        idle: Callable[[], Container[TopicPartition]],
        explained: Container[TopicPartition] = (),
    ) -> float:
        """The seconds for which some partition has stood. `positions` as in StalledPartitions;
        `idle`: those with nothing under way; `explained`: those of which the client has said why it
        cannot read them.

        Raises ConsumerLost when a partition was not given a record for NOT_FETCHING_S (in a
        backlog: TURN_S_MAX) though one was there and nothing explains it; Exit when asking is
        forbidden.
        """
        now_s = self._clock.monotonic_s()
        self._look(now_s, positions)
        limit_s = NOT_FETCHING_S if now_s - self._backlog_s >= NOT_FETCHING_S else TURN_S_MAX
        for name, stood_s in self._stalled.seconds.items():
            if stood_s < limit_s or name in self._paused or name in explained:
                continue
            fetched_s = now_s - max(self._began_s, self._resumed_s.get(name, self._began_s))
            # The last look is seconds old: what has moved since then is not stalled.
            still = self._stalled.at(name) == positions.get(name)
            if still and fetched_s >= limit_s and name in idle():
                topic, number = name
                raise ConsumerLost(
                    NOT_FETCHING,
                    f"{topic} {number} has records that did not come for {stood_s:.0f} s",
                )
        return self._stalled.longest()

    def _look(self, now_s: float, positions: Mapping[TopicPartition, int]) -> None:
        """Note the answer that has come, or ask again when it is time."""
        if self._asked is not None:
            stable = self._asked()
            if stable is not None:
                elapsed_s = min(now_s - self._looked_s, ELAPSED_S_MAX)
                self._stalled.look(positions, stable, elapsed_s)
                self._looked_s, self._asked = now_s, None
        elif now_s - self._looked_s >= LOOK_EVERY_S:
            self._asked = self._ends.ask_stable(list(positions))
