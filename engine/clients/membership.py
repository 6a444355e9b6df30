"""Whether a client still reaches the cluster, and how often a lost one may be replaced.

librdkafka forgets each broker that a metadata answer does not name. One answer that names none (all
of them were taken for dead at that moment: the only broker comes back from a pause, the controllers
from an outage) leaves the client with nobody to ask, for minutes or for ever, and no error says so
(librdkafka issue 5301). So a client that gets no answers asks a question, and is replaced when
there is still none.

What counts as an answer is counted by the client itself, in its statistics: any response of any
broker, however late. The question alone would prove nothing: it waits on the connection behind a
fetch that the broker holds open for half a second, and behind the load of a busy machine.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer

from engine.clock import Clock
from engine.errors import ConsumerLost, EngineError, Exit, Step, call
from engine.loop.groupmeta import parse

ASK_AFTER_S: Final = 5.0  # of silence, and again so long after each question
ANSWER_S_MAX: Final = 0.5  # the caller waits so long; a later answer counts all the same
STATISTICS_MS: Final = 2_000  # less than ASK_AFTER_S: a client with answers is never asked
CLIENTS_KEPT_MAX: Final = 4  # this one, and those it has replaced that are still being closed
LOST_AFTER_S: Final = 15.0
CLOSE_S_MAX: Final = 5.0
UNREACHABLE: Final = "UNREACHABLE"
NOT_JOINED: Final = "NOT_JOINED"
NOT_FETCHING: Final = "NOT_FETCHING"
SEEN_LATE: Final = frozenset({UNREACHABLE, NOT_JOINED, NOT_FETCHING})
LOOK_EVERY_S: Final = 1.0
JOIN_S_MAX: Final = 45.0  # a member that is slow to give its partitions up holds the others up
RENEWALS_MAX: Final = 3
RENEWALS_S: Final = 120.0


class Statistics(msgspec.Struct, frozen=True):
    """What is read of librdkafka's statistics."""

    name: str  # of the client
    rx: int  # responses of all its brokers so far


_statistics: Final = msgspec.json.Decoder(Statistics).decode


class BrokerLiveness:
    """One client's. `answered` whenever something came; `lost` when nothing did."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._responses: dict[str, int] = {}  # by client
        self.answered()

    def told_by(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A client's configuration, with which it tells this one of every answer.

        The client must be polled all the time, or its statistics pile up in its queue.
        """
        return {
            **config,
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": self.note_statistics,
        }

    def note_statistics(self, text: str) -> None:
        """The client's own count of answers: one more than the last time is a sign of life."""
        seen = _statistics(text)
        if seen.rx > self._responses.get(seen.name, 0):
            self.answered()
        self._responses[seen.name] = seen.rx
        if len(self._responses) > CLIENTS_KEPT_MAX:
            del self._responses[next(iter(self._responses))]

    def answered(self) -> None:
        """The client has an answer."""
        self._heard_s = self._asked_s = self._clock.monotonic_s()
        self._unanswered = 0

    def lost(self, ask: Callable[..., Any], *arguments: Any) -> bool:
        """True when the client has had no answer for LOST_AFTER_S and `ask(*arguments, timeout=)`,
        a question that any broker answers, had none more than once: a process that stood still
        itself asks again first. Waits ANSWER_S_MAX at most, every ASK_AFTER_S. Raises Exit when
        asking is forbidden."""
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s < ASK_AFTER_S:
            return False
        self._asked_s = now_s
        try:
            call(Step.READ, ask, *arguments, timeout=ANSWER_S_MAX)
        except Exit:
            raise
        except EngineError:
            self._unanswered += 1
            return self._unanswered > 1 and now_s - self._heard_s >= LOST_AFTER_S
        self.answered()
        return False


class Membership:
    """Whether a consumer is in its group. One that subscribed and never joins says nothing of it:
    it polls, reaches the brokers, and is given no partition."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.renewed()

    def renewed(self) -> None:
        """Another consumer has subscribed."""
        self._looked_s = self._clock.monotonic_s()
        self._missing_s = 0.0

    def check(self, consumer: Consumer) -> float:
        """For how many seconds it has been seen not to be a member; looks at most once in
        LOOK_EVERY_S. Raises ConsumerLost after JOIN_S_MAX."""
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._looked_s
        if elapsed_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            if parse(consumer.consumer_group_metadata()).is_member:
                self._missing_s = 0.0
            else:  # a process that stood still itself has seen nothing meanwhile
                self._missing_s += min(elapsed_s, 2 * LOOK_EVERY_S)
        if self._missing_s >= JOIN_S_MAX:
            raise ConsumerLost(NOT_JOINED, f"not in its group for {self._missing_s:.0f} s")
        return self._missing_s


class Renewals:
    """Bounds how often a consumer whose place was taken takes it back: two processes that have one
    instance id would take it from each other for ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s: deque[float] = deque(maxlen=RENEWALS_MAX)

    def note(self, error: EngineError) -> None:
        """One more, for this reason. Raises Exit beyond RENEWALS_MAX within RENEWALS_S. What takes
        its time to be seen does not count: it says nothing of another process."""
        if error.code in SEEN_LATE:
            return
        now_s = self._clock.monotonic_s()
        if len(self._at_s) == RENEWALS_MAX and now_s - self._at_s[0] < RENEWALS_S:
            raise Exit(
                "CONSUMER_LOST",
                f"{RENEWALS_MAX + 1} times within {RENEWALS_S:.0f} s, at last: {error}",
            ) from error
        self._at_s.append(now_s)


def close_aside(consumer: Consumer) -> None:
    """Close a client without waiting longer than CLOSE_S_MAX: one that reaches nobody may take its
    time, and its place in the group is kept or lost whatever it does."""

    def close() -> None:
        with contextlib.suppress(EngineError):  # a lost client says so once more
            call(Step.READ, consumer.close)

    thread = threading.Thread(target=close, name="npp-close", daemon=True)
    thread.start()
    thread.join(CLOSE_S_MAX)
