"""For how long partitions have made no progress although committed records are available.

Nothing else shows that a partition is not read: a client that does not fetch it, a record that
hangs, a process that waits for something that never comes. All are silent while the topic grows.
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
ELAPSED_S_MAX: Final = 2 * LOOK_EVERY_S  # of one check: no partition stalled in that time
NOT_FETCHING_S: Final = 10.0
# in a backlog the client's single queue is full of other partitions' records
TURN_S_MAX: Final = 60.0


class StalledPartitions:
    """Seconds by partition. A partition is stalled if two successive checks saw the same position,
    and a last stable offset beyond it both times.
    """

    def __init__(self) -> None:
        self._at: dict[TopicPartition, int] = {}
        self.seconds: dict[TopicPartition, float] = {}  # of partitions with unread records
        self.records: dict[TopicPartition, int] = {}  # available after each position

    def look(
        self,
        positions: Mapping[TopicPartition, int],
        stable: Mapping[TopicPartition, int],
        elapsed_s: float,
    ) -> None:
        """`positions`: next offsets, past transaction markers. `elapsed_s`: since the last
        check.
        """
        waiting = {n: at for n, at in positions.items() if stable.get(n, at) > at}
        self.seconds = {
            name: self.seconds[name] + elapsed_s if self._at.get(name) == at else 0.0
            for name, at in waiting.items()
        }
        self._at = waiting
        known = {n: at for n, at in positions.items() if at >= 0 and n in stable}
        self.records = {name: max(0, stable[name] - at) for name, at in known.items()}

    def at(self, name: TopicPartition) -> int | None:
        """The position at which the last check saw it stalled; None if it had no available
        records.
        """
        return self._at.get(name)

    def longest(self) -> float:
        """Seconds of the partition that has been stalled longest."""
        return max(self.seconds.values(), default=0.0)


class StallDetector:
    """Whether a consumer receives the available records: its positions are compared from time to
    time with offsets from another client, without waiting.

    Each partition is judged separately, unless it is paused or the client has reported why it
    cannot read it: its available records must arrive, whatever happens to the others.
    """

    def __init__(self, ends: LogEnds, clock: Clock) -> None:
        self._ends = ends
        self._clock = clock
        self._pending: Callable[[], Ends | None] | None = None
        self.begin()

    def begin(self) -> None:
        """Partitions were assigned, perhaps the same ones after a long restore: nothing is known
        about them, and none is paused.
        """
        self._stalled = StalledPartitions()
        self._pending = None
        self._looked_s = self._began_s = self._clock.monotonic_s()
        self._backlog_s = float("-inf")
        self._paused: set[TopicPartition] = set()
        self._resumed_s: dict[TopicPartition, float] = {}

    @property
    def seconds(self) -> Mapping[TopicPartition, float]:
        """For how long partitions have been stalled; only those with available records."""
        return self._stalled.seconds

    @property
    def records(self) -> Mapping[TopicPartition, int]:
        """The number of available records of each partition at the last check."""
        return self._stalled.records

    def pause(self, names: Iterable[TopicPartition]) -> None:
        """These are deliberately paused from now on."""
        self._paused.update(names)

    def resume(self, names: Iterable[TopicPartition]) -> None:
        """These are fetched again: they get a grace period before records are expected."""
        now_s = self._clock.monotonic_s()
        for name in names:
            self._paused.discard(name)
            self._resumed_s[name] = now_s

    def backlog(self) -> None:
        """A full batch was read: each partition waits for its turn, for a limited time."""
        self._backlog_s = self._clock.monotonic_s()

    def check(
        self,
        positions: Mapping[TopicPartition, int],
        idle: Callable[[], Container[TopicPartition]],
        explained: Container[TopicPartition] = (),
    ) -> float:
        """The longest stall in seconds. `positions` as in StalledPartitions; `idle`: partitions
        without work in progress; `explained`: partitions that the client reported as unreadable.

        Raises ConsumerLost if a partition received no record for NOT_FETCHING_S (in a backlog:
        TURN_S_MAX) although one was available and nothing explains it; Exit if the request is
        forbidden.
        """
        now_s = self._clock.monotonic_s()
        self._look(now_s, positions)
        limit_s = NOT_FETCHING_S if now_s - self._backlog_s >= NOT_FETCHING_S else TURN_S_MAX
        for name, stood_s in self._stalled.seconds.items():
            if stood_s < limit_s or name in self._paused or name in explained:
                continue
            fetched_s = now_s - max(self._began_s, self._resumed_s.get(name, self._began_s))
            # The last check is seconds old: a partition that moved since is not stalled.
            still = self._stalled.at(name) == positions.get(name)
            if still and fetched_s >= limit_s and name in idle():
                topic, number = name
                raise ConsumerLost(
                    NOT_FETCHING,
                    f"{topic} {number} has records that did not arrive for {stood_s:.0f} s",
                )
        return self._stalled.longest()

    def _look(self, now_s: float, positions: Mapping[TopicPartition, int]) -> None:
        """Record the response if there is one, or send the next request when due."""
        if self._pending is not None:
            stable = self._pending()
            if stable is not None:
                elapsed_s = min(now_s - self._looked_s, ELAPSED_S_MAX)
                self._stalled.look(positions, stable, elapsed_s)
                self._looked_s, self._pending = now_s, None
        elif now_s - self._looked_s >= LOOK_EVERY_S:
            self._pending = self._ends.ask_stable(list(positions))
